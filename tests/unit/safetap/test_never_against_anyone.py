"""Calls for help, false alarms and PINs enter no score, offer or estimate: what decides on work cannot see them."""

import re
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[3] / "engine"
DECIDING = ("matcher", "risk", "eta", "booking")
RECORD = re.compile(
    r"\b(incident|incident_event|safetap_trigger|is_false_alarm|says_safe_at|safety_pin|safety_pin_attempt|evidence_chunk)\b"
)
"""The tables and columns of the record. `safety_hold` is not among them: it protects, and is released by a human."""


@pytest.mark.parametrize("package", DECIDING)
def test_what_decides_on_work_does_not_read_the_record(package: str) -> None:
    files = sorted((ENGINE / package).rglob("*.py"))
    assert files
    seen = {path.name: RECORD.findall(path.read_text()) for path in files}
    assert {name: words for name, words in seen.items() if words} == {}

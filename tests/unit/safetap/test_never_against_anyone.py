"""Calls for help, false alarms and PINs enter no score, offer or estimate: what decides on work cannot see them."""

import ast
import re
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[3] / "engine"
DECIDING = ("matcher", "risk", "eta", "booking")
RECORD = re.compile(
    r"\b(incident|incident_event|safetap_trigger|is_false_alarm|says_safe_at|safety_pin|safety_pin_attempt|evidence_chunk|silence_\w+)\b"
)
"""The tables and columns of the record. `safety_hold` is not among them: it protects, and is released by a human."""


def statements(path: Path) -> list[str]:
    """Return the SQL of a module."""
    texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    return [
        text for text in texts if isinstance(text, str) and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text)
    ]


@pytest.mark.parametrize("package", DECIDING)
def test_what_decides_on_work_does_not_read_the_record(package: str) -> None:
    files = sorted((ENGINE / package).rglob("*.py"))
    assert files
    seen = {path.name: RECORD.findall(" ".join(statements(path))) for path in files}
    assert {name: words for name, words in seen.items() if words} == {}

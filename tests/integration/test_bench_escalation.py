"""The escalation benchmark runs to its end on few timers, and says that each step was taken once."""

import json
from pathlib import Path

import pytest

from bench import escalation, report

pytestmark = pytest.mark.integration


@pytest.mark.timeout(60)
def test_a_small_burst_is_right_and_writes_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(escalation, "save", lambda name, rows: report.save(name, rows, tmp_path))
    assert escalation.main(["--timers", "300", "--burst-only"]) == 0
    (row,) = json.loads((tmp_path / "escalation.json").read_text())
    assert row["gate"] is True
    assert row["ours"] > 0

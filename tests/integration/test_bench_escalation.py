"""The escalation benchmark runs to its end on few timers, and says that each step was taken once."""

import json
from pathlib import Path

import pytest

from bench import escalation, report
from clenzy.migrations import migrate

pytestmark = pytest.mark.integration


@pytest.mark.timeout(60)
def test_a_small_burst_is_right_and_writes_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(escalation, "save", lambda name, rows: report.save(name, rows, tmp_path))
    assert escalation.main(["--timers", "300", "--burst-only"]) == 0
    (row,) = json.loads((tmp_path / "escalation.json").read_text())
    assert row["gate"] is True
    assert row["ours"] > 0


@pytest.mark.timeout(120)
def test_steps_go_on_after_postgres_was_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(escalation, "SPREAD_S", 2)
    monkeypatch.setattr(escalation, "PER_S", 20)
    server = escalation.Server(tmp_path)
    server.start()
    try:
        migrate(server.postgres.url)
        row = escalation.restarted(server.postgres.url, server)
    finally:
        server.stop()
    assert row.gate
    assert row.ours < 15_000

"""What a benchmark says, and when it fails."""

import json
from io import StringIO
from pathlib import Path

from rich.console import Console

from bench.report import exit_code, less_is_better, more_is_better, save, show

FAST = more_is_better("updates", 300, 200, anchor_name="other, run", unit="a second", ratio_min=1.5, gate=True)
SLOW = more_is_better("updates", 299, 200, anchor_name="other, run", unit="a second", ratio_min=1.5)
BIG = less_is_better("memory", 65, 130, anchor_name="other, run", unit="bytes", most=64)
NONE = less_is_better("put back", 0, 500, anchor_name="other, run", unit="workers", most=0)
WRONG = more_is_better("queries", 9e9, 1, anchor_name="other, run", unit="a second", ratio_min=2, gate=False)


def test_a_rate_is_held_to_a_multiple_of_its_anchor() -> None:
    assert (FAST.ratio, FAST.target, FAST.met) == (1.5, ">= 1.5x", True)
    assert SLOW.met is False


def test_a_cost_is_held_to_a_limit() -> None:
    assert (BIG.ratio, BIG.target, BIG.met) == (2, "<= 64 bytes", False)
    assert (NONE.ratio, NONE.met) == (None, True)
    assert less_is_better("time", 1, 2, anchor_name="", unit="ms").met is None


def test_only_a_wrong_answer_fails_the_run() -> None:
    assert exit_code([FAST, SLOW, BIG]) == 0
    assert exit_code([FAST, WRONG]) == 1


def test_the_table_shows_every_row() -> None:
    output = StringIO()
    show("Geo", [FAST, BIG, NONE, WRONG], Console(file=output, width=200))
    lines = output.getvalue().splitlines()
    assert any("updates" in line and "1.50x" in line and "yes" in line and "right" in line for line in lines)
    assert any("memory" in line and "NO" in line for line in lines)
    assert any("queries" in line and "WRONG" in line for line in lines)


def test_the_file_has_every_field_of_every_row(tmp_path: Path) -> None:
    rows = json.loads(save("geo", [FAST, NONE], tmp_path / "out").read_text())
    assert rows[0] == {
        "row": "updates",
        "ours": 300,
        "anchor": 200,
        "anchor_name": "other, run",
        "unit": "a second",
        "ratio": 1.5,
        "target": ">= 1.5x",
        "met": True,
        "gate": True,
    }
    assert rows[1]["ratio"] is None

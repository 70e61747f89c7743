"""What a benchmark says: a table for people, JSON for programs, an exit code for correctness alone."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

OUT: Final = Path(__file__).with_name("out")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside its anchor."""

    row: str
    ours: float
    anchor: float | None
    anchor_name: str
    """What ours is compared with, and whether that was run beside it or quoted."""
    unit: str
    ratio: float | None
    """How many times better ours is."""
    target: str
    met: bool | None
    gate: bool | None
    """Whether the answers behind the figure were right; `None`: this row checks none."""


def more_is_better(
    row: str,
    ours: float,
    anchor: float,
    *,
    anchor_name: str,
    unit: str,
    ratio_min: float | None = None,
    gate: bool | None = None,
) -> Row:
    """Return the row of a rate; the target is a multiple of the anchor."""
    ratio = ours / anchor if anchor else None
    target = "" if ratio_min is None else f">= {ratio_min:g}x"
    met = None if ratio_min is None or ratio is None else ratio >= ratio_min
    return Row(row, ours, anchor, anchor_name, unit, ratio, target, met, gate)


def less_is_better(
    row: str,
    ours: float,
    anchor: float,
    *,
    anchor_name: str,
    unit: str,
    most: float | None = None,
    gate: bool | None = None,
) -> Row:
    """Return the row of a cost; the target is a limit in the row's unit."""
    target = "" if most is None else f"<= {most:g} {unit}"
    ratio = anchor / ours if ours else None
    return Row(row, ours, anchor, anchor_name, unit, ratio, target, None if most is None else ours <= most, gate)


def show(title: str, rows: Sequence[Row], console: Console) -> None:
    """Print the table."""
    table = Table(title=title)
    for heading in ("what", "ours", "anchor", "unit", "ratio", "target", "met", "answers", "anchor is"):
        table.add_column(heading, justify="right" if heading in {"ours", "anchor", "ratio"} else "left")
    for each in rows:
        table.add_row(
            each.row,
            _number(each.ours),
            _number(each.anchor),
            each.unit,
            "" if each.ratio is None else f"{each.ratio:.2f}x",
            each.target,
            _word(each.met, "yes", "NO"),
            _word(each.gate, "right", "WRONG"),
            each.anchor_name,
        )
    console.print(table)


def save(name: str, rows: Sequence[Row], folder: Path = OUT) -> Path:
    """Write `<name>.json` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps([asdict(each) for each in rows], indent=1) + "\n")
    return path


def exit_code(rows: Sequence[Row]) -> int:
    """Return 1 when an answer was wrong. A missed target is a figure, not a failure."""
    return int(any(each.gate is False for each in rows))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits


def _word(is_so: bool | None, yes: str, no: str) -> str:  # noqa: FBT001 - a fact, not a switch
    if is_so is None:
        return ""
    return yes if is_so else no

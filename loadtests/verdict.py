"""Judges a load run by its targets. Pure."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TARGETS_FILE: Final = Path(__file__).with_name("targets.toml")


@dataclass(frozen=True, slots=True)
class Targets:
    """The limits that a run is held to."""

    errors_max: int
    p99_ms: dict[str, float]

    @classmethod
    def read(cls, path: Path = TARGETS_FILE) -> "Targets":
        """Return the targets of a file.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not TOML, or a limit is missing.
        """
        content = tomllib.loads(path.read_text())
        try:
            return cls(int(content["gate"]["errors_max"]), {name: float(ms) for name, ms in content["p99_ms"].items()})
        except KeyError as missing:
            raise ValueError(f"{path.name}: {missing} is missing") from missing


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of request of a run."""

    name: str
    count: int
    failures: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out. `passes` is the correctness gate; `met` per row is only shown."""

    rows: tuple[dict[str, Any], ...]
    errors: int
    unexercised: tuple[str, ...]
    """Targets of which nothing was measured: a run that did not do its work proves nothing."""
    passes: bool


def judge(rows: Sequence[Row], targets: Targets) -> Verdict:
    """Return the verdict on a run."""
    errors = sum(row.failures for row in rows)
    measured = {row.name for row in rows if row.count > row.failures}
    unexercised = tuple(name for name in targets.p99_ms if name not in measured)
    return Verdict(
        rows=tuple(_judged(row, targets.p99_ms.get(row.name)) for row in sorted(rows, key=lambda row: row.name)),
        errors=errors,
        unexercised=unexercised,
        passes=errors <= targets.errors_max and not unexercised,
    )


def _judged(row: Row, target_ms: float | None) -> dict[str, Any]:
    return {
        "row": row.name,
        "count": row.count,
        "failures": row.failures,
        "p50_ms": row.p50_ms,
        "p99_ms": row.p99_ms,
        "target_p99_ms": target_ms,
        "met": None if target_ms is None else row.p99_ms <= target_ms,
    }

"""Which days of the records of decisions are to go. Pure.

A day's records lie in one of `limits.DECISION_RECORD_SLOTS` tables that take turns, so a whole day is emptied at once.
Only after the keeper was away for weeks is a table shared by an old day and a new one; then the old rows go by
themselves.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from config.limits import DECISION_RECORD_SLOTS
from engine.core.units import MS_PER_DAY


@dataclass(frozen=True, slots=True)
class DayTable:
    """A table with the records of one day or, after a long absence of the keeper, of more. Times are Unix ms."""

    slot: int
    first_at_ms: int
    last_at_ms: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Clearing:
    """What is to go."""

    emptied: tuple[int, ...]
    """Slots, oldest first."""
    thinned: tuple[int, ...]
    """Slots from which only what is older than `before_ms` goes."""
    before_ms: int


def slot_of(at_ms: int) -> int:
    """Return the slot of a moment (Unix ms)."""
    return at_ms // MS_PER_DAY % DECISION_RECORD_SLOTS


def what_to_clear(tables: Iterable[DayTable], *, now_ms: int, kept_days: int, bytes_max: int) -> Clearing:
    """Return what is too old, and of the rest the oldest days as long as all together are too much.

    Today's records stay, however large they are: a matcher is writing them.
    """
    today_ms = now_ms - now_ms % MS_PER_DAY
    before_ms = today_ms - kept_days * MS_PER_DAY
    held = sorted(tables, key=lambda table: table.last_at_ms)
    old = [table for table in held if table.last_at_ms < before_ms]
    kept = held[len(old) :]
    over = sum(table.size_bytes for table in kept) - bytes_max
    for table in [table for table in kept if table.last_at_ms < today_ms]:
        if over <= 0:
            break
        old.append(table)
        over -= table.size_bytes
    emptied = tuple(table.slot for table in old)
    thinned = tuple(table.slot for table in kept if table.first_at_ms < before_ms and table.slot not in emptied)
    return Clearing(emptied, thinned, before_ms)

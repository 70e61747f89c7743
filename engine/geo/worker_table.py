"""What one gateway process knows of the workers it hears: growable columns, the slot is the row."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from config.limits import RECENT_FIXES, SLOTS_MAX
from engine.core.errors import NotAllowed
from engine.core.vocabulary import FixFlag
from engine.geo.acceptance import NEVER_MS, SUSPECT, Columns, FlagArray, SuspectArray, TimeArray
from engine.geo.fixes import RECORD, RecordArray

_ROWS_AT_START = 1_024

SomeArray = TypeVar("SomeArray", bound=NDArray[np.generic])


class WorkerTable:
    """The newest accepted record, what the rules remember, duty and alarm, and whether Redis has yet to hear of it."""

    def __init__(self) -> None:
        rows = _ROWS_AT_START
        self.last: RecordArray = np.zeros(rows, RECORD)
        self.suspects: SuspectArray = np.zeros(rows, SUSPECT)
        self.recent_ms: TimeArray = np.zeros((rows, RECENT_FIXES), np.int64)
        self.recent_at: NDArray[np.uint8] = np.zeros(rows, np.uint8)
        self.moved_ms: TimeArray = np.zeros(rows, np.int64)
        self.dirty: FlagArray = np.zeros(rows, np.bool_)
        self.duty_since_ms: TimeArray = np.full(rows, NEVER_MS)
        """`NEVER_MS`: off duty."""
        self.alarm_since_ms: TimeArray = np.full(rows, NEVER_MS)
        """When the worker's open alarm was raised; `NEVER_MS`: there is none."""
        self.counts_from_ms: TimeArray = np.full(rows, NEVER_MS)
        """The earlier of the two: fixes of before leave no trace."""
        self.marks: NDArray[np.uint8] = np.zeros(rows, np.uint8)

    @property
    def columns(self) -> Columns:
        """What the rules read and write."""
        return Columns(
            self.last,
            self.suspects,
            self.counts_from_ms,
            self.marks,
            self.recent_ms,
            self.recent_at,
            self.moved_ms,
            self.dirty,
        )

    def ensure(self, slot: int) -> None:
        """Make room for `slot`.

        Raises:
            NotAllowed: the slot is beyond what this build has tables for.
        """
        if not 0 <= slot < SLOTS_MAX:
            raise NotAllowed(f"slots go up to {SLOTS_MAX - 1}")
        rows = len(self.last)
        if slot < rows:
            return
        more = max(slot + 1, rows * 2) - rows
        self.last = _grown(self.last, more)
        self.suspects = _grown(self.suspects, more)
        self.recent_ms = _grown(self.recent_ms, more)
        self.recent_at = _grown(self.recent_at, more)
        self.moved_ms = _grown(self.moved_ms, more)
        self.dirty = _grown(self.dirty, more)
        self.duty_since_ms = _grown(self.duty_since_ms, more, NEVER_MS)
        self.alarm_since_ms = _grown(self.alarm_since_ms, more, NEVER_MS)
        self.counts_from_ms = _grown(self.counts_from_ms, more, NEVER_MS)
        self.marks = _grown(self.marks, more)

    def set_duty(self, slot: int, since_ms: int | None) -> None:
        """Let the fixes from `since_ms` on count, by the phone's own time; `None`: the worker is off duty."""
        self.ensure(slot)
        self.duty_since_ms[slot] = NEVER_MS if since_ms is None else since_ms
        self._count(slot)

    def set_alarm(self, slot: int, since_ms: int | None) -> None:
        """Let the fixes from the alarm on count, on duty or not; `None`: there is no open alarm."""
        self.ensure(slot)
        self.alarm_since_ms[slot] = NEVER_MS if since_ms is None else since_ms
        self._count(slot)

    def is_on_duty(self, slot: int) -> bool:
        """Return whether the worker takes part."""
        return bool(self.duty_since_ms[slot] != NEVER_MS)

    def has_alarm(self, slot: int) -> bool:
        """Return whether an alarm of the worker is open."""
        return bool(self.alarm_since_ms[slot] != NEVER_MS)

    def counts(self, slot: int) -> bool:
        """Return whether fixes of now count."""
        return bool(self.counts_from_ms[slot] != NEVER_MS)

    def prime(self, slot: int, record: np.void) -> None:
        """Take over what the store knows of a slot, where it is newer than what is known here."""
        self.ensure(slot)
        if record["ts_ms"] > self.last[slot]["ts_ms"]:
            self.last[slot] = record
            self.moved_ms[slot] = record["ts_ms"]
            self.suspects[slot] = np.zeros((), SUSPECT)
            self.dirty[slot] = False

    def forget_place(self, slot: int) -> None:
        """Keep only the time of the last fix: where the worker was before going off duty is gone."""
        ts_ms = self.last[slot]["ts_ms"]
        self.last[slot] = np.zeros((), RECORD)
        self.last[slot]["ts_ms"] = ts_ms
        self.suspects[slot] = np.zeros((), SUSPECT)
        self.recent_ms[slot] = 0
        self.dirty[slot] = False

    def _count(self, slot: int) -> None:
        self.counts_from_ms[slot] = min(self.duty_since_ms[slot], self.alarm_since_ms[slot])
        self.marks[slot] = 0 if self.is_on_duty(slot) else FixFlag.OFF_DUTY


def _grown(column: SomeArray, more: int, value: int = 0) -> SomeArray:
    """Return a longer copy; for zeroes, memory that nobody touched costs nothing."""
    longer = np.zeros((len(column) + more, *column.shape[1:]), column.dtype)
    longer[: len(column)] = column
    if value:
        longer[len(column) :] = value
    return longer  # type: ignore[return-value]  # numpy does not carry the type along

"""What one gateway process knows of the workers it hears: growable columns, the slot is the row."""

import numpy as np

from config.limits import SLOTS_MAX
from engine.core.errors import NotAllowed
from engine.geo.acceptance import SUSPECT, FlagArray, SuspectArray
from engine.geo.fixes import RECORD, RecordArray

_ROWS_AT_START = 1_024


class WorkerTable:
    """The newest accepted record, the suspected jump, the duty and whether Redis has yet to hear of it, by slot."""

    def __init__(self) -> None:
        self.last: RecordArray = np.zeros(_ROWS_AT_START, RECORD)
        self.suspects: SuspectArray = np.zeros(_ROWS_AT_START, SUSPECT)
        self.on_duty: FlagArray = np.zeros(_ROWS_AT_START, np.bool_)
        self.dirty: FlagArray = np.zeros(_ROWS_AT_START, np.bool_)

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
        self.last = np.concatenate([self.last, np.zeros(more, RECORD)])
        self.suspects = np.concatenate([self.suspects, np.zeros(more, SUSPECT)])
        self.on_duty = np.concatenate([self.on_duty, np.zeros(more, np.bool_)])
        self.dirty = np.concatenate([self.dirty, np.zeros(more, np.bool_)])

    def prime(self, slot: int, record: np.void) -> None:
        """Take over what the store knows of a slot, where it is newer than what is known here."""
        self.ensure(slot)
        if record["ts_ms"] > self.last[slot]["ts_ms"]:
            self.last[slot] = record
            self.suspects[slot] = np.zeros((), SUSPECT)
            self.dirty[slot] = False

    def forget_place(self, slot: int) -> None:
        """Keep only the time of the last fix: what came before going off duty is stale for ever, and gone."""
        ts_ms = self.last[slot]["ts_ms"]
        self.last[slot] = np.zeros((), RECORD)
        self.last[slot]["ts_ms"] = ts_ms
        self.suspects[slot] = np.zeros((), SUSPECT)
        self.dirty[slot] = False

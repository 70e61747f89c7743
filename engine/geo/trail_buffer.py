"""Accepted fixes that wait to be stored: a ring of fixed size, and their bytes as Postgres' binary COPY wants them.

Pure, and no Python object stands for a single fix: what comes in is copied in two slices at most, what goes out is one
structured array.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.core.ids import OrgId
from engine.core.units import EPOCH, MS_PER_DAY
from engine.geo.fixes import FIX, UNKNOWN_U16, FixArray, SlotArray

COLUMNS: Final = ("at", "org_id", "slot", "lat_e7", "lng_e7", "accuracy_dm", "speed_cm_s", "heading_ddeg")
"""Columns of `trail`, in the order of a row's bytes."""
UNKNOWN: Final = -1

_FORMATS: Final = (">i8", "V16", ">i4", ">i4", ">i4", ">i2", ">i2", ">i2")
_ROW: Final = np.dtype(
    [
        ("columns", ">i2"),
        *(
            field
            for column, form in zip(COLUMNS, _FORMATS, strict=True)
            for field in ((f"{column}_bytes", ">i4"), (column, form))
        ),
    ]
)
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_POSTGRES_EPOCH_MS: Final = 946_684_800_000
_I16_MAX: Final = 32_767
_CDEG_PER_TURN: Final = 36_000


def _empty_row() -> NDArray[np.void]:
    row = np.zeros(1, _ROW)
    row["columns"] = len(COLUMNS)
    for column, form in zip(COLUMNS, _FORMATS, strict=True):
        row[f"{column}_bytes"] = np.dtype(form).itemsize
    return row


_EMPTY: Final = _empty_row()


@dataclass(frozen=True, slots=True)
class Batch:
    """Accepted fixes and beside each the slot it came from."""

    fixes: FixArray
    slots: SlotArray

    def __len__(self) -> int:
        """Return how many fixes these are."""
        return len(self.slots)

    def only(self, wanted: NDArray[np.bool_]) -> "Batch":
        """Return those that are wanted."""
        return Batch(self.fixes[wanted], self.slots[wanted])

    def days(self) -> set[date]:
        """Return the UTC days of the fixes."""
        return {EPOCH.date() + timedelta(days=int(day)) for day in np.unique(self.fixes["ts_ms"] // MS_PER_DAY)}


class TrailBuffer:
    """Holds the newest `fixes_max` fixes; the oldest make room."""

    def __init__(self, fixes_max: int) -> None:
        self._fixes: FixArray = np.zeros(fixes_max, FIX)
        self._slots: SlotArray = np.zeros(fixes_max, np.int64)
        self._start = 0
        self._count = 0

    def __len__(self) -> int:
        """Return how many fixes wait."""
        return self._count

    def add(self, fixes: FixArray, slots: SlotArray) -> int:
        """Take fixes in; return how many had to go for them."""
        size = len(self._slots)
        new = min(len(slots), size)
        dropped = max(0, self._count + len(slots) - size)
        gone = min(dropped, self._count)
        self._start = (self._start + gone) % size
        self._count -= gone
        at = (self._start + self._count) % size
        first = min(new, size - at)
        for ring, values in ((self._fixes, fixes[-new:]), (self._slots, slots[-new:])):
            ring[at : at + first] = values[:first]
            ring[: new - first] = values[first:]
        self._count += new
        return dropped

    def take(self, fixes_max: int) -> Batch:
        """Hand out the oldest fixes, in the order in which they came."""
        size, count = len(self._slots), min(self._count, fixes_max)
        rows = (self._start + np.arange(count)) % size
        batch = Batch(self._fixes[rows], self._slots[rows])
        self._count -= count
        # From the beginning again where it can: so the pages that a long outage would need are not touched before.
        self._start = (self._start + count) % size if self._count else 0
        return batch


class SlotOrgs:
    """Whose worker a slot is: the column of the trail that a fix does not bring along. Neither ever changes."""

    def __init__(self) -> None:
        self._orgs: NDArray[np.void] = np.zeros(1_024, "V16")
        self._is_known: NDArray[np.bool_] = np.zeros(1_024, np.bool_)

    def set(self, slot: int, org_id: OrgId) -> None:
        """Remember the organisation of a slot."""
        self._reach(slot)
        self._orgs[slot] = np.void(org_id.bytes)
        self._is_known[slot] = True

    def known(self, slots: SlotArray) -> NDArray[np.bool_]:
        """Return for each of `slots` whether its organisation is known."""
        self._reach(int(slots.max(initial=0)))
        return self._is_known[slots]

    def of(self, slots: SlotArray) -> NDArray[np.void]:
        """Return the organisations' ids as bytes; all of `slots` are known."""
        return self._orgs[slots]

    def _reach(self, slot: int) -> None:
        rows = len(self._orgs)
        if slot < rows:
            return
        more = max(slot + 1, 2 * rows) - rows
        self._orgs = np.concatenate([self._orgs, np.zeros(more, "V16")])
        self._is_known = np.concatenate([self._is_known, np.zeros(more, np.bool_)])


def copy_bytes(batch: Batch, orgs: SlotOrgs) -> bytes:
    """Return a batch as the data of `COPY trail (COLUMNS) FROM STDIN (FORMAT binary)`."""
    fixes = batch.fixes
    rows = np.repeat(_EMPTY, len(batch))
    rows["at"] = (fixes["ts_ms"] - _POSTGRES_EPOCH_MS) * 1_000
    rows["org_id"] = orgs.of(batch.slots)
    rows["slot"] = batch.slots
    rows["lat_e7"], rows["lng_e7"] = fixes["lat_e7"], fixes["lng_e7"]
    rows["accuracy_dm"] = _small(fixes["accuracy_dm"])
    rows["speed_cm_s"] = _small(fixes["speed_cm_s"])
    heading_cdeg = fixes["heading_cdeg"]
    rows["heading_ddeg"] = np.where(heading_cdeg < _CDEG_PER_TURN, heading_cdeg // 10, UNKNOWN)
    return b"".join((_HEADER, rows.tobytes(), _TRAILER))


def _small(values: NDArray[np.uint16]) -> NDArray[Any]:
    return np.where(values == UNKNOWN_U16, UNKNOWN, np.minimum(values, _I16_MAX).astype(np.int32))

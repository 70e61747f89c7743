"""The live map of one gateway process: where workers are, for all of its consoles. Pure columns by slot.

Loaded from the slabs, then fed by the fan-out. Each change gets the next number, so that a console's frame is what
changed since the number of its last frame.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.limits import FANOUT_RESOLUTION, WORKER_SILENT_MS
from engine.geo.cells import CellArray, parents_of
from engine.geo.fixes import RecordArray, SlotArray
from gateway_ws.positions import MAP_ROW, OFF_DUTY, MapRows, map_rows

FREE: Final = 0
OFFERED: Final = 1
BUSY: Final = 2
SILENT: Final = 3

_STATUS_OF_BYTE: Final = np.array([FREE, FREE, OFFERED, BUSY], np.uint8)
"""`geo:status` byte -> status on the map. Off duty but in a cell: the matcher is about to catch up."""
_ROWS_AT_START: Final = 1_024


class LiveMap:
    """Rows and cells by slot; a row without a cell is not on the map."""

    def __init__(self) -> None:
        self.rows: MapRows = np.zeros(_ROWS_AT_START, MAP_ROW)
        self.cells: CellArray = np.zeros(_ROWS_AT_START, np.uint64)
        self.changed: NDArray[np.int64] = np.zeros(_ROWS_AT_START, np.int64)
        self.org: NDArray[np.int32] = np.full(_ROWS_AT_START, -1, np.int32)
        """Number of the worker's organisation; -1: not asked yet."""
        self.is_off_duty: NDArray[np.bool_] = np.zeros(_ROWS_AT_START, np.bool_)
        """Whose alarm is open; it goes before what the matcher says."""
        self.version = 0

    def load(self, slots: SlotArray, records: RecordArray) -> None:
        """Replace everything by what the slabs hold."""
        self._ensure(slots)
        self.cells[:] = 0
        self.version += 1
        self._put(slots, map_rows(slots, records), records["cell"])

    def apply(self, coarse_cell: int, rows: MapRows, cells: CellArray, gone: NDArray[np.uint32]) -> None:
        """Take one fan-out message of a coarse cell; an older row than the known one changes nothing."""
        slots = rows["slot"].astype(np.int64)
        self._ensure(slots)
        self.version += 1
        newer = (rows["ts_ms"] > self.rows["ts_ms"][slots]) | (self.cells[slots] == 0)
        self._put(slots[newer], rows[newer], cells[newer])
        left = gone[gone < len(self.rows)].astype(np.int64)
        # Whoever has been heard of in another coarse cell since is not gone.
        left = left[parents_of(self.cells[left], FANOUT_RESOLUTION) == np.uint64(coarse_cell)]
        self.cells[left] = 0
        self.changed[left] = self.version

    def set_statuses(self, statuses: bytes, now_ms: int) -> None:
        """Take the matcher's status bytes; a worker not heard of for `WORKER_SILENT_MS` is silent."""
        status = np.zeros(len(self.rows), np.uint8)
        known = np.frombuffer(statuses, np.uint8)[: len(status)]
        status[: len(known)] = _STATUS_OF_BYTE[np.minimum(known, BUSY + 1)]
        status[self.is_off_duty] = OFF_DUTY
        status[self.rows["ts_ms"] < now_ms - WORKER_SILENT_MS] = SILENT
        differs = (status != self.rows["status"]) & (self.cells != 0)
        if differs.any():
            self.version += 1
            self.rows["status"][differs] = status[differs]
            self.changed[differs] = self.version

    def slots_without_org(self) -> list[int]:
        """Return workers on the map whose organisation is not known yet."""
        unknown: list[int] = np.nonzero((self.cells != 0) & (self.org < 0))[0].tolist()
        return unknown

    def set_org(self, slot: int, org: int) -> None:
        """Note whose worker a slot is; it never changes. The worker now appears on that organisation's consoles."""
        self.version += 1
        self.org[slot] = org
        self.changed[slot] = self.version

    def _put(self, slots: SlotArray, rows: MapRows, cells: CellArray) -> None:
        status = self.rows["status"][slots]
        self.is_off_duty[slots] = rows["status"] == OFF_DUTY
        self.rows[slots] = rows
        self.rows["status"][slots] = status
        self.cells[slots] = cells
        self.changed[slots] = self.version

    def _ensure(self, slots: SlotArray) -> None:
        rows = len(self.rows)
        highest = int(slots.max(initial=0))
        if highest < rows:
            return
        more = max(highest + 1, 2 * rows) - rows
        self.rows = np.concatenate([self.rows, np.zeros(more, MAP_ROW)])
        self.cells = np.concatenate([self.cells, np.zeros(more, np.uint64)])
        self.changed = np.concatenate([self.changed, np.zeros(more, np.int64)])
        self.is_off_duty = np.concatenate([self.is_off_duty, np.zeros(more, np.bool_)])
        self.org = np.concatenate([self.org, np.full(more, -1, np.int32)])

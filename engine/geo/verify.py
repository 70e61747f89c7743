"""Compares everything in the cell index with H3, worker by worker: what the tests hold the index to.

Reads slabs and sets with commands of its own and asks H3 through its text interface, so that a mistake of the index
is not repeated here.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import h3
import numpy as np

from config.limits import CELL_RESOLUTION, SLAB_PAGE_SLOTS
from engine.core.redis_store import RedisClient
from engine.core.units import DEG_E7
from engine.geo.cell_index import PAGES_KEY
from engine.geo.cell_sets import SINCE_BITS
from engine.geo.slab import rows_of

_SCAN_COUNT = 1_000
_PAGE_PREFIX = b"geo:{slab:"


@dataclass(slots=True)
class VerifyReport:
    """What was looked at and which slots are wrong, by kind of fault."""

    slots: int = 0
    """Workers with a place."""
    off_duty: int = 0
    """Records whose place was forgotten."""
    cells: int = 0
    wrong_cell: list[int] = field(default_factory=list)
    """The record's cell is not the one that H3 gives for its place."""
    not_in_cell: list[int] = field(default_factory=list)
    """Missing from the set of the record's cell."""
    in_several: list[int] = field(default_factory=list)
    """In the set of a cell other than the record's, or in a set without having a place."""
    unlisted_pages: list[int] = field(default_factory=list)
    """Pages that `geo:pages` does not name: nobody would read them."""

    @property
    def is_right(self) -> bool:
        """Whether every worker is in exactly the right cell."""
        return not (self.wrong_cell or self.not_in_cell or self.in_several or self.unlisted_pages)


async def verify(redis: RedisClient) -> VerifyReport:
    """Check every record and every set. A moving fleet can look wrong for an instant: look again before you judge."""
    report = VerifyReport()
    cell_of_slot = await _check_records(redis, report)
    cells_by_slot = await _read_sets(redis, report)
    for slot, cell in cell_of_slot.items():
        if cell and cell not in cells_by_slot[slot]:
            report.not_in_cell.append(slot)
    report.in_several = [slot for slot, cells in cells_by_slot.items() if cells - {cell_of_slot.get(slot, "")}]
    return report


async def _check_records(redis: RedisClient, report: VerifyReport) -> dict[int, str]:
    """Return the cell that H3 gives for each slot's place; empty text for a worker without one."""
    cells: dict[int, str] = {}
    async for key in redis.scan_iter(match="geo:{slab:*}", count=_SCAN_COUNT):
        page = int(key.removeprefix(_PAGE_PREFIX).removesuffix(b"}"))
        slab: Any = await redis.get(key)
        records = rows_of(slab)["record"]
        if not await redis.sismember(PAGES_KEY, str(page)):
            report.unlisted_pages.append(page)
        for row in np.nonzero(records["ts_ms"])[0].tolist():
            slot, record = page * SLAB_PAGE_SLOTS + row, records[row]
            if not record["cell"]:
                cells[slot] = ""
                report.off_duty += 1
                continue
            report.slots += 1
            place = h3.latlng_to_cell(record["lat_e7"] / DEG_E7, record["lng_e7"] / DEG_E7, CELL_RESOLUTION)
            cells[slot] = place
            if h3.str_to_int(place) != record["cell"]:
                report.wrong_cell.append(slot)
    return cells


async def _read_sets(redis: RedisClient, report: VerifyReport) -> defaultdict[int, set[str]]:
    found: defaultdict[int, set[str]] = defaultdict(set)
    async for key in redis.scan_iter(match="geo:{cells:*}:*", count=_SCAN_COUNT):
        report.cells += 1
        members: Any = await redis.smembers(key)
        for member in members:
            found[int(member) >> SINCE_BITS].add(key.rsplit(b":", 1)[1].decode())
    return found

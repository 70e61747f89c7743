"""Looks into Redis: is every worker in exactly the cell that H3 says?

The one place of the simulator outside the public protocol. It is used for verification only and only when a Redis
URL is given; it reads two key families and writes nothing: `geo:{slab:<page>}`, strings of a 16-byte head and 36-byte
rows (4 bytes of its own, a wire fix and its H3 cell, resolution 8, 0 = in no cell; page = slot // 2048), and
`geo:{cells:<ancestor>}:<cell>`, sets of slot * 2^31 + a number of its own.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import h3
import numpy as np
import redis.asyncio

from sim.client.wire import FIX_DTYPE
from sim.replay.oracle import Place

SLAB_DTYPE: Final = np.dtype([*FIX_DTYPE.descr, ("cell", "<u8")])
SLOTS_PER_PAGE: Final = 2_048
PAGES_MAX: Final = 4_096
CELL_RESOLUTION: Final = 8
WRONG_SHOWN_MAX: Final = 10
SLAB_RECORD_BYTES: Final = 32
SLAB_ROW_DTYPE: Final = np.dtype([("since", "<u4"), ("record", SLAB_DTYPE)])
SLAB_HEAD_BYTES: Final = 16
SLOT_SHIFT: Final = 31

assert SLAB_DTYPE.itemsize == SLAB_RECORD_BYTES


@dataclass(frozen=True, slots=True)
class Present:
    """What Redis holds: the newest record of each slot, and the cells that each slot is a member of."""

    records: Mapping[int, np.void]
    cells_of: Mapping[int, frozenset[int]]


@dataclass(slots=True)
class CellCheck:
    """What the comparison found. It holds when nothing is wrong and nothing is missing."""

    expected: int = 0
    present: int = 0
    right_fix: int = 0
    right_cell: int = 0
    in_one_cell: int = 0
    wrong: dict[int, list[str]] = field(default_factory=dict)
    """What is wrong, by slot."""

    @property
    def holds(self) -> bool:
        """Whether every expected worker is there with the right fix in exactly the right cell."""
        return not self.wrong

    def blame(self, slot: int, what: str) -> None:
        """Note that something is wrong with a slot."""
        self.wrong.setdefault(slot, []).append(what)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for a report; of what is wrong, slots and sorts of error, never places."""
        return {
            "expected": self.expected,
            "present": self.present,
            "right_fix": self.right_fix,
            "right_cell": self.right_cell,
            "in_exactly_one_cell": self.in_one_cell,
            "holds": self.holds,
            "wrong": {str(slot): self.wrong[slot] for slot in sorted(self.wrong)[:WRONG_SHOWN_MAX]},
        }


async def read_present(redis_url: str) -> Present:
    """Return the records and memberships of all slots.

    Raises:
        redis.exceptions.RedisError: Redis cannot be read.
    """
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        records: dict[int, np.void] = {}
        for page in range(PAGES_MAX):
            slab = await client.get(f"geo:{{slab:{page}}}")
            if not isinstance(slab, bytes):
                break
            rows = np.frombuffer(slab, SLAB_ROW_DTYPE, offset=SLAB_HEAD_BYTES)["record"]
            records |= {page * SLOTS_PER_PAGE + int(place): rows[place] for place in np.flatnonzero(rows["ts_ms"])}
        cells_of: defaultdict[int, set[int]] = defaultdict(set)
        async for key in client.scan_iter(match="geo:{cells:*}:*", count=1_000):
            cell = int(key.rpartition(b":")[2], 16)
            for member in await client.smembers(key):
                cells_of[int(member) >> SLOT_SHIFT].add(cell)
    return Present(records, {slot: frozenset(cells) for slot, cells in cells_of.items()})


def check_expected(present: Present, expected: Mapping[int, Place]) -> CellCheck:
    """Compare Redis with the newest accepted fix that each slot must have."""
    check = CellCheck(expected=len(expected))
    for slot, place in expected.items():
        record = present.records.get(slot)
        if record is None:
            check.blame(slot, "absent")
            continue
        check.present += 1
        is_fix = (int(record["ts_ms"]), int(record["lat_e7"]), int(record["lng_e7"])) == (
            place.ts_ms,
            place.lat_e7,
            place.lng_e7,
        )
        _count(
            check,
            slot,
            is_fix=is_fix,
            cell=cell_of(place),
            record=record,
            members=present.cells_of.get(slot, frozenset()),
        )
    return check


def check_consistent(present: Present) -> CellCheck:
    """Compare every record in a cell with H3 and with the sets, and the sets with the records."""
    on_duty = {slot: record for slot, record in present.records.items() if record["cell"]}
    check = CellCheck(expected=len(on_duty), present=len(on_duty))
    for slot, record in on_duty.items():
        place = Place(int(record["ts_ms"]), int(record["lat_e7"]), int(record["lng_e7"]))
        _count(
            check,
            slot,
            is_fix=True,
            cell=cell_of(place),
            record=record,
            members=present.cells_of.get(slot, frozenset()),
        )
    for slot in present.cells_of.keys() - on_duty.keys():
        check.expected += 1
        check.blame(slot, "in a cell without a record")
    return check


def cell_of(place: Place) -> int:
    """Return the H3 cell of a place, asked from H3 itself."""
    return int(h3.str_to_int(h3.latlng_to_cell(place.lat_e7 / 1e7, place.lng_e7 / 1e7, CELL_RESOLUTION)))


def _count(check: CellCheck, slot: int, *, is_fix: bool, cell: int, record: np.void, members: frozenset[int]) -> None:
    check.right_fix += is_fix
    check.right_cell += int(record["cell"]) == cell
    check.in_one_cell += members == {cell}
    if not is_fix:
        check.blame(slot, "another fix than the newest accepted one")
    if int(record["cell"]) != cell:
        check.blame(slot, f"record names cell {int(record['cell']):x}, H3 says {cell:x}")
    if members != {cell}:
        check.blame(slot, f"member of {len(members)} cells")

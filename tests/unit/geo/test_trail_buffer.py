"""The ring that bounds what waits, held to a plain list; the days of a batch; the bytes of one row."""

import random
import struct
from datetime import date
from uuid import UUID

import numpy as np
import pytest

from engine.core.ids import OrgId
from engine.core.units import MS_PER_DAY
from engine.geo.fixes import FIX, UNKNOWN_U16, FixArray
from engine.geo.trail_buffer import Batch, SlotOrgs, TrailBuffer, copy_bytes

DAY_MS = 1_700_000_000_000 // MS_PER_DAY * MS_PER_DAY


def numbered(first: int, count: int) -> FixArray:
    fixes = np.zeros(count, FIX)
    fixes["ts_ms"] = np.arange(first, first + count)
    return fixes


@pytest.mark.parametrize("seed", range(20))
def test_the_ring_holds_the_newest_in_order_and_counts_the_others(seed: int) -> None:
    chance, size = random.Random(seed), 37
    ring, plain, number, dropped, expected_dropped = TrailBuffer(size), [], 0, 0, 0
    for _ in range(300):
        if chance.random() < 0.6:
            count = chance.choice([0, 1, 5, 36, 37, 38, 100])
            dropped += ring.add(numbered(number, count), np.arange(number, number + count))
            plain += range(number, number + count)
            number += count
            expected_dropped += max(0, len(plain) - size)
            plain = plain[-size:]
        else:
            count = chance.choice([1, 7, 36, 50])
            batch = ring.take(count)
            assert batch.fixes["ts_ms"].tolist() == batch.slots.tolist() == plain[:count]
            plain = plain[count:]
        assert (len(ring), dropped) == (len(plain), expected_dropped)


def test_what_was_taken_out_is_not_changed_by_what_comes_in() -> None:
    ring = TrailBuffer(4)
    ring.add(numbered(1, 4), np.arange(4))
    batch = ring.take(4)
    ring.add(numbered(9, 4), np.arange(4))
    assert batch.fixes["ts_ms"].tolist() == [1, 2, 3, 4]


def test_the_days_of_a_batch_are_utc_days() -> None:
    fixes = np.zeros(3, FIX)
    fixes["ts_ms"] = [DAY_MS - 1, DAY_MS, DAY_MS + MS_PER_DAY - 1]
    assert Batch(fixes, np.zeros(3, np.int64)).days() == {date(2023, 11, 13), date(2023, 11, 14)}


def test_a_row_has_the_bytes_that_postgres_documents() -> None:
    fixes = np.array([(DAY_MS, -5, 7, 120, 40_000, 35_999, 80, 0)], FIX)
    orgs = SlotOrgs()
    orgs.set(5_000, OrgId(UUID(int=9)))
    data = copy_bytes(Batch(fixes, np.array([5_000])), orgs)
    at_us = (DAY_MS - 946_684_800_000) * 1_000
    row = struct.pack(">h", 8) + struct.pack(">iq", 8, at_us) + struct.pack(">i", 16) + UUID(int=9).bytes
    row += struct.pack(">iiiiii", 4, 5_000, 4, -5, 4, 7) + struct.pack(">ihihih", 2, 120, 2, 32_767, 2, 3_599)
    assert data == b"PGCOPY\n\xff\r\n\0" + bytes(8) + row + b"\xff\xff"


def test_a_slot_beyond_the_table_is_not_known() -> None:
    orgs = SlotOrgs()
    orgs.set(1, OrgId(UUID(int=9)))
    assert orgs.known(np.array([0, 1, 9_999])).tolist() == [False, True, False]
    assert bytes(orgs.of(np.array([1]))[0]) == UUID(int=9).bytes


def test_what_the_phone_did_not_tell_is_minus_one() -> None:
    fixes = np.array(
        [(DAY_MS, 1, 1, UNKNOWN_U16, UNKNOWN_U16, UNKNOWN_U16, 255, 0), (DAY_MS, 1, 1, 0, 0, 36_000, 0, 0)], FIX
    )
    data = copy_bytes(Batch(fixes, np.zeros(2, np.int64)), SlotOrgs())
    row_bytes = (len(data) - 19 - 2) // 2
    tails = [data[19 + row_bytes * (at + 1) - 18 :][:18] for at in range(2)]
    assert [struct.unpack(">ihihih", tail)[1::2] for tail in tails] == [(-1, -1, -1), (0, 0, -1)]

"""The table's columns, its reservations, and the stretches that bring Redis up to date."""

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.ids import OrgId, PersonId, WorkerSlot
from engine.geo.fixes import RECORD
from engine.matcher.frame import ALL_READY, Ready
from engine.matcher.worker_feed import changed_runs
from engine.matcher.worker_table import SLOTS_AT_START, WorkerRow, WorkerStatus, WorkerTable

OURS, THEIRS = OrgId(UUID(int=1)), OrgId(UUID(int=2))
NOW_MS = 1_700_000_000_000


def row(slot: int, **changes: object) -> WorkerRow:
    values = {
        "slot": WorkerSlot(slot),
        "worker_id": PersonId(UUID(int=1_000 + slot)),
        "org_id": OURS,
        "skills": 0b01,
        "status": WorkerStatus.FREE,
        "is_held": False,
        "rating": 4.5,
        "experience": 0.25,
        "idle_since_ms": NOW_MS - 60_000,
        **changes,
    }
    return WorkerRow(**values)


def table_of(*rows: WorkerRow) -> WorkerTable:
    table = WorkerTable()
    table.apply(rows)
    return table


def columns(table: WorkerTable, slots: list[int], **changes: object):
    records = np.zeros(len(slots), RECORD)
    records["ts_ms"] = NOW_MS - 5_000
    records["cell"] = 1
    records["lat_e7"] = 411_500_000
    arguments = {"not_to_ask": frozenset(), "now_ms": NOW_MS, "fix_now_ms": NOW_MS, "silent_ms": 60_000, **changes}
    return table.candidates(np.array(slots, np.int64), records, **arguments)


def test_columns_say_what_the_rows_said():
    found = columns(table_of(row(3), row(SLOTS_AT_START + 5, skills=0b10)), [3, SLOTS_AT_START + 5])
    assert found.mask.tolist() == [int(ALL_READY) | 0b01, int(ALL_READY) | 0b10]
    assert found.rating.tolist() == [4.5, 4.5]
    assert found.experience.tolist() == [0.25, 0.25]
    assert found.idle_s.tolist() == [60, 60]
    assert found.fix_age_s.tolist() == [5, 5]
    assert found.lat_deg.tolist() == [41.15, 41.15]


@pytest.mark.parametrize(
    ("changes", "arguments", "missing"),
    [
        ({"status": WorkerStatus.OFF_DUTY}, {}, Ready.ON_DUTY | Ready.FREE),
        ({"status": WorkerStatus.OFFERED}, {}, Ready.FREE),
        ({"status": WorkerStatus.BUSY}, {}, Ready.FREE),
        ({"is_held": True}, {}, Ready.UNHELD),
        ({}, {"not_to_ask": frozenset({PersonId(UUID(int=1_000))})}, Ready.UNASKED),
        ({}, {"fix_now_ms": NOW_MS + 55_001}, Ready.HEARD),
    ],
)
def test_each_reason_has_its_bit(changes: dict, arguments: dict, missing: Ready):
    found = columns(table_of(row(0, **changes)), [0], **arguments)
    assert int(ALL_READY) & ~int(found.mask[0]) == int(missing)


def test_an_absent_fix_is_silence():
    table = table_of(row(0))
    found = table.candidates(
        np.array([0]),
        np.zeros(1, RECORD),
        not_to_ask=frozenset(),
        now_ms=NOW_MS,
        fix_now_ms=NOW_MS,
        silent_ms=60_000,
    )
    assert int(ALL_READY) & ~int(found.mask[0]) == int(Ready.HEARD)


def test_who_does_not_wait_has_waited_no_time():
    assert columns(table_of(row(0, idle_since_ms=0)), [0]).idle_s.tolist() == [0]


def test_another_organisations_workers_are_not_seen():
    table = table_of(row(0), row(1, org_id=THEIRS), row(2))
    slots = np.array([2, 1, 0, 0, 99_999])
    assert table.of_org(slots, OURS).tolist() == [0, 2]
    assert table.of_org(slots, THEIRS).tolist() == [1]
    assert table.of_org(slots, OrgId(UUID(int=9))).tolist() == []


def test_a_reserved_worker_stays_taken_until_postgres_is_read_again():
    table = table_of(row(0))
    table.reserve(0)
    table.apply([row(0)])  # read before the offer was committed
    assert table.status_bytes() == bytes([WorkerStatus.OFFERED])
    table.settle(0)
    assert table.status_bytes() == bytes([WorkerStatus.OFFERED])
    table.apply([row(0)])
    assert table.status_bytes() == bytes([WorkerStatus.FREE])


def test_counts_known_workers_only():
    table = table_of(row(1), row(5, status=WorkerStatus.BUSY))
    assert table.counts() == {
        WorkerStatus.OFF_DUTY: 0,
        WorkerStatus.FREE: 1,
        WorkerStatus.OFFERED: 0,
        WorkerStatus.BUSY: 1,
    }


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_writing_the_runs_brings_redis_up_to_date(found: bytes, wanted: bytes):
    written = bytearray(found)
    for start, part in changed_runs(found, wanted):
        written[start : start + len(part)] = part.ljust(len(part))
    assert bytes(written[: len(wanted)]) == wanted
    assert bytes(written[len(wanted) :]) == found[len(wanted) :]


def test_nothing_changed_writes_nothing():
    assert changed_runs(b"\1\2\3", b"\1\2\3") == []
    assert changed_runs(b"\1\2\3\0\0", b"\1\2\3") == []
    assert changed_runs(b"\1\2\3", b"\1\0\3") == [(1, b"\0")]

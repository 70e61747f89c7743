"""Which days of the records go, and when."""

from hypothesis import given
from hypothesis import strategies as st

from config.limits import DECISION_RECORD_DAYS, DECISION_RECORD_SLOTS
from engine.core.units import MS_PER_DAY
from engine.matcher.record_days import DayTable, slot_of, what_to_clear

TODAY = 20_000
NOW_MS = TODAY * MS_PER_DAY + 5_000
ENOUGH = 10**15


def of_day(day: int, size_bytes: int = 10) -> DayTable:
    at_ms = day * MS_PER_DAY
    return DayTable(slot_of(at_ms), at_ms, at_ms + 1_000, size_bytes)


def test_a_whole_day_goes_when_its_last_record_is_too_old() -> None:
    tables = [of_day(TODAY - ago) for ago in range(DECISION_RECORD_DAYS + 2)]
    assert len({table.slot for table in tables}) == len(tables), "no two kept days share a table"
    clearing = what_to_clear(tables, now_ms=NOW_MS, kept_days=DECISION_RECORD_DAYS, bytes_max=ENOUGH)
    assert clearing.emptied == (slot_of((TODAY - DECISION_RECORD_DAYS - 1) * MS_PER_DAY),)
    assert clearing.thinned == ()


def test_a_table_that_an_old_day_shares_with_a_new_one_is_only_thinned() -> None:
    shared = DayTable(slot_of(NOW_MS), NOW_MS - DECISION_RECORD_SLOTS * MS_PER_DAY, NOW_MS, 10)
    clearing = what_to_clear([shared], now_ms=NOW_MS, kept_days=DECISION_RECORD_DAYS, bytes_max=ENOUGH)
    assert (clearing.emptied, clearing.thinned) == ((), (shared.slot,))
    assert shared.first_at_ms < clearing.before_ms <= NOW_MS


def test_too_many_bytes_take_the_oldest_days_and_never_today() -> None:
    tables = [of_day(TODAY - ago, 100) for ago in range(4)]
    clearing = what_to_clear(tables, now_ms=NOW_MS, kept_days=30, bytes_max=250)
    assert clearing.emptied == tuple(of_day(TODAY - ago).slot for ago in (3, 2))
    assert what_to_clear(tables, now_ms=NOW_MS, kept_days=30, bytes_max=0).emptied == tuple(
        of_day(TODAY - ago).slot for ago in (3, 2, 1)
    )


@given(st.lists(st.integers(0, 60), unique=True), st.integers(1, DECISION_RECORD_DAYS), st.integers(0, 1_000))
def test_what_stays_is_young_enough_and_small_enough(ages: list[int], kept_days: int, bytes_max: int) -> None:
    tables = [of_day(TODAY - ago, 50 + ago) for ago in ages]
    clearing = what_to_clear(tables, now_ms=NOW_MS, kept_days=kept_days, bytes_max=bytes_max)
    assert (
        list(clearing.emptied)
        == [table.slot for table in sorted(tables, key=lambda each: each.last_at_ms)][: len(clearing.emptied)]
    ), "the oldest go"
    gone = len(clearing.emptied)
    stays = sorted(tables, key=lambda each: each.last_at_ms)[gone:]
    assert all(table.last_at_ms >= clearing.before_ms for table in stays)
    assert sum(table.size_bytes for table in stays) <= bytes_max or all(
        each.last_at_ms >= NOW_MS // MS_PER_DAY * MS_PER_DAY for each in stays
    )

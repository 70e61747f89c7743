"""Who is on call, against a plain reference: the list of all hand-overs, one after the other."""

from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from engine.core.ids import PersonId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.safetap.on_call import Layer, Override, Schedule, end_of_turn_ms, gaps, handover_ms, on_call, shifts

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PEOPLE = [PersonId(UUID(int=n)) for n in range(1, 6)]
# An hour, half an hour, two hours and none; a day that an island left out; clocks that change at midnight.
ZONES = ["Europe/Lisbon", "Australia/Lord_Howe", "Antarctica/Troll", "Asia/Kolkata", "Pacific/Apia", "America/Havana"]

zones = st.sampled_from(ZONES).map(ZoneInfo)
dates = st.dates(date(2009, 1, 1), date(2030, 12, 31))
times = st.times().map(lambda at: at.replace(second=0, microsecond=0))
layers = st.builds(
    Layer,
    name=st.just("layer"),
    every_days=st.sampled_from([1, 7]),
    at=times,
    starts_on=dates,
    people=st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=4).map(tuple),
)


@st.composite
def moments(draw: st.DrawFn, layer: Layer, tz: ZoneInfo) -> int:
    """A moment around a hand-over, where mistakes live, or anywhere within two years of the beginning."""
    number = draw(st.integers(0, 700 // layer.every_days))
    return handover_ms(layer, tz, number) + draw(st.sampled_from([-1, 0, 1]) | st.integers(-2 * DAY_MS, 2 * DAY_MS))


def reference(layer: Layer, tz: ZoneInfo, at_ms: int) -> PersonId | None:
    """Walk the calendar from the first day on."""
    edges = []
    day = layer.starts_on
    while True:
        edge = datetime.combine(day, layer.at, tz).astimezone(UTC)
        if ms_from_utc(edge) > at_ms + 3 * DAY_MS:
            break
        edges.append(ms_from_utc(edge))
        day += timedelta(days=layer.every_days)
    number = bisect_right(edges, at_ms) - 1
    return None if number < 0 else layer.people[number % len(layer.people)]


@given(st.data(), zones, layers)
def test_a_layers_turn_is_the_calendars(data: st.DataObject, tz: ZoneInfo, layer: Layer) -> None:
    at_ms = data.draw(moments(layer, tz))
    expected = reference(layer, tz, at_ms)
    assert on_call(Schedule(tz, (layer,)), at_ms) == (() if expected is None else (expected,))


@given(st.data(), zones, layers)
def test_clocks_that_change_leave_no_gap_and_no_double_turn(data: st.DataObject, tz: ZoneInfo, layer: Layer) -> None:
    from_ms = max(handover_ms(layer, tz, 0), data.draw(moments(layer, tz)))
    schedule = Schedule(tz, (layer,))
    found = list(shifts(schedule, from_ms, from_ms + 30 * DAY_MS))
    assert found[0].starts_at_ms == from_ms
    assert found[-1].ends_at_ms == from_ms + 30 * DAY_MS
    assert all(len(shift.people) == 1 for shift in found)
    for one, following in pairwise(found):
        assert one.ends_at_ms == following.starts_at_ms
        assert one.people != following.people


@given(zones, layers, st.integers(0, 700))
def test_a_handover_is_at_its_wall_clock_time_where_there_is_one(tz: ZoneInfo, layer: Layer, number: int) -> None:
    local = utc_from_ms(handover_ms(layer, tz, number)).astimezone(tz)
    day = layer.starts_on + timedelta(days=number * layer.every_days)
    wanted = datetime.combine(day, layer.at, tz)
    if wanted.astimezone(UTC).astimezone(tz).replace(tzinfo=None) == wanted.replace(tzinfo=None):
        assert (local.date(), local.time()) == (day, layer.at)
    else:  # clocks went over it: later by as much as they jumped
        assert local.replace(tzinfo=None) > wanted.replace(tzinfo=None)


def test_a_night_shift_is_an_hour_shorter_in_spring_and_longer_in_autumn() -> None:
    lisbon = ZoneInfo("Europe/Lisbon")
    layer = Layer("night", 1, time(0, 30), date(2026, 3, 1), tuple(PEOPLE[:2]))

    def length(day: date) -> int:
        number = (day - layer.starts_on).days
        return handover_ms(layer, lisbon, number + 1) - handover_ms(layer, lisbon, number)

    assert length(date(2026, 3, 28)) == 24 * HOUR_MS
    assert length(date(2026, 3, 29)) == 23 * HOUR_MS
    assert length(date(2026, 10, 25)) == 25 * HOUR_MS


def test_a_time_that_clocks_leave_out_counts_an_hour_later() -> None:
    lisbon = ZoneInfo("Europe/Lisbon")
    layer = Layer("night", 1, time(1, 30), date(2026, 3, 29), tuple(PEOPLE[:2]))
    assert utc_from_ms(handover_ms(layer, lisbon, 0)) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert utc_from_ms(handover_ms(layer, lisbon, 1)) == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)


overrides = st.builds(
    lambda start, length, replaces, person: Override(start, start + length, replaces, person or replaces),
    st.integers(0, 20 * DAY_MS),
    st.integers(1, 20 * DAY_MS),
    st.sampled_from([*PEOPLE, None]),
    st.sampled_from(PEOPLE),
) | st.builds(
    lambda start, length, replaces: Override(start, start + length, replaces, None),
    st.integers(0, 20 * DAY_MS),
    st.integers(1, 20 * DAY_MS),
    st.sampled_from(PEOPLE),
)


@given(zones, st.lists(layers, min_size=1, max_size=3), st.lists(overrides, max_size=4), st.integers(0, 20 * DAY_MS))
def test_shifts_say_of_every_moment_what_on_call_says(
    tz: ZoneInfo, several: list[Layer], moved: list[Override], offset_ms: int
) -> None:
    base_ms = handover_ms(several[0], tz, 3)
    placed = tuple(
        Override(one.starts_at_ms + base_ms, one.ends_at_ms + base_ms, one.replaces, one.person_id) for one in moved
    )
    schedule = Schedule(tz, tuple(several), placed)
    at_ms = base_ms + offset_ms
    (shift,) = [
        one for one in shifts(schedule, base_ms, base_ms + 21 * DAY_MS) if one.starts_at_ms <= at_ms < one.ends_at_ms
    ]
    assert shift.people == on_call(schedule, at_ms)
    people = on_call(schedule, at_ms)
    assert len(set(people)) == len(people)
    gap_now = [one for one in gaps(schedule, at_ms) if one.starts_at_ms == at_ms]
    assert bool(gap_now) == (not people)


def test_an_override_stands_in_comes_in_addition_or_leaves_a_gap() -> None:
    lisbon = ZoneInfo("Europe/Lisbon")
    ana, rui, eva = PEOPLE[:3]
    layer = Layer("first", 7, time(8), date(2026, 1, 5), (ana, rui))
    start_ms = handover_ms(layer, lisbon, 0)
    inside_ms = start_ms + HOUR_MS

    def during(replaces: PersonId | None, person_id: PersonId | None) -> tuple[PersonId, ...]:
        override = Override(start_ms, start_ms + 2 * HOUR_MS, replaces, person_id)
        schedule = Schedule(lisbon, (layer,), (override,))
        assert on_call(schedule, start_ms + 2 * HOUR_MS) == (ana,)
        return on_call(schedule, inside_ms)

    assert during(ana, eva) == (eva,)
    assert during(None, eva) == (ana, eva)
    assert during(ana, None) == ()
    assert during(rui, eva) == (ana,), "who is not on call cannot be replaced"


def test_a_turn_ends_at_the_handover_as_written() -> None:
    lisbon = ZoneInfo("Europe/Lisbon")
    ana, rui = PEOPLE[:2]
    schedule = Schedule(lisbon, (Layer("first", 7, time(8), date(2026, 1, 5), (ana, rui)),))
    start_ms = handover_ms(schedule.layers[0], lisbon, 0)
    assert end_of_turn_ms(schedule, ana, start_ms + HOUR_MS) == handover_ms(schedule.layers[0], lisbon, 1)
    assert end_of_turn_ms(schedule, rui, start_ms + HOUR_MS) is None

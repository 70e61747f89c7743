"""Drills at set times of the week, held against a walk through every minute of it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.core.errors import InvalidInput
from engine.core.units import ms_from_utc
from engine.safetap.drill_week import DAYS, DrillWeek, next_drill_ms, parse_week, week_fields

ZONES = (
    "Europe/Lisbon", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago", "Asia/Kathmandu",
    "Pacific/Apia", "UTC",
)  # fmt: skip
"""Clocks that change at night, at midnight, by half an hour, by a whole day (Apia, 2011), and never."""
WEEK_MIN = 9 * 24 * 60
CHANGE_MAX = timedelta(days=1)


def walked(plan: DrillWeek, after: datetime) -> datetime:
    """The first minute at which the wall shows a time of the plan; one that it skips counts at the old pace."""
    minute = after.replace(second=0, microsecond=0)
    for _ in range(WEEK_MIN):
        minute += timedelta(minutes=1)
        shown = minute.astimezone(plan.tz)
        walls = [] if shown.fold else [shown.replace(tzinfo=None)]
        before = (minute - CHANGE_MAX).astimezone(plan.tz).utcoffset()
        assert before is not None
        as_before = (minute + before).replace(tzinfo=None)
        if as_before.replace(tzinfo=plan.tz).astimezone(UTC).astimezone(plan.tz).replace(tzinfo=None) != as_before:
            walls.append(as_before)
        if any(DAYS[wall.weekday()] in plan.days and wall.time() in plan.times for wall in walls):
            return minute
    raise AssertionError("a week without a drill")


@settings(max_examples=60, deadline=None)
@given(
    tz=st.sampled_from(ZONES),
    days=st.sets(st.sampled_from([day.value for day in DAYS]), min_size=1),
    at=st.sets(st.tuples(st.integers(0, 23), st.sampled_from((0, 15, 30, 45))), min_size=1, max_size=6),
    after=st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - its zone is UTC
)
@example("Europe/Lisbon", {"sun"}, {(1, 30)}, datetime(2026, 3, 29, 0, 59, tzinfo=UTC))
@example("Europe/Lisbon", {"sun"}, {(1, 30)}, datetime(2026, 10, 25, 0, 31, tzinfo=UTC))
@example("Africa/Cairo", {"fri"}, {(0, 15)}, datetime(2026, 4, 23, 21, 59, tzinfo=UTC))
@example("Africa/Cairo", {"thu"}, {(23, 45)}, datetime(2026, 10, 29, 20, 50, tzinfo=UTC))
@example("Pacific/Apia", {"fri", "mon"}, {(8, 0)}, datetime(2011, 12, 28, 18, 1, tzinfo=UTC))
def test_the_next_drill_is_the_first_that_the_wall_shows(
    tz: str, days: set[str], at: set[tuple[int, int]], after: datetime
) -> None:
    plan = parse_week(tz, sorted(days), [f"{hour:02}:{minute:02}" for hour, minute in at])
    found = next_drill_ms(plan, ms_from_utc(after))
    assert found == ms_from_utc(walked(plan, after))
    assert found > ms_from_utc(after)


def test_a_year_of_drills_keeps_its_hour_through_both_changes_of_clocks() -> None:
    plan = parse_week("Europe/Lisbon", ["sun"], ["10:30"])
    moment, hours = ms_from_utc(datetime(2026, 1, 1, tzinfo=UTC)), set()
    for _ in range(52):
        moment = next_drill_ms(plan, moment)
        local = datetime.fromtimestamp(moment / 1000, ZoneInfo("Europe/Lisbon"))
        assert (local.weekday(), local.hour, local.minute) == (6, 10, 30)
        hours.add(datetime.fromtimestamp(moment / 1000, UTC).hour)
    assert hours == {9, 10}


@pytest.mark.parametrize(
    ("tz", "days", "at", "field"),
    [
        ("Mars/Base", ["mon"], ["10:30"], "tz"),
        ("UTC", [], ["10:30"], "weekly.days"),
        ("UTC", ["moon"], ["10:30"], "weekly.days"),
        ("UTC", ["mon"], [], "weekly.at"),
        ("UTC", ["mon"], ["24:00"], "weekly.at[0]"),
        ("UTC", ["mon"], [f"0{hour}:00" for hour in range(7)], "weekly.at"),
    ],
)
def test_a_plan_keeps_to_its_rules(tz: str, days: list[str], at: list[str], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_week(tz, days, at)
    assert refused.value.field == field


def test_a_plan_is_shown_in_order_and_each_once() -> None:
    plan = parse_week("UTC", ["sun", "mon", "sun"], ["22:15", "08:05", "22:15"])
    assert week_fields(plan) == {"tz": "UTC", "days": ["mon", "sun"], "at": ["08:05", "22:15"]}

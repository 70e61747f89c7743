"""Limits of working time, by hand and against a count of minutes."""

from hypothesis import given
from hypothesis import strategies as st

from engine.matcher.working_time import DAY_MS, MS_PER_MIN, Period, WorkingTimeRule, work_until_ms

NOW_MS = 1_700_000_000_000
H = 60 * MS_PER_MIN


def until_h(rule: WorkingTimeRule, *periods: tuple[float, float | None]) -> float | None:
    """Periods in hours before now, `None` for those that last; the answer in hours from now."""
    made = [Period(int(NOW_MS - a * H), None if b is None else int(NOW_MS - b * H)) for a, b in periods]
    end = work_until_ms(made, rule, now_ms=NOW_MS)
    return None if end is None else (end - NOW_MS) / H


def test_no_rule_no_limit():
    assert until_h(WorkingTimeRule(), (200, None)) is None


def test_a_day_is_any_24_hours():
    rule = WorkingTimeRule(daily_min=600)
    assert until_h(rule) == 10
    assert until_h(rule, (4, None)) == 6
    assert until_h(rule, (30, 20), (4, None)) == 2, "4 of the 10 hours until 20 hours ago lie in the last 24"
    assert until_h(rule, (12, None)) == -2, "over it already"


def test_a_week_is_any_seven_days():
    rule = WorkingTimeRule(weekly_min=40 * 60)
    assert until_h(rule, (7 * 24 + 5, 7 * 24 - 5), (100, 70)) == 5


def test_rest_is_in_one_piece():
    rule = WorkingTimeRule(rest_min=11 * 60)
    assert until_h(rule, (30, 20), (2, None)) == 11, "18 hours off, then 13 on, of which two are over"
    assert until_h(rule, (14, 9), (4, None)) == -1, "five hours off are no rest"
    assert until_h(rule, (14, 11)) == 13, "rested"


@given(
    st.lists(st.integers(1, 400), max_size=12),
    st.booleans(),
    st.integers(60, 1440),
)
def test_whoever_stops_by_then_has_kept_the_day(lengths: list[int], is_on: bool, daily_min: int):
    at, periods = NOW_MS - sum(lengths) * MS_PER_MIN, []
    for number, length in enumerate(lengths):
        end = at + length * MS_PER_MIN
        if number % 2 == len(lengths) % 2 or not is_on:
            periods.append(Period(at, end))
        at = end
    end_ms = work_until_ms(periods[::2], WorkingTimeRule(daily_min=daily_min), now_ms=NOW_MS)
    assert end_ms is not None
    minutes = {
        minute
        for each in periods[::2]
        for minute in range(each.began_ms // MS_PER_MIN, (each.ended_ms or NOW_MS) // MS_PER_MIN)
    }
    stop = max(end_ms, NOW_MS) // MS_PER_MIN
    worked = minutes | set(range(NOW_MS // MS_PER_MIN, stop))
    in_day = sum(1 for minute in worked if stop - DAY_MS // MS_PER_MIN <= minute < stop)
    assert in_day <= max(daily_min, len(minutes)) + 1

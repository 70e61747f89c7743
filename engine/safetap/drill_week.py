"""Drills at set times of the week, by the clock on the wall of a place. Pure: the moment is passed in.

    {"tz": "Europe/Lisbon", "days": ["mon", "thu"], "at": ["10:30", "22:15"]}

A time that a change of clocks leaves out counts as if the clock had gone on as before it; one that comes twice counts
the first time (PEP 495, `fold=0`), as in schedules of who is on call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from config.limits import DRILL_TIMES_MAX
from engine.core.errors import InvalidInput
from engine.core.units import ms_from_utc, utc_from_ms
from engine.safetap.on_call import parse_time, parse_zone


class Weekday(StrEnum):
    """A day of the week, in the order of `date.weekday()`."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


DAYS = tuple(Weekday)


@dataclass(frozen=True, slots=True)
class DrillWeek:
    """On which days, at which local times, in which zone."""

    tz: ZoneInfo
    days: frozenset[Weekday]
    times: tuple[time, ...]
    """In order, each once, to the minute."""


def parse_week(tz: str, days: Sequence[str], at: Sequence[str]) -> DrillWeek:
    """Return the plan that a request or a row describes.

    Raises:
        InvalidInput: with the field (`weekly.at[0]`) and the rule that it breaks.
    """
    if not days or any(day not in DAYS for day in days):
        raise InvalidInput(f"Of {', '.join(DAYS)} one at least.", field="weekly.days")
    times = sorted({parse_time(one, f"weekly.at[{n}]") for n, one in enumerate(at)})
    if not 1 <= len(times) <= DRILL_TIMES_MAX:
        raise InvalidInput(f"1 to {DRILL_TIMES_MAX} times of day.", field="weekly.at")
    return DrillWeek(parse_zone(tz), frozenset(Weekday(day) for day in days), tuple(times))


def next_drill_ms(plan: DrillWeek, after_ms: int) -> int:
    """Return the first moment (Unix ms) of the plan after another."""
    today = utc_from_ms(after_ms).astimezone(plan.tz).date()
    # Yesterday, because a change of clocks at midnight moves its last times to today; eight days more make a whole
    # week whatever a change leaves out.
    days = (today + timedelta(days=offset) for offset in range(-1, 9))
    moments = (
        ms_from_utc(datetime.combine(day, at, plan.tz).astimezone(UTC))
        for day in days
        if DAYS[day.weekday()] in plan.days
        for at in plan.times
    )
    return min(moment for moment in moments if moment > after_ms)


def week_fields(plan: DrillWeek) -> dict[str, object]:
    """Return a plan as it is shown: days in the order of the week, times in that of the day."""
    return {
        "tz": plan.tz.key,
        "days": [day.value for day in DAYS if day in plan.days],
        "at": [f"{one:%H:%M}" for one in plan.times],
    }

"""Until when a worker may work: limits on duty time. Pure. Hard rules, never weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.core.units import MS_PER_S

MS_PER_MIN: Final = 60 * MS_PER_S
DAY_MS: Final = 24 * 60 * MS_PER_MIN
WEEK_MS: Final = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class WorkingTimeRule:
    """An organisation's limits in minutes; `None`: none of this kind."""

    daily_min: int | None = None
    """On duty in any 24 hours."""
    weekly_min: int | None = None
    """On duty in any 7 days."""
    rest_min: int | None = None
    """Off duty in one piece, in any 24 hours."""


@dataclass(frozen=True, slots=True)
class Period:
    """On duty from when to when (Unix ms); `ended_ms` is `None` while it lasts."""

    began_ms: int
    ended_ms: int | None


def work_until_ms(periods: Sequence[Period], rule: WorkingTimeRule, *, now_ms: int) -> int | None:
    """Return when the first limit will be reached by who stays on duty from now on, or was; `None`: no limit.

    At the earliest: hours that leave the last day or week in the meantime are not counted off, the next call does.
    `periods` ascend and do not overlap.
    """
    ends = []
    if rule.daily_min is not None:
        ends.append(now_ms + rule.daily_min * MS_PER_MIN - _worked_ms(periods, now_ms - DAY_MS, now_ms))
    if rule.weekly_min is not None:
        ends.append(now_ms + rule.weekly_min * MS_PER_MIN - _worked_ms(periods, now_ms - WEEK_MS, now_ms))
    if rule.rest_min is not None:
        rest_ms = rule.rest_min * MS_PER_MIN
        ends.append(_last_rest_ended_ms(periods, rest_ms, now_ms) + DAY_MS - rest_ms)
    return min(ends, default=None)


def _worked_ms(periods: Sequence[Period], since_ms: int, now_ms: int) -> int:
    return sum(max(0, min(_end(each, now_ms), now_ms) - max(each.began_ms, since_ms)) for each in periods)


def _last_rest_ended_ms(periods: Sequence[Period], rest_ms: int, now_ms: int) -> int:
    """Return when the last rest that was long enough ended: now, for who is resting for that long."""
    began_ms = now_ms
    for each in reversed(periods):
        if began_ms - _end(each, now_ms) >= rest_ms:
            break
        began_ms = each.began_ms
    return began_ms


def _end(period: Period, now_ms: int) -> int:
    return now_ms if period.ended_ms is None else period.ended_ms

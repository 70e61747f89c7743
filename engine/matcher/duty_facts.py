"""What the rules read of a worker's shifts and duty: the same columns for the batch of the frame and for one pair.

A statement that has `worker w` and `person p` adds `COLUMNS` and `JOINS`, and takes `times()` as $1 and $2.
"""

from datetime import datetime
from typing import Final

import asyncpg

from engine.core.units import ms_from_utc, utc_from_ms
from engine.matcher.working_time import DAY_MS, WEEK_MS, Period, WorkingTimeRule

# Duty matters only where a rule limits it.
COLUMNS: Final = """
       next_shift.starts_at, next_shift.ends_at,
       EXISTS (SELECT FROM shift t WHERE t.worker_id = w.worker_id AND t.ends_at > $2) AS has_shifts,
       r.daily_min, r.weekly_min, r.rest_min,
       ARRAY(SELECT d.began_at FROM duty_period d
              WHERE r.org_id IS NOT NULL AND d.worker_id = w.worker_id AND coalesce(d.ended_at, $1) > $2
              ORDER BY d.began_at) AS began,
       ARRAY(SELECT d.ended_at FROM duty_period d
              WHERE r.org_id IS NOT NULL AND d.worker_id = w.worker_id AND coalesce(d.ended_at, $1) > $2
              ORDER BY d.began_at) AS ended
"""
JOINS: Final = """
  LEFT JOIN working_time_rule r ON r.org_id = p.org_id
  LEFT JOIN LATERAL (SELECT t.starts_at, t.ends_at FROM shift t
                      WHERE t.worker_id = w.worker_id AND t.ends_at > $1
                      ORDER BY t.starts_at LIMIT 1) AS next_shift ON true
"""


def times(now_ms: int) -> tuple[datetime, datetime]:
    """Return now and eight days before: the rest before the oldest of seven days counts, too."""
    return utc_from_ms(now_ms), utc_from_ms(now_ms - WEEK_MS - DAY_MS)


def next_shift_ms(row: asyncpg.Record) -> tuple[int, int] | None:
    """Return from when to when (Unix ms) the shift is that lasts or comes next; `None`: there is none."""
    return None if row["starts_at"] is None else (ms_from_utc(row["starts_at"]), ms_from_utc(row["ends_at"]))


def rule_of(row: asyncpg.Record) -> WorkingTimeRule:
    """Return the limits of the worker's organisation."""
    return WorkingTimeRule(row["daily_min"], row["weekly_min"], row["rest_min"])


def duty_of(row: asyncpg.Record) -> list[Period]:
    """Return the duty of the last eight days; none where no rule limits it."""
    return [
        Period(ms_from_utc(began), None if ended is None else ms_from_utc(ended))
        for began, ended in zip(row["began"], row["ended"], strict=True)
    ]

"""What the matcher reads of workers: each as a row of its table, and what all their answers and jobs add up to."""

from typing import Final

import asyncpg

from config.limits import ACCEPTANCE_DAYS, FLAGGED_RISK
from engine.core.database import Connection, Pool
from engine.core.ids import OrgId, PersonId, WorkerSlot
from engine.core.units import ms_from_utc, utc_from_ms
from engine.matcher.acceptance import Answers, acceptance_gaps
from engine.matcher.duty_facts import COLUMNS, JOINS, duty_of, next_shift_ms, rule_of, times
from engine.matcher.worker_table import Matching, Tally, WorkerRow, WorkerStatus
from engine.matcher.working_time import DAY_MS, work_until_ms

NO_MORE_MS: Final = 2**53
"""The shift of who has planned ones, all of them over: never."""

# $1 and $2 are the times of `duty_facts`.
_WORKERS: Final = """
SELECT w.slot, w.worker_id, p.org_id, w.skills, w.rating, w.experience, w.idle_since,
       w.duty = 'on' AND p.status = 'active' AS takes_part,
       EXISTS (SELECT FROM booking b
                WHERE b.worker_id = w.worker_id AND b.state IN ('assigned', 'en_route', 'arrived', 'in_progress')
       ) AS is_busy,
       EXISTS (SELECT FROM offer o WHERE o.worker_id = w.worker_id AND o.state = 'open') AS is_offered,
       EXISTS (SELECT FROM safety_hold h WHERE h.person_id = w.worker_id AND h.released_at IS NULL) AS is_held,
       (SELECT coalesce(bit_or(1 << k.bit), 0)
          FROM worker_kit c JOIN kit_item k ON k.org_id = c.org_id AND k.code = c.code
         WHERE c.worker_id = w.worker_id AND (c.expires_at IS NULL OR c.expires_at > $1)) AS kit,
       ARRAY(SELECT l.skill_bit FROM worker_level l WHERE l.worker_id = w.worker_id ORDER BY l.skill_bit) AS level_bits,
       ARRAY(SELECT l.level FROM worker_level l WHERE l.worker_id = w.worker_id ORDER BY l.skill_bit) AS levels,
       :duty
  FROM worker w
  JOIN person p ON p.person_id = w.worker_id
  :joins
""".replace(":duty", COLUMNS).replace(":joins", JOINS)
WORKERS_BY_ID: Final = _WORKERS + " WHERE w.worker_id = ANY($3::uuid[])"
WORKERS_BY_SLOT: Final = _WORKERS + " WHERE w.slot >= $3 ORDER BY w.slot LIMIT $4"

# Flagged: somebody or the door was held around the time, or the job was of high risk when it was decided.
ANSWERS: Final = """
SELECT o.org_id, o.worker_id, o.state = 'accepted' AS said_yes,
       EXISTS (SELECT FROM safety_hold h
                WHERE (h.person_id IN (o.worker_id, b.customer_id) OR h.address_id = b.address_id)
                  AND h.created_at <= o.expires_at + interval '1 hour'
                  AND (h.released_at IS NULL OR h.released_at >= o.sent_at))
       OR EXISTS (SELECT FROM dispatch_log d
                   WHERE d.booking_id = o.booking_id AND (d.detail #>> '{risk,score}')::real >= $2) AS is_flagged,
       count(*) AS answers
  FROM offer o
  JOIN booking b USING (booking_id)
 WHERE o.state IN ('accepted', 'declined', 'expired') AND o.sent_at > $1
   AND (o.replaces IS NULL OR o.state = 'accepted')
 GROUP BY 1, 2, 3, 4
"""

# Since midnight where the worker lives.
JOBS_TODAY: Final = """
SELECT b.worker_id, count(*) AS jobs, sum(s.price_minor)::bigint AS earned
  FROM booking b
  JOIN service s USING (service_id)
  JOIN person p ON p.person_id = b.worker_id
 WHERE b.actual_end > $1::timestamptz - interval '25 hours'
   AND b.actual_end >= date_trunc('day', $1::timestamptz AT TIME ZONE p.tz) AT TIME ZONE p.tz
   AND b.state IN ('completed', 'confirmed')
 GROUP BY b.worker_id
"""


async def read_workers(pool: Pool, worker_ids: list[PersonId], *, now_ms: int) -> list[WorkerRow]:
    """Return these workers."""
    return _rows(await pool.fetch(WORKERS_BY_ID, *times(now_ms), worker_ids), now_ms)


async def read_page(pool: Pool, first_slot: int, limit: int, *, now_ms: int) -> list[WorkerRow]:
    """Return workers by slot, from one on."""
    return _rows(await pool.fetch(WORKERS_BY_SLOT, *times(now_ms), first_slot, limit), now_ms)


async def read_tallies(conn: Connection, *, now_ms: int) -> dict[PersonId, Tally]:
    """Return what answers and jobs add up to, of everybody who has any."""
    since = utc_from_ms(now_ms - ACCEPTANCE_DAYS * DAY_MS)
    gaps = acceptance_gaps(
        Answers(row["org_id"], PersonId(row["worker_id"]), row["said_yes"], row["is_flagged"], row["answers"])
        for row in await conn.fetch(ANSWERS, since, FLAGGED_RISK)
    )
    jobs = {PersonId(row["worker_id"]): row for row in await conn.fetch(JOBS_TODAY, utc_from_ms(now_ms))}
    return {
        who: Tally(
            jobs_today=jobs[who]["jobs"] if who in jobs else 0,
            earned_minor=jobs[who]["earned"] if who in jobs else 0,
            acceptance_gap=gaps.get(who, 0.0),
        )
        for who in gaps.keys() | jobs.keys()
    }


def _rows(records: list[asyncpg.Record], now_ms: int) -> list[WorkerRow]:
    return [
        WorkerRow(
            slot=WorkerSlot(row["slot"]),
            worker_id=PersonId(row["worker_id"]),
            org_id=OrgId(row["org_id"]),
            skills=row["skills"],
            status=_status(row),
            is_held=row["is_held"],
            rating=row["rating"],
            experience=row["experience"],
            idle_since_ms=0 if row["idle_since"] is None else ms_from_utc(row["idle_since"]),
            matching=_matching(row, now_ms),
        )
        for row in records
    ]


def _status(row: asyncpg.Record) -> WorkerStatus:
    if row["is_busy"]:
        return WorkerStatus.BUSY
    if not row["takes_part"]:
        return WorkerStatus.OFF_DUTY
    return WorkerStatus.OFFERED if row["is_offered"] else WorkerStatus.FREE


def _matching(row: asyncpg.Record, now_ms: int) -> Matching:
    shift = next_shift_ms(row)
    if shift is None:
        shift = (NO_MORE_MS, NO_MORE_MS) if row["has_shifts"] else (0, 0)
    return Matching(
        kit=row["kit"],
        levels=tuple(zip(row["level_bits"], row["levels"], strict=True)),
        shift_from_ms=shift[0],
        shift_until_ms=shift[1],
        work_until_ms=work_until_ms(duty_of(row), rule_of(row), now_ms=now_ms) or 0,
    )

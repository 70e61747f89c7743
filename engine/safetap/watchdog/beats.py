"""The rows by which processes tell each other that they work. Times are the database's."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from config.limits import BEAT_KEPT_MS, BEAT_MISSED_MS
from engine.core.database import Connection
from engine.core.units import ms_from_utc, utc_from_ms
from engine.safetap.watchdog.health import Health, MissingPart, Part

BEAT: Final = """
INSERT INTO process_beat AS beat (seat, part, beat_at)
SELECT $1, part, $3 FROM unnest($2::text[]) AS part ORDER BY part
ON CONFLICT (seat, part) DO UPDATE SET beat_at = excluded.beat_at, missed_at = NULL
"""
LEAVE: Final = "DELETE FROM process_beat WHERE seat = $1"

# Several peers look at once: one of them is the first to miss somebody, the others pass by.
MISS: Final = """
UPDATE process_beat SET missed_at = $1
 WHERE (seat, part) IN (SELECT seat, part FROM process_beat WHERE missed_at IS NULL AND beat_at < $2
                           FOR UPDATE SKIP LOCKED)
RETURNING seat, part
"""
FORGET: Final = """
DELETE FROM process_beat
 WHERE (seat, part) IN (SELECT seat, part FROM process_beat WHERE missed_at IS NOT NULL AND beat_at < $1
                           FOR UPDATE SKIP LOCKED)
"""
PARTS: Final = (
    "SELECT seat, part, beat_at >= $1 AND missed_at IS NULL AS works, missed_at FROM process_beat ORDER BY 1, 2"
)
LATE: Final = """
SELECT (SELECT min(due_at) FROM incident_timer) AS step_due_at,
       (SELECT min(due_at) FROM notice
         WHERE state = 'pending' AND loop = 0 AND attempts = 0) AS notice_due_at
"""
CLAIM_PING: Final = """
INSERT INTO outside_ping AS ping (next_at) VALUES ($2)
ON CONFLICT (is_only) DO UPDATE SET next_at = excluded.next_at WHERE ping.next_at <= $1
RETURNING true
"""
RECORD_PING: Final = """
UPDATE outside_ping SET sent_at = CASE WHEN $2 = '' THEN $1::timestamptz ELSE sent_at END, trouble = $2,
                        next_at = CASE WHEN $2 = '' THEN next_at ELSE least(next_at, $3::timestamptz) END
"""


async def beat(conn: Connection, seat: str, parts: Sequence[Part], *, now_ms: int) -> None:
    """Say that these parts of the process at `seat` work; whoever missed them does so no more."""
    if parts:
        await conn.execute(BEAT, seat, [part.value for part in parts], utc_from_ms(now_ms))


async def leave(conn: Connection, seat: str) -> None:
    """Say that the process at `seat` stops in good order: nobody is to miss it."""
    await conn.execute(LEAVE, seat)


async def find_missing(conn: Connection, *, now_ms: int) -> list[tuple[str, Part]]:
    """Return what went missing and was noticed by nobody before, by seat and part; forget what is long gone."""
    rows = await conn.fetch(MISS, utc_from_ms(now_ms), utc_from_ms(now_ms - BEAT_MISSED_MS))
    await conn.execute(FORGET, utc_from_ms(now_ms - BEAT_KEPT_MS))
    return [(row["seat"], Part(row["part"])) for row in rows]


async def read_health(conn: Connection, *, now_ms: int) -> Health:
    """Return what the rows tell at `now_ms`."""
    rows = await conn.fetch(PARTS, utc_from_ms(now_ms - BEAT_MISSED_MS))
    late = await conn.fetchrow(LATE)
    assert late is not None
    return Health(
        working={part: sum(row["works"] for row in rows if row["part"] == part) for part in Part},
        missing=[
            MissingPart(row["seat"], Part(row["part"]), ms_from_utc(row["missed_at"]))
            for row in rows
            if row["missed_at"] is not None
        ],
        step_late_ms=_late_ms(late["step_due_at"], now_ms),
        notice_late_ms=_late_ms(late["notice_due_at"], now_ms),
    )


async def claim_ping(conn: Connection, *, now_ms: int, every_ms: int) -> bool:
    """Return whether a ping is due, and nobody else's to send."""
    return bool(await conn.fetchval(CLAIM_PING, utc_from_ms(now_ms), utc_from_ms(now_ms + every_ms)))


async def record_ping(conn: Connection, trouble: str, *, now_ms: int, retry_at_ms: int) -> None:
    """Write down that a ping was sent, or what stood in its way."""
    await conn.execute(RECORD_PING, utc_from_ms(now_ms), trouble, utc_from_ms(retry_at_ms))


def _late_ms(due_at: datetime | None, now_ms: int) -> int:
    return 0 if due_at is None else max(0, now_ms - ms_from_utc(due_at))

"""What the person who is watched says and sees: that all is well, and what is watched about them.

An answer with the duress PIN is taken like one with the safe PIN, byte for byte, and raises the alarm besides. Nothing
here tells whether somebody was asked because of a sign or because it was time, nor that an incident is open.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg

from engine.core.clock import Clock
from engine.core.database import Connection, Pool
from engine.core.errors import InvalidInput
from engine.core.ids import BookingId, PersonId
from engine.core.units import MS_PER_S, rfc3339, utc_from_ms
from engine.core.vocabulary import WatchStage
from engine.people.passwords import Passwords
from engine.safetap.channels.desk import show_at_desk
from engine.safetap.incident_store import add_event, event_body, read_clock
from engine.safetap.pin_cancel import NewId, RaiseDuress, note_duress, raise_if_forced
from engine.safetap.pins import PinKind, check_right, even_timing, judge_pin
from engine.safetap.silence.decision import next_check_in_ms
from engine.safetap.silence.facts_store import POLICY
from engine.safetap.silence.text_answer import is_first_time
from engine.safetap.silence.watch_store import read_policy, read_watch

MINE: Final = """
SELECT w.booking_id, w.person_id, w.org_id, w.role, w.phase, w.phase_since, w.calm_at, w.stage, w.round, w.signal,
       w.asked_at, w.silent_after_s, w.overrun_after_s, s.name AS service_name, policy.body::text AS policy
  FROM silence_watch w
  JOIN booking b USING (booking_id)
  JOIN service s USING (service_id)
  LEFT JOIN LATERAL (:policy) policy ON true
 WHERE w.person_id = $1
 ORDER BY w.booking_id
""".replace(":policy", POLICY)
HAS_PINS: Final = "SELECT EXISTS (SELECT FROM safety_pin WHERE person_id = $1)"

# Every watch over the person, in the order of every other writer. An open incident stays open: a human closes it.
LOCK: Final = """
SELECT booking_id FROM silence_watch
 WHERE person_id = $1 AND ($2::uuid IS NULL OR booking_id = $2)
 ORDER BY booking_id
   FOR UPDATE
"""
ANSWER: Final = """
WITH had AS (
  SELECT booking_id, person_id, org_id, round, signal, stage FROM silence_watch
   WHERE person_id = $1 AND booking_id = ANY($2::uuid[])
), noted AS (
  INSERT INTO silence_event (booking_id, person_id, org_id, round, kind, signal, at)
  SELECT booking_id, person_id, org_id, round, 'answered', signal, $3 FROM had
)
UPDATE silence_watch w
   SET calm_at = $3, due_at = $3, fence = fence + 1, lease_until = NULL,
       round = w.round + CASE w.stage WHEN 'asked' THEN 1 ELSE 0 END,
       signal = CASE w.stage WHEN 'asked' THEN NULL ELSE w.signal END,
       asked_at = CASE w.stage WHEN 'asked' THEN NULL ELSE w.asked_at END,
       stage = CASE w.stage WHEN 'asked' THEN 'calm' ELSE w.stage END
  FROM had
 WHERE w.booking_id = had.booking_id AND w.person_id = had.person_id
"""
LIVE_INCIDENT: Final = """
SELECT incident_id FROM incident WHERE person_id = $1 AND state <> 'closed' AND NOT is_drill FOR UPDATE
"""


@dataclass(frozen=True, slots=True)
class CheckIn:
    """What somebody answers, by a tap or with a PIN.

    `reply_id` names a message that may come twice: it calms once, while its duress PIN counts however often it comes.
    """

    person_id: PersonId
    booking_id: BookingId | None
    """`None`: all is well on every job of theirs."""
    pin: str | None
    reply_id: str | None = None


async def check_in(
    pool: Pool, passwords: Passwords, clock: Clock, said: CheckIn, *, raise_duress: RaiseDuress, new_id: NewId
) -> list[dict[str, object]]:
    """Take an answer and return what is watched from now on. Returning means: what the screen shows is "noted".

    Raises:
        InvalidInput: the PIN is wrong, or there is none and the organisation wants one.
        TooMany: wrong ones before it were too many, whatever this one is.
    """
    if said.pin is not None:
        return await _by_pin(pool, passwords, clock, said, said.pin, raise_duress=raise_duress, new_id=new_id)
    async with pool.acquire() as conn, conn.transaction():
        if await _needs_pin(conn, said.person_id):
            raise InvalidInput("Answer with your PIN.", field="pin")
        await _note(conn, said, how="tap")
        return await watches_of(conn, said.person_id)


async def _by_pin(
    pool: Pool,
    passwords: Passwords,
    clock: Clock,
    said: CheckIn,
    pin: str,
    *,
    raise_duress: RaiseDuress,
    new_id: NewId,
) -> list[dict[str, object]]:
    person_id = said.person_id
    async with even_timing(clock):
        verdict = await judge_pin(pool, passwords, person_id=person_id, pin=pin, now_ms=clock.now_ms())
        is_raised = await raise_if_forced(verdict, raise_duress)
        async with pool.acquire() as conn, conn.transaction():
            if verdict.kind is not PinKind.WRONG and not verdict.is_locked:
                await _note(conn, said, how="pin")
            if verdict.kind is PinKind.DURESS:
                now_ms = await read_clock(conn)
                await note_duress(conn, person_id=person_id, is_raised=is_raised, new_id=new_id, now_ms=now_ms)
            shown = await watches_of(conn, person_id)
    check_right(verdict, field="pin")
    return shown


async def take_answer(conn: Connection, *, person_id: PersonId, booking_id: BookingId | None, how: str) -> None:
    """Calm every watch over a person, or that of one job. The caller holds a transaction.

    Where an incident is open it is told of the answer, and stays open.
    """
    now_ms = await read_clock(conn)
    locked = [row["booking_id"] for row in await conn.fetch(LOCK, person_id, booking_id)]
    if not locked:
        return
    await conn.execute(ANSWER, person_id, locked, utc_from_ms(now_ms))
    incident_id = await conn.fetchval(LIVE_INCIDENT, person_id)
    if incident_id is not None:
        body = event_body(how=how)
        await add_event(conn, incident_id=incident_id, kind="checked_in", actor_id=person_id, body=body, now_ms=now_ms)
        await show_at_desk(conn, [incident_id], now_ms=now_ms)


async def watches_of(conn: Connection, person_id: PersonId) -> list[dict[str, object]]:
    """Return what is watched about a person, as they see it."""
    return [shown for row in await conn.fetch(MINE, person_id) if (shown := _shown(row)) is not None]


async def _note(conn: Connection, said: CheckIn, *, how: str) -> None:
    if said.reply_id is not None and not await is_first_time(
        conn, reply_id=said.reply_id, person_id=said.person_id, now_ms=await read_clock(conn)
    ):
        return
    await take_answer(conn, person_id=said.person_id, booking_id=said.booking_id, how=how)


async def _needs_pin(conn: Connection, person_id: PersonId) -> bool:
    rows = await conn.fetch(MINE, person_id)
    wanted = any(read_policy(row["policy"], row["org_id"]).needs_pin for row in rows)
    return wanted and bool(await conn.fetchval(HAS_PINS, person_id))


def _shown(row: asyncpg.Record) -> dict[str, object] | None:
    watch = read_watch(row)
    policy = read_policy(row["policy"], watch.org_id)
    is_asked = watch.asked_at_ms is not None and watch.calm_at_ms <= watch.asked_at_ms
    if not policy.is_on and watch.stage is WatchStage.CALM:
        return None
    answer_by_ms = None
    if is_asked and watch.asked_at_ms is not None:
        answer_by_ms = watch.asked_at_ms + policy.grace_s * MS_PER_S
    next_ms = next_check_in_ms(watch, policy)
    return {
        "booking_id": str(watch.booking_id),
        "service_name": row["service_name"],
        "phase": watch.phase.value,
        "phase_since": rfc3339(row["phase_since"]),
        "is_due": is_asked,
        "answer_by": None if answer_by_ms is None else rfc3339(utc_from_ms(answer_by_ms)),
        "next_check_in_at": None if next_ms is None else rfc3339(utc_from_ms(next_ms)),
        "needs_pin": policy.needs_pin,
        "silent_after_s": row["silent_after_s"],
        "stop_s": policy.stop_s if row["role"] == "worker" else None,
        "off_site_m": policy.off_site_m if row["role"] == "worker" else None,
        "overrun_after_s": row["overrun_after_s"],
    }

"""Cancelling an alarm with a PIN, before the eyes of whoever forces somebody to do it.

A safe PIN stands the ladder down and keeps its follow-up: a human still has to close, unless the incident's policy says
`"safe_pin": "closes"`. A duress PIN is answered with the same bytes at the same time and raises the alarm, also where
there was none. Once a duress PIN was given, no safe PIN stands anything down any more. A wrong PIN changes nothing but
the record. What was done leaves no trace on the wire: every answer leaves at the next multiple of
`limits.PIN_ANSWER_MS`.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from config.limits import SEVERITY_MAX
from engine.core.clock import Clock
from engine.core.database import Connection, Pool
from engine.core.errors import Unavailable
from engine.core.ids import IncidentId, PersonId
from engine.core.units import MS_PER_S, utc_from_ms
from engine.core.vocabulary import IncidentKind
from engine.people.passwords import Passwords
from engine.safetap.channels.desk import show_at_desk
from engine.safetap.desk import AWAIT_FOLLOW_UP, STOP_TIMER
from engine.safetap.incident_store import add_event, read_policy
from engine.safetap.pins import PinKind, Verdict, check_right, even_timing, judge_pin

RaiseDuress = Callable[[], Awaitable[None]]
"""Sends a trigger of the kind `duress_pin` through SafeTap's door, as the person's own phone would."""

CLOSES: Final = "closes"
CANCELLED: Final = "cancelled by safe PIN"

LOCK_LIVE: Final = """
SELECT incident_id, kind, policy::text AS policy, policy ->> 'safe_pin' AS safe_pin
  FROM incident WHERE person_id = $1 AND state <> 'closed' FOR UPDATE
"""
STAND_DOWN: Final = """
UPDATE incident SET state = 'acknowledged', acknowledged_at = $2, acknowledged_by = NULL, says_safe_at = $2
 WHERE incident_id = $1
"""
CLOSE: Final = """
UPDATE incident SET state = 'closed', closed_at = $2, close_reason = $3, says_safe_at = $2 WHERE incident_id = $1
"""
STOP_NOTICES: Final = """
UPDATE notice SET state = 'failed', lease_until = NULL, last_error = 'a safe PIN was given before it was sent'
 WHERE incident_id = $1 AND state = 'pending'
"""
RAISE: Final = """
UPDATE incident SET kind = $2, severity = $3, is_drill = false, says_safe_at = NULL WHERE incident_id = $1
"""


async def cancel(
    pool: Pool,
    passwords: Passwords,
    clock: Clock,
    *,
    person_id: PersonId,
    pin: str,
    trigger_id: UUID | None,
    raise_duress: RaiseDuress,
) -> None:
    """Do what the PIN says. Returning means: what the screen shows is "cancelled".

    Raises:
        InvalidInput: the PIN is wrong.
        TooMany: wrong ones before it were too many, whatever this one is.
        Unavailable: the alarm could be raised nowhere: the phone sends again.
    """
    async with even_timing(clock):
        now_ms = clock.now_ms()
        verdict = await judge_pin(pool, passwords, person_id=person_id, pin=pin, now_ms=now_ms)
        is_raised = await raise_if_forced(verdict, raise_duress)
        async with pool.acquire() as conn, conn.transaction():
            is_noted = await _act(conn, verdict, person_id, trigger_id, now_ms=now_ms)
        if not is_raised and not is_noted:
            raise Unavailable
    check_right(verdict, field="pin")


async def note_duress(conn: Connection, *, person_id: PersonId, now_ms: int) -> bool:
    """Make a person's live incident one of duress, as severe as can be; return whether there is one.

    The caller holds a transaction.
    """
    incident = await conn.fetchrow(LOCK_LIVE, person_id)
    if incident is not None:
        await conn.execute(RAISE, incident["incident_id"], IncidentKind.DURESS_PIN.value, SEVERITY_MAX)
        await _record(conn, incident, "duress", {}, person_id, now_ms=now_ms)
    return incident is not None


async def raise_if_forced(verdict: Verdict, raise_duress: RaiseDuress) -> bool:
    """Raise the alarm where it was the duress PIN; `False`: that failed.

    A live incident then still becomes one of duress, and the answer stays the same.
    """
    if verdict.kind is not PinKind.DURESS:
        return True
    try:
        await raise_duress()
    except Unavailable:
        return False
    return True


async def _act(
    conn: Connection, verdict: Verdict, person_id: PersonId, trigger_id: UUID | None, *, now_ms: int
) -> bool:
    """Do it, and return whether there was a live incident to do it to."""
    if verdict.kind is PinKind.DURESS:
        return await note_duress(conn, person_id=person_id, now_ms=now_ms)
    incident = await conn.fetchrow(LOCK_LIVE, person_id)
    if incident is None:
        return False
    body: dict[str, object] = {} if trigger_id is None else {"trigger_id": str(trigger_id)}
    if verdict.kind is PinKind.WRONG or verdict.is_locked:
        await _record(conn, incident, "wrong_pin", body | {"is_locked": verdict.is_locked}, person_id, now_ms=now_ms)
    elif incident["kind"] == IncidentKind.DURESS_PIN:
        await _record(conn, incident, "safe_pin", body | {"stood_down": False}, person_id, now_ms=now_ms)
    else:
        await _stand_down(conn, incident, now_ms=now_ms)
        await _record(conn, incident, "safe_pin", body | {"stood_down": True}, person_id, now_ms=now_ms)
    return True


async def _stand_down(conn: Connection, incident: asyncpg.Record, *, now_ms: int) -> None:
    incident_id, now = IncidentId(incident["incident_id"]), utc_from_ms(now_ms)
    if incident["safe_pin"] == CLOSES:
        await conn.execute(CLOSE, incident_id, now, CANCELLED)
        await conn.execute(STOP_TIMER, incident_id)
    else:
        follow_up_ms = read_policy(incident["policy"], incident_id).follow_up_s * MS_PER_S
        await conn.execute(STAND_DOWN, incident_id, now)
        await conn.execute(AWAIT_FOLLOW_UP, incident_id, utc_from_ms(now_ms + follow_up_ms))
    await conn.execute(STOP_NOTICES, incident_id)


async def _record(
    conn: Connection,
    incident: asyncpg.Record,
    kind: str,
    body: dict[str, object],
    person_id: PersonId,
    *,
    now_ms: int,
) -> None:
    incident_id, text = IncidentId(incident["incident_id"]), orjson.dumps(body).decode()
    await add_event(conn, incident_id=incident_id, kind=kind, actor_id=person_id, body=text, now_ms=now_ms)
    await show_at_desk(conn, [incident_id], now_ms=now_ms)

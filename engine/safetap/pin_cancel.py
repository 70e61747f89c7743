"""Cancelling an alarm with a PIN, before the eyes of whoever forces somebody to do it.

A safe PIN stands the ladder down and keeps its follow-up: a human still has to close, unless the incident's policy says
`"safe_pin": "closes"`. A duress PIN is answered with the same bytes at the same time and raises the alarm, also where
there was none. Once a duress PIN was given, no safe PIN stands anything down any more. A wrong PIN changes nothing but
the record. What was done leaves no trace on the wire: every answer leaves at the next multiple of
`limits.PIN_ANSWER_MS`. A duress PIN that no door takes is stored here, by the one statement of every other trigger.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from config.limits import SEVERITY_MAX
from engine.core.clock import Clock
from engine.core.database import Connection, Pool
from engine.core.errors import Unavailable
from engine.core.ids import IncidentId, PersonId, TriggerId
from engine.core.units import MS_PER_S, utc_from_ms
from engine.core.vocabulary import Door, IncidentKind, IncidentState
from engine.people.passwords import Passwords
from engine.safetap.channels.desk import show_at_desk
from engine.safetap.desk import AWAIT_FOLLOW_UP, STOP_TIMER
from engine.safetap.incident_store import add_event, read_policy
from engine.safetap.pins import PinKind, Verdict, check_right, even_timing, judge_pin
from engine.safetap.trigger import TokenState, Trigger, Trust
from engine.safetap.trigger_store import store_triggers

RaiseDuress = Callable[[], Awaitable[None]]
"""Sends a trigger of the kind `duress_pin` through SafeTap's door, as the person's own phone would."""
NewId = Callable[[], UUID]

CLOSES: Final = "closes"
CANCELLED: Final = "cancelled by safe PIN"

LOCK_LIVE: Final = """
SELECT incident_id, kind, state, policy::text AS policy, policy ->> 'safe_pin' AS safe_pin
  FROM incident WHERE person_id = $1 AND state <> 'closed' FOR UPDATE
"""
STAND_DOWN: Final = """
UPDATE incident SET state = 'acknowledged', acknowledged_at = $2, acknowledged_by = NULL, says_safe_at = $2
 WHERE incident_id = $1
"""
CLOSE: Final = """
UPDATE incident SET state = 'closed', closed_at = $2, close_reason = $3, says_safe_at = $2 WHERE incident_id = $1
"""
SAYS_SAFE: Final = "UPDATE incident SET says_safe_at = $2 WHERE incident_id = $1"
STOP_NOTICES: Final = """
UPDATE notice SET state = 'failed', lease_until = NULL, last_error = 'a safe PIN was given before it was sent'
 WHERE incident_id = $1 AND state = 'pending'
"""
RAISE: Final = """
UPDATE incident SET kind = $2, severity = $3, is_drill = false, says_safe_at = NULL WHERE incident_id = $1
"""


@dataclass(frozen=True, slots=True)
class Given:
    """A PIN as somebody gave it; `trigger_id` names the alarm that their phone means."""

    person_id: PersonId
    pin: str
    trigger_id: UUID | None


class _NoDoorTook:
    """What is written of a duress PIN's alarm that no door took: the PIN itself vouches for it."""

    door = Door.DIRECT
    token_state = TokenState.VALID
    trust = Trust.VERIFIED
    issued_at_ms: int | None = None

    def __init__(self, person_id: PersonId, new_id: NewId, now_ms: int) -> None:
        self.trigger = Trigger(TriggerId(new_id()), IncidentKind.DURESS_PIN)
        self.person_id = person_id
        self.received_at_ms = now_ms
        self.incident_id = IncidentId(new_id())


async def cancel(
    pool: Pool,
    passwords: Passwords,
    clock: Clock,
    given: Given,
    *,
    raise_duress: RaiseDuress,
    new_id: NewId,
) -> None:
    """Do what the PIN says. Returning means: what the screen shows is "cancelled".

    Raises:
        InvalidInput: the PIN is wrong.
        TooMany: wrong ones before it were too many, whatever this one is.
    """
    async with even_timing(clock):
        now_ms, person_id = clock.now_ms(), given.person_id
        verdict = await judge_pin(pool, passwords, person_id=person_id, pin=given.pin, now_ms=now_ms)
        is_raised = await raise_if_forced(verdict, raise_duress)
        async with pool.acquire() as conn, conn.transaction():
            if verdict.kind is PinKind.DURESS:
                await note_duress(conn, person_id=person_id, is_raised=is_raised, new_id=new_id, now_ms=now_ms)
            else:
                await _act(conn, verdict, given, now_ms=now_ms)
    check_right(verdict, field="pin")


async def raise_if_forced(verdict: Verdict, raise_duress: RaiseDuress) -> bool:
    """Raise the alarm through the door where it was the duress PIN; `False`: none takes it, and `note_duress` is to."""
    if verdict.kind is not PinKind.DURESS:
        return True
    try:
        await raise_duress()
    except Unavailable:
        return False
    return True


async def note_duress(conn: Connection, *, person_id: PersonId, is_raised: bool, new_id: NewId, now_ms: int) -> None:
    """Make a person's live incident one of duress, as severe as can be, and open one where the door could not.

    The caller holds a transaction.
    """
    if not is_raised:
        await store_triggers(conn, [_NoDoorTook(person_id, new_id, now_ms)], new_id=new_id)
    incident = await conn.fetchrow(LOCK_LIVE, person_id)
    if incident is not None:
        await conn.execute(RAISE, incident["incident_id"], IncidentKind.DURESS_PIN.value, SEVERITY_MAX)
        await _record(conn, incident, "duress", {}, person_id, now_ms=now_ms)


async def _act(conn: Connection, verdict: Verdict, given: Given, *, now_ms: int) -> None:
    """Do what the safe PIN says to a live incident, and note a wrong one."""
    incident = await conn.fetchrow(LOCK_LIVE, given.person_id)
    if incident is None:
        return
    person_id = given.person_id
    body: dict[str, object] = {} if given.trigger_id is None else {"trigger_id": str(given.trigger_id)}
    if verdict.kind is PinKind.WRONG or verdict.is_locked:
        await _record(conn, incident, "wrong_pin", body | {"is_locked": verdict.is_locked}, person_id, now_ms=now_ms)
    elif incident["kind"] == IncidentKind.DURESS_PIN:
        await _record(conn, incident, "safe_pin", body | {"stood_down": False}, person_id, now_ms=now_ms)
    else:
        await _stand_down(conn, incident, now_ms=now_ms)
        await _record(conn, incident, "safe_pin", body | {"stood_down": True}, person_id, now_ms=now_ms)


async def _stand_down(conn: Connection, incident: asyncpg.Record, *, now_ms: int) -> None:
    incident_id, now = IncidentId(incident["incident_id"]), utc_from_ms(now_ms)
    if incident["safe_pin"] == CLOSES:
        await conn.execute(CLOSE, incident_id, now, CANCELLED)
        await conn.execute(STOP_TIMER, incident_id)
    elif incident["state"] == IncidentState.ACKNOWLEDGED:
        # Its follow-up is due already, and no PIN puts that off: whoever knows it could do so for ever.
        await conn.execute(SAYS_SAFE, incident_id, now)
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

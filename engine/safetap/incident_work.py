"""What the desk writes down while it works an incident: notes, the police's reference, hand-overs, false alarms, chat.

Everything is an event of the flight recorder. Nothing of it enters a score, a metric of a person or the acceptance
model: whoever calls for help for nothing must dare to do it again.
"""

from typing import Final

from config.limits import NOTE_CHARS_MAX, POLICE_REFERENCE_CHARS_MAX
from engine.core.database import Connection
from engine.core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from engine.core.ids import IncidentId, PersonId
from engine.core.units import MS_PER_S, rfc3339, utc_from_ms
from engine.core.vocabulary import IncidentState, Role
from engine.people.tokens import Principal
from engine.safetap.channels.desk import show_at_desk
from engine.safetap.desk import AWAIT_FOLLOW_UP, lock_incident, record
from engine.safetap.incident_store import add_event, read_policy
from engine.safetap.sealed_texts import sealed_body, sealed_text

SET_REFERENCE: Final = "UPDATE incident SET police_reference = $2 WHERE incident_id = $1"
MARK_FALSE: Final = "UPDATE incident SET is_false_alarm = $2 WHERE incident_id = $1"
HAND_OVER: Final = "UPDATE incident SET acknowledged_by = $2 WHERE incident_id = $1"
COLLEAGUE: Final = """
SELECT full_name FROM person
 WHERE person_id = $1 AND org_id = $2 AND role IN ('dispatcher', 'admin') AND status = 'active'
"""
CONTACT_MODE: Final = "SELECT contact_mode FROM safety_setup WHERE person_id = $1"
LIVE_OF_PERSON: Final = """
SELECT incident_id FROM incident WHERE person_id = $1 AND state <> 'closed' FOR UPDATE
"""
MESSAGES: Final = """
SELECT e.version, e.actor_id = $2 AS is_theirs, e.at,
       ROW(k.wrapped, decode(e.body ->> 'sealed', 'base64'), e.body ->> 'text')::sealed_text AS text
  FROM incident_event e LEFT JOIN person_key k ON k.person_id = $2
 WHERE e.incident_id = $1 AND e.kind = 'chat' ORDER BY e.version
"""
NO_CONTACT: Final = "none"


def told(text: str, *, field: str, chars_max: int) -> str:
    """Return a text without the space around it.

    Raises:
        InvalidInput: it is empty or too long.
    """
    stripped = text.strip()
    if not 1 <= len(stripped) <= chars_max:
        raise InvalidInput(f"1 to {chars_max} characters.", field=field)
    return stripped


async def add_note(conn: Connection, *, incident_id: IncidentId, actor: Principal, text: str, now_ms: int) -> None:
    """Write a note; also on a closed incident. The caller holds a transaction, here and below.

    Raises:
        InvalidInput, NotFound, NotAllowed: see `desk.lock_incident`.
    """
    note = told(text, field="text", chars_max=NOTE_CHARS_MAX)
    await lock_incident(conn, incident_id, actor)
    sealed = await sealed_text(conn, incident_id, note, now_ms=now_ms)
    await record(conn, incident_id, actor, "note", {"sealed": sealed}, now_ms=now_ms)


async def set_police_reference(
    conn: Connection, *, incident_id: IncidentId, actor: Principal, reference: str, now_ms: int
) -> None:
    """Write down under which reference the police know the incident."""
    given = told(reference, field="reference", chars_max=POLICE_REFERENCE_CHARS_MAX)
    await lock_incident(conn, incident_id, actor)
    await conn.execute(SET_REFERENCE, incident_id, given)
    await record(conn, incident_id, actor, "police_reference", {"reference": given}, now_ms=now_ms)


async def mark_false_alarm(
    conn: Connection, *, incident_id: IncidentId, actor: Principal, is_false_alarm: bool, now_ms: int
) -> None:
    """Say that nothing had happened, or take it back. For the organisation's statistics alone."""
    await lock_incident(conn, incident_id, actor)
    await conn.execute(MARK_FALSE, incident_id, is_false_alarm)
    await record(conn, incident_id, actor, "false_alarm", {"is_false_alarm": is_false_alarm}, now_ms=now_ms)


async def hand_over(
    conn: Connection, *, incident_id: IncidentId, actor: Principal, to: PersonId, note: str, now_ms: int
) -> None:
    """Give an acknowledged incident to a colleague, whose follow-up time begins now.

    Raises:
        Conflict: nobody has acknowledged it, or it is closed.
        NotAllowed: it is a colleague's and the actor no admin, or the colleague has a stake in it.
        InvalidInput: there is no such colleague at this desk, or they have it already.
    """
    incident = await lock_incident(conn, incident_id, actor)
    if incident["state"] != IncidentState.ACKNOWLEDGED or incident["acknowledged_by"] is None:
        raise Conflict("Only an acknowledged incident can be handed over.")
    if actor.person_id != incident["acknowledged_by"] and actor.role is not Role.ADMIN:
        raise NotAllowed("Whoever has the incident hands it over, or an admin.")
    if to in (incident["person_id"], incident["customer_id"], *incident["worker_ids"]):
        raise NotAllowed("A party to the incident is never a responder.")
    name = await conn.fetchval(COLLEAGUE, to, actor.org_id)
    if name is None or to == incident["acknowledged_by"]:
        raise InvalidInput("Another dispatcher or admin of this organisation.", field="to")
    policy = read_policy(incident["policy"], incident_id)
    await conn.execute(HAND_OVER, incident_id, to)
    await conn.execute(AWAIT_FOLLOW_UP, incident_id, utc_from_ms(now_ms + policy.follow_up_s * MS_PER_S))
    sealed = await sealed_text(conn, incident_id, note.strip()[:NOTE_CHARS_MAX], now_ms=now_ms)
    body: dict[str, object] = {"to": str(to), "to_name": name, "sealed": sealed}
    await record(conn, incident_id, actor, "handed_over", body, now_ms=now_ms)


async def say_to_person(conn: Connection, *, incident_id: IncidentId, actor: Principal, text: str, now_ms: int) -> None:
    """Leave a message where the person's phone looks for it: only if they chose to be written to.

    Raises:
        NotAllowed: they did not; nothing may appear on that phone.
        Conflict: the incident is closed.
    """
    message = told(text, field="text", chars_max=NOTE_CHARS_MAX)
    incident = await lock_incident(conn, incident_id, actor)
    if not await may_be_contacted(conn, PersonId(incident["person_id"])):
        raise NotAllowed("This person chose not to be contacted.")
    if incident["state"] == IncidentState.CLOSED:
        raise Conflict("The incident is closed.")
    sealed = await sealed_text(conn, incident_id, message, now_ms=now_ms)
    await record(conn, incident_id, actor, "chat", {"sealed": sealed}, now_ms=now_ms)


async def say_to_desk(conn: Connection, *, person_id: PersonId, text: str, now_ms: int) -> None:
    """Take a message of a person with a live incident to the desk.

    Raises:
        NotFound: they chose no contact, or have no live incident: which of them, nobody is told.
    """
    message = told(text, field="text", chars_max=NOTE_CHARS_MAX)
    incident_id = await _chat_of(conn, person_id)
    body = await sealed_body(conn, incident_id, message, now_ms=now_ms)
    await add_event(conn, incident_id=incident_id, kind="chat", actor_id=person_id, body=body, now_ms=now_ms)
    await show_at_desk(conn, [incident_id], now_ms=now_ms)


async def read_chat(conn: Connection, *, person_id: PersonId) -> list[dict[str, object]]:
    """Return a person's messages and the desk's, oldest first; the desk's people have no names here.

    Raises:
        NotFound: see `say_to_desk`.
    """
    incident_id = await _chat_of(conn, person_id)
    rows = await conn.fetch(MESSAGES, incident_id, person_id)
    return [
        {"n": row["version"], "is_mine": bool(row["is_theirs"]), "text": row["text"], "at": rfc3339(row["at"])}
        for row in rows
    ]


async def may_be_contacted(conn: Connection, person_id: PersonId) -> bool:
    """Return whether a person chose any way of being contacted; who chose nothing is left alone."""
    return (await conn.fetchval(CONTACT_MODE, person_id) or NO_CONTACT) != NO_CONTACT


async def _chat_of(conn: Connection, person_id: PersonId) -> IncidentId:
    incident_id = await conn.fetchval(LIVE_OF_PERSON, person_id)
    if incident_id is None or not await may_be_contacted(conn, person_id):
        raise NotFound
    return IncidentId(incident_id)

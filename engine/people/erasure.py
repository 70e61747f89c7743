"""Erasing a person: their key is destroyed, and what was never sealed is overwritten or deleted with it.

What stays is what others have a right to: that a booking took place, that an incident ran its course, each without
who it was. The chains of incidents still hold, because they are chains over envelopes.
"""

from typing import Final

from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound
from engine.core.ids import PersonId
from engine.core.units import utc_from_ms
from engine.people.audit import append_audit
from engine.people.legal_holds import what_holds
from engine.people.revocation import tell_people_ended
from engine.people.tokens import Principal

NAME_OF_ERASED: Final = "Erased person"

LOCK_PERSON: Final = "SELECT FROM person WHERE person_id = $1 AND org_id = $2 FOR UPDATE"
# Whoever opens an incident takes this row lock too, so that none opens between the look and the erasure.
LOCK_INCIDENTS: Final = "SELECT FROM incident WHERE person_id = $1 FOR UPDATE"
IS_ERASED: Final = "SELECT EXISTS (SELECT FROM person_key WHERE person_id = $1 AND erased_at IS NOT NULL)"
IS_AT_WORK: Final = """
SELECT EXISTS (SELECT FROM booking WHERE $1 IN (customer_id, worker_id)
                  AND state NOT IN ('completed', 'confirmed', 'cancelled', 'unserved'))
"""
# A person who never had a key gets a destroyed one: nothing is ever sealed for them again.
DESTROY_KEY: Final = """
INSERT INTO person_key (person_id, created_at, erased_at) VALUES ($1, $2, $2)
    ON CONFLICT (person_id) DO UPDATE SET wrapped = NULL, erased_at = $2
"""
FORGET_PERSON: Final = """
UPDATE person SET full_name = $3, email = NULL, phone = NULL, phone_sealed = NULL, password_hash = NULL,
                  external_ref = NULL, status = 'suspended', tokens_valid_after = $2
 WHERE person_id = $1
"""
GO_OFF_DUTY: Final = "UPDATE worker SET duty = 'off', duty_since = NULL, updated_at = $2 WHERE worker_id = $1"
REVOKE_DEVICES: Final = """
UPDATE device SET label = '', revoked_at = coalesce(revoked_at, $2) WHERE person_id = $1
"""
# Two decimals of a degree are about a kilometre: enough for a map of demand, not for a door.
FORGET_DOORS: Final = """
UPDATE address SET line = 'erased', floor = '', entry_notes = '', entry_notes_sealed = NULL,
                   lat = round(lat::numeric, 2)::float8, lng = round(lng::numeric, 2)::float8
 WHERE customer_id = $1
"""
FORGET_WISHES: Final = "UPDATE booking SET notes = '' WHERE customer_id = $1 AND notes <> ''"
FORGET_PLACES: Final = """
UPDATE incident SET lat = NULL, lng = NULL, accuracy_m = NULL, police_reference = NULL WHERE person_id = $1
"""
FORGET_TRIGGERS: Final = "UPDATE safetap_trigger SET body = '{}' WHERE person_id = $1"
FORGET_RECEIVERS: Final = """
UPDATE notice n SET address = 'erased', address_sealed = NULL, reference = NULL
  FROM incident i
 WHERE i.incident_id = n.incident_id
   AND (i.person_id = $1 AND n.target LIKE 'contact:%' OR n.target LIKE 'person:' || $1::uuid::text || '%')
"""
DELETIONS: Final = tuple(
    f"DELETE FROM {table} WHERE {rule}"  # noqa: S608 - both are written below
    for table, rule in (
        ("refresh_token", "person_id = $1"),
        ("trip_share", "person_id = $1"),
        ("enrolment_code", "person_id = $1"),
        ("idempotency_key", "person_id = $1"),
        ("push_subscription", "person_id = $1"),
        ("push_device", "person_id = $1"),
        ("phone_door", "person_id = $1"),
        ("trigger_key", "person_id = $1"),
        ("safety_setup", "person_id = $1"),
        ("safety_contact", "person_id = $1"),
        ("safety_volunteer", "person_id = $1"),
        ("safety_pin", "person_id = $1"),
        ("safety_pin_attempt", "person_id = $1"),
        ("armed_desk", "person_id = $1"),
        ("reply_code", "person_id = $1"),
        ("contested_reason", "person_id = $1"),
        ("worker_kit", "worker_id = $1"),
        ("worker_level", "worker_id = $1"),
        ("shift", "worker_id = $1"),
        ("duty_period", "worker_id = $1"),
        ("customer_worker", "$1 IN (customer_id, worker_id)"),
        ("customer_language", "customer_id = $1"),
        ("decision_record", "$1 = ANY(worker_ids)"),
        ("decision_record", "booking_id IN (SELECT booking_id FROM booking WHERE customer_id = $1)"),
        ("zone_presence", "worker_id = $1"),
        ("zone_event", "worker_id = $1"),
        ("incident_trail", "incident_id IN (SELECT incident_id FROM incident WHERE person_id = $1)"),
        ("trail", "slot = (SELECT slot FROM worker WHERE worker_id = $1)"),
        ("outbox", "topic = 'user:' || $1::uuid::text"),
    )
)


async def erase_person(conn: Connection, person_id: PersonId, *, admin: Principal, now_ms: int) -> None:
    """Erase a person of the admin's organisation for good; erasing an erased one changes nothing. One transaction.

    Raises:
        NotFound: there is no such person in the organisation.
        Conflict: an incident or a legal hold forbids it (the message names which), or a booking is under way.
    """
    async with conn.transaction():
        if await conn.fetchrow(LOCK_PERSON, person_id, admin.org_id) is None:
            raise NotFound
        if await conn.fetchval(IS_ERASED, person_id):
            return
        await conn.execute(LOCK_INCIDENTS, person_id)
        holding = await what_holds(conn, person_id)
        if holding:
            raise Conflict(f"This person cannot be erased now: {'; '.join(holding)}.")
        if await conn.fetchval(IS_AT_WORK, person_id):
            raise Conflict("This person cannot be erased now: a booking of theirs is under way.")
        await _erase(conn, person_id, now_ms=now_ms)
        await append_audit(
            conn,
            org_id=admin.org_id,
            actor_id=admin.person_id,
            action="person.erased",
            subject=f"person:{person_id}",
            now_ms=now_ms,
        )


async def _erase(conn: Connection, person_id: PersonId, *, now_ms: int) -> None:
    at = utc_from_ms(now_ms)
    await conn.execute(DESTROY_KEY, person_id, at)
    await conn.execute(FORGET_PERSON, person_id, at, NAME_OF_ERASED)
    await conn.execute(GO_OFF_DUTY, person_id, at)
    await conn.execute(REVOKE_DEVICES, person_id, at)
    for statement in (FORGET_DOORS, FORGET_WISHES, FORGET_PLACES, FORGET_TRIGGERS, FORGET_RECEIVERS, *DELETIONS):
        await conn.execute(statement, person_id)
    await tell_people_ended(conn, [person_id], now_ms=now_ms)

"""A copy of everything that is kept about a person (GDPR, article 15), as JSON.

Nothing of an incident that is live or held, nor what lets one be guessed, is in it: whoever holds the phone could ask
for it. Who runs the installation hands that part over when the incident is closed and reviewed.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from config.limits import EXPORT_FIXES_MAX, EXPORT_ROWS_MAX
from engine.core.database import Connection
from engine.core.errors import NotFound
from engine.core.ids import OrgId, PersonId
from engine.core.units import rfc3339, utc_from_ms
from engine.people.audit import append_audit

IS_OF_ORG: Final = "SELECT EXISTS (SELECT FROM person WHERE person_id = $1 AND org_id = $2)"

LIVE_OR_HELD: Final = """
SELECT i.incident_id, i.opened_at FROM incident i
 WHERE i.person_id = $1
   AND (i.state <> 'closed'
        OR EXISTS (SELECT FROM safety_hold s WHERE s.incident_id = i.incident_id AND s.released_at IS NULL))
"""
THEIR_KEY: Final = "LEFT JOIN person_key k ON k.person_id = $1"

# What is about a person, by what it is. `$2` is how many rows at most, the newest first.
SECTIONS: Final[Mapping[str, str]] = {
    "person": """
        SELECT p.person_id, p.role, p.full_name, p.email, p.external_ref, p.status, p.tz, p.created_at,
               ROW(k.wrapped, p.phone_sealed, p.phone)::sealed_text AS phone
          FROM person p :key WHERE p.person_id = $1 LIMIT $2""",
    "worker": """
        SELECT slot, skills, rating, experience, duty, duty_since, jobs_done
          FROM worker WHERE worker_id = $1 LIMIT $2""",
    "addresses": """
        SELECT a.address_id, a.line, a.floor, a.lat, a.lng, a.tz,
               ROW(k.wrapped, a.entry_notes_sealed, a.entry_notes)::sealed_text AS entry_notes
          FROM address a :key WHERE a.customer_id = $1 LIMIT $2""",
    "bookings": """
        SELECT booking_id, state, tz, created_at, updated_at, actual_start, actual_end,
               CASE WHEN customer_id = $1 THEN notes END AS notes,
               CASE WHEN customer_id = $1 THEN 'customer' ELSE 'worker' END AS i_am_its
          FROM booking WHERE $1 IN (customer_id, worker_id) ORDER BY created_at DESC LIMIT $2""",
    "offers": """
        SELECT offer_id, booking_id, state, eta_s, sent_at, answered_at
          FROM offer WHERE worker_id = $1 ORDER BY sent_at DESC LIMIT $2""",
    "kit": "SELECT code, expires_at FROM worker_kit WHERE worker_id = $1 LIMIT $2",
    "levels": "SELECT skill_bit, level FROM worker_level WHERE worker_id = $1 LIMIT $2",
    "shifts": "SELECT starts_at, ends_at FROM shift WHERE worker_id = $1 ORDER BY starts_at DESC LIMIT $2",
    "duty": "SELECT began_at, ended_at FROM duty_period WHERE worker_id = $1 ORDER BY began_at DESC LIMIT $2",
    "wishes": "SELECT worker_id, wish FROM customer_worker WHERE customer_id = $1 AND said_by = 'customer' LIMIT $2",
    "languages": "SELECT code FROM customer_language WHERE customer_id = $1 LIMIT $2",
    "devices": "SELECT kind, label, created_at, revoked_at FROM device WHERE person_id = $1 LIMIT $2",
    "trigger_keys": "SELECT label, created_at, revoked_at FROM trigger_key WHERE person_id = $1 LIMIT $2",
    "phone_door": "SELECT phone, is_call_alarm, updated_at FROM phone_door WHERE person_id = $1 LIMIT $2",
    "safety_setup": """
        SELECT contact_mode, code_word, decoy_text, volunteers, records_sound, updated_at
          FROM safety_setup WHERE person_id = $1 LIMIT $2""",
    "safety_contacts": """
        SELECT ROW(k.wrapped, c.name_sealed, c.name)::sealed_text AS name,
               ROW(k.wrapped, c.phone_sealed, c.phone)::sealed_text AS phone,
               ROW(k.wrapped, c.email_sealed, c.email)::sealed_text AS email, c.may_be_at_address
          FROM safety_contact c :key WHERE c.person_id = $1 ORDER BY c.position LIMIT $2""",
    "incidents": """
        SELECT i.incident_id, i.kind, i.is_drill, i.opened_at, i.acknowledged_at, i.closed_at, i.lat, i.lng
          FROM incident i
         WHERE i.person_id = $1 AND i.incident_id NOT IN (SELECT incident_id FROM (:live_or_held) AS secret)
         ORDER BY i.opened_at DESC LIMIT $2""",
    "messages": """
        SELECT e.incident_id, e.at, e.actor_id = $1 AS is_mine,
               ROW(k.wrapped, decode(e.body ->> 'sealed', 'base64'), e.body ->> 'text')::sealed_text AS text
          FROM incident_event e JOIN incident i USING (incident_id) :key
         WHERE i.person_id = $1 AND e.kind = 'chat'
           AND i.incident_id NOT IN (SELECT incident_id FROM (:live_or_held) AS secret)
         ORDER BY e.at DESC LIMIT $2""",
    "contested_reasons": """
        SELECT c.dispatch_id, c.at, c.answered_at, ROW(k.wrapped, c.text_sealed, NULL)::sealed_text AS text,
               ROW(k.wrapped, c.answer_sealed, NULL)::sealed_text AS answer
          FROM contested_reason c :key WHERE c.person_id = $1 ORDER BY c.at DESC LIMIT $2""",
}
# What an alarm made count off duty is left out: only what duty accounts for, or what lies before the alarm.
TRAIL: Final = """
SELECT t.at, (t.lat_e7 / 1e7)::float8 AS lat, (t.lng_e7 / 1e7)::float8 AS lng
  FROM trail t JOIN worker w ON w.slot = t.slot
 WHERE w.worker_id = $1
   AND (NOT EXISTS (SELECT FROM (:live_or_held) AS secret WHERE t.at >= secret.opened_at)
        OR w.duty = 'on' AND t.at >= w.duty_since)
 ORDER BY t.at DESC LIMIT $2
"""


async def export_person(
    conn: Connection, person_id: PersonId, *, org_id: OrgId, actor_id: PersonId, now_ms: int
) -> dict[str, object]:
    """Return the copy, and record that it was made. The caller holds a transaction.

    Raises:
        NotFound: there is no such person in the organisation.
    """
    if not await conn.fetchval(IS_OF_ORG, person_id, org_id):
        raise NotFound
    sections = {
        name: [_plain(row) for row in await conn.fetch(_whole(statement), person_id, EXPORT_ROWS_MAX)]
        for name, statement in SECTIONS.items()
    }
    sections["trail"] = [_plain(row) for row in await conn.fetch(_whole(TRAIL), person_id, EXPORT_FIXES_MAX)]
    await append_audit(
        conn,
        org_id=org_id,
        actor_id=actor_id,
        action="person.exported",
        subject=f"person:{person_id}",
        now_ms=now_ms,
    )
    return {"made_at": rfc3339(utc_from_ms(now_ms)), "sections": sections}


def _whole(statement: str) -> str:
    return statement.replace(":live_or_held", LIVE_OR_HELD).replace(":key", THEIR_KEY)


def _plain(row: asyncpg.Record) -> dict[str, object]:
    """Return a row as JSON knows it."""
    return {name: _value(value) for name, value in row.items()}


def _value(value: object) -> object:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    assert value is None or isinstance(value, str | int | float | bool)
    return value

"""Reads from Postgres what a batch of decisions needs to know about people: who can be told, where, and who is near.

Places come from the trail in Postgres, never from the cell index: SafeTap needs no other store.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg
import structlog

from config.jurisdictions import Jurisdictions
from config.limits import RESPONDERS_MAX, VOLUNTEER_FIX_MS_MAX
from engine.core.database import Connection
from engine.core.ids import ContactId, IncidentId, OrgId, PersonId, ScheduleId
from engine.core.units import METRES_PER_DEG, e7_to_deg, utc_from_ms
from engine.core.vocabulary import Channel, Role
from engine.safetap.addresses import is_email
from engine.safetap.channels.phone_number import e164
from engine.safetap.escalation import Incident
from engine.safetap.on_call import on_call
from engine.safetap.policy import Policy, Target
from engine.safetap.schedule_store import load_schedules
from engine.safetap.targets import Addresses, Contact, Facts, Responder, Volunteer

log = structlog.get_logger(__name__)

ADDRESSES: Final = """
p.person_id, p.org_id, p.role, p.email, ROW(k.wrapped, p.phone_sealed, p.phone)::sealed_text AS phone,
ARRAY(SELECT subscription_id::text FROM push_subscription s
       WHERE s.person_id = p.person_id ORDER BY created_at, subscription_id) AS push,
ARRAY(SELECT push_device_id::text FROM push_device d
       WHERE d.person_id = p.person_id ORDER BY created_at, push_device_id) AS fcm
"""

RESPONDERS: Final = """
SELECT :addresses
  FROM person p LEFT JOIN person_key k USING (person_id)
 WHERE p.org_id = ANY($1::uuid[]) AND p.role IN ('dispatcher', 'admin') AND p.status = 'active'
 ORDER BY p.org_id, p.role DESC, p.person_id
""".replace(":addresses", ADDRESSES)

ARMED: Final = "SELECT org_id, person_id FROM armed_desk WHERE org_id = ANY($1::uuid[]) AND lease_until > $2"

CONTACTS: Final = """
SELECT c.person_id, p.org_id, c.contact_id, c.may_be_at_address, r.country_code,
       ROW(k.wrapped, c.phone_sealed, c.phone)::sealed_text AS phone,
       ROW(k.wrapped, c.email_sealed, c.email)::sealed_text AS email
  FROM safety_contact c
  JOIN person p USING (person_id)
  LEFT JOIN person_key k USING (person_id)
  JOIN region r USING (region_id)
 WHERE c.person_id = ANY($1::uuid[])
 ORDER BY c.person_id, c.position
"""

PARTIES: Final = """
SELECT person_id, email, ROW(k.wrapped, p.phone_sealed, p.phone)::sealed_text AS phone
  FROM person p LEFT JOIN person_key k USING (person_id)
 WHERE person_id = ANY($1::uuid[])
"""

# Where the incident is: the newest fix of its worker, else where the phone was at the trigger, else the door.
PLACES: Final = """
SELECT i.incident_id, coalesce(newest.lat_e7 / 1e7, i.lat, a.lat)::float8 AS lat,
       coalesce(newest.lng_e7 / 1e7, i.lng, a.lng)::float8 AS lng
  FROM incident i
  LEFT JOIN booking b USING (booking_id)
  LEFT JOIN address a USING (address_id)
  LEFT JOIN worker w ON w.worker_id = i.person_id
  LEFT JOIN LATERAL (
    SELECT lat_e7, lng_e7 FROM trail
     WHERE slot = w.slot AND at > greatest($2::timestamptz, i.fix_at) AND at <= $3
     ORDER BY at DESC LIMIT 1
  ) newest ON true
 WHERE i.incident_id = ANY($1::uuid[])
"""

VOLUNTEERS: Final = """
SELECT :addresses, newest.lat_e7, newest.lng_e7
  FROM safety_volunteer v
  JOIN safety_setup s USING (person_id)
  JOIN person p USING (person_id)
  LEFT JOIN person_key k USING (person_id)
  JOIN worker w ON w.worker_id = p.person_id
  JOIN LATERAL (
    SELECT lat_e7, lng_e7 FROM trail WHERE slot = w.slot AND at > $2 AND at <= $3 ORDER BY at DESC LIMIT 1
  ) newest ON true
 WHERE p.org_id = ANY($1::uuid[]) AND p.status = 'active' AND s.volunteers AND v.trained_until > $3
""".replace(":addresses", ADDRESSES)


@dataclass(frozen=True, slots=True)
class DueIncident:
    """An incident whose step is due, and its ladder."""

    incident: Incident
    person_id: PersonId
    policy: Policy


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere on the map, WGS84 degrees."""

    lat_deg: float
    lng_deg: float


async def load_facts(
    conn: Connection, subjects: Sequence[DueIncident], *, jurisdictions: Jurisdictions, now_ms: int
) -> dict[IncidentId, Facts]:
    """Return what is known about people for each incident. Reads only what the policies ask for."""
    org_ids = list({one.incident.org_id for one in subjects})
    responders = await load_responders(conn, org_ids)
    armed = await _armed(conn, org_ids, utc_from_ms(now_ms))
    schedule_ids = {schedule_id for one in subjects for schedule_id in one.policy.schedule_ids}
    duty = await people_on_call(conn, schedule_ids, now_ms=now_ms)
    callers = [one for one in subjects if one.policy.tells(Target.CONTACTS)]
    contacts, parties = await _contacts(conn, callers, jurisdictions)
    near = await _volunteers(conn, [one for one in subjects if one.policy.tells(Target.VOLUNTEERS)], now_ms)
    return {
        one.incident.incident_id: Facts(
            responders=responders[one.incident.org_id],
            on_call=duty,
            contacts=contacts.get(one.person_id, ()),
            volunteers=near.get(one.incident.incident_id, ()),
            armed=frozenset(armed[one.incident.org_id]),
            party_addresses=frozenset(
                address for person_id in one.incident.excluded for address in parties.get(person_id, ())
            ),
        )
        for one in subjects
    }


async def load_responders(conn: Connection, org_ids: Sequence[OrgId]) -> dict[OrgId, list[Responder]]:
    """Return the desk of each organisation, dispatchers first."""
    found: dict[OrgId, list[Responder]] = {org_id: [] for org_id in org_ids}
    for row in await conn.fetch(RESPONDERS, org_ids):
        found[row["org_id"]].append(Responder(row["person_id"], Role(row["role"]), _addresses(row)))
    for org_id, responders in found.items():
        for role, count in Counter(one.role for one in responders).items():
            if count > RESPONDERS_MAX:
                log.warning(
                    "escalation.responders_left_out", org_id=str(org_id), role=role, count=count - RESPONDERS_MAX
                )
    return found


async def load_contacts(
    conn: Connection, person_id: PersonId | None, *, org_id: OrgId, jurisdictions: Jurisdictions
) -> list[Contact]:
    """Return the contacts of one person of an organisation, in their own order; of nobody none."""
    if person_id is None:
        return []
    rows = await conn.fetch(CONTACTS, [person_id])
    return [_contact(row, jurisdictions) for row in rows if row["org_id"] == org_id]


async def people_on_call(
    conn: Connection, schedule_ids: Iterable[ScheduleId], *, now_ms: int
) -> dict[ScheduleId, Sequence[PersonId]]:
    """Return who is on call at a moment; a schedule that cannot be read has nobody, and the ladder goes on at once."""
    ids = list(schedule_ids)
    if not ids:
        return {}
    schedules = await load_schedules(conn, ids, now_ms=now_ms)
    return {schedule_id: on_call(schedule, now_ms) for schedule_id, schedule in schedules.items()}


def distance_m(one: Place, other: Place) -> float:
    """Return the great-circle distance in metres (haversine)."""
    lat_one, lat_other = math.radians(one.lat_deg), math.radians(other.lat_deg)
    half_lat = math.sin((lat_other - lat_one) / 2)
    half_lng = math.sin(math.radians(other.lng_deg - one.lng_deg) / 2)
    chord = half_lat**2 + math.cos(lat_one) * math.cos(lat_other) * half_lng**2
    return math.degrees(2 * math.asin(min(1.0, math.sqrt(chord)))) * METRES_PER_DEG


async def _armed(conn: Connection, org_ids: Sequence[OrgId], now: datetime) -> defaultdict[OrgId, set[PersonId]]:
    armed: defaultdict[OrgId, set[PersonId]] = defaultdict(set)
    for row in await conn.fetch(ARMED, org_ids, now):
        armed[row["org_id"]].add(row["person_id"])
    return armed


async def _contacts(
    conn: Connection, subjects: Sequence[DueIncident], jurisdictions: Jurisdictions
) -> tuple[Mapping[PersonId, list[Contact]], Mapping[PersonId, list[str]]]:
    """Return contacts by person, and the addresses of everybody with a stake, so that no contact is one of those."""
    contacts: defaultdict[PersonId, list[Contact]] = defaultdict(list)
    parties: defaultdict[PersonId, list[str]] = defaultdict(list)
    if not subjects:
        return contacts, parties
    for row in await conn.fetch(CONTACTS, list({one.person_id for one in subjects})):
        contacts[row["person_id"]].append(_contact(row, jurisdictions))
    for row in await conn.fetch(PARTIES, list({person for one in subjects for person in one.incident.excluded})):
        parties[row["person_id"]] = [address for several in _own_addresses(row).values() for address in several]
    return contacts, parties


async def _volunteers(
    conn: Connection, subjects: Sequence[DueIncident], now_ms: int
) -> Mapping[IncidentId, Sequence[Volunteer]]:
    if not subjects:
        return {}
    since, now = utc_from_ms(now_ms - VOLUNTEER_FIX_MS_MAX), utc_from_ms(now_ms)
    places = {
        row["incident_id"]: Place(row["lat"], row["lng"])
        for row in await conn.fetch(PLACES, [one.incident.incident_id for one in subjects], since, now)
        if row["lat"] is not None
    }
    people = await conn.fetch(VOLUNTEERS, list({one.incident.org_id for one in subjects}), since, now)
    return {
        one.incident.incident_id: [
            Volunteer(
                PersonId(row["person_id"]),
                distance_m(place, Place(e7_to_deg(row["lat_e7"]), e7_to_deg(row["lng_e7"]))),
                _addresses(row),
            )
            for row in people
            if row["org_id"] == one.incident.org_id
        ]
        for one in subjects
        if (place := places.get(one.incident.incident_id)) is not None
    }


def _contact(row: asyncpg.Record, jurisdictions: Jurisdictions) -> Contact:
    """Return a contact with the channels by which their country lets a machine tell them."""
    allowed = jurisdictions.of(row["country_code"]).contacts.channels
    addresses = {channel: known for channel, known in _own_addresses(row).items() if channel in allowed}
    return Contact(ContactId(row["contact_id"]), addresses, row["may_be_at_address"])


def _addresses(row: asyncpg.Record) -> Addresses:
    return {**_own_addresses(row), Channel.PUSH: row["push"], Channel.FCM: row["fcm"]}


def _own_addresses(row: asyncpg.Record) -> dict[Channel, Sequence[str]]:
    """Return what somebody wrote down themself; a number that no network could dial is none."""
    phone = None if row["phone"] is None else e164(row["phone"])
    phones = [] if phone is None else [phone]
    emails = [row["email"]] if row["email"] is not None and is_email(row["email"]) else []
    return {Channel.EMAIL: emails, Channel.SMS: phones, Channel.VOICE: phones}

"""Creates people in batches and lists workers. A batch costs the same few statements for one person or five hundred."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from engine.core.database import Connection
from engine.core.errors import Conflict, InvalidInput, NotFound
from engine.core.ids import OrgId, PersonId, WorkerSlot
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Duty, Role
from engine.people.audit import append_audit
from engine.people.enrolment import replace_codes
from engine.people.revocation import tell_people_ended
from engine.people.sealing import Sealed, person_keys
from engine.people.tokens import Principal

SKILL_BITS: Final = "SELECT code, skill_bit FROM service WHERE org_id = $1"

EMAIL_TAKEN: Final = """
SELECT n.position - 1 AS index
  FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS n (email, external_ref, position)
  JOIN person p ON p.email = n.email
 WHERE n.external_ref IS NULL OR p.org_id <> $1 OR p.external_ref IS DISTINCT FROM n.external_ref
 ORDER BY n.position
 LIMIT 1
"""

# A known `external_ref` is updated: what the new row does not say stays. In the order of the references, so that two
# batches that overlap wait for each other instead of deadlocking. A new password ends the sessions of the old one.
UPSERT_PEOPLE: Final = """
INSERT INTO person (person_id, org_id, region_id, role, email, full_name, password_hash, external_ref,
                    is_demo, tokens_valid_after, tz, created_at)
SELECT n.person_id, r.org_id, r.region_id, n.role, n.email, n.full_name, n.password_hash, n.external_ref,
       admin.is_demo, $4, r.tz, $4
  FROM region r
  JOIN person admin ON admin.person_id = $3
 CROSS JOIN unnest($5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])
            AS n (person_id, role, email, full_name, password_hash, external_ref)
 WHERE r.org_id = $1 AND r.region_id = $2
 ORDER BY n.external_ref
ON CONFLICT (org_id, external_ref) WHERE external_ref IS NOT NULL DO UPDATE
   SET full_name = excluded.full_name,
       email = coalesce(excluded.email, person.email),
       password_hash = coalesce(excluded.password_hash, person.password_hash),
       tokens_valid_after = CASE WHEN excluded.password_hash IS NULL THEN person.tokens_valid_after
                                 ELSE excluded.tokens_valid_after END
 WHERE person.role = excluded.role
RETURNING person_id, external_ref
"""

SET_PHONE: Final = """
UPDATE person SET phone = NULL, phone_sealed = ($2::sealed_text).sealed WHERE person_id = $1
"""

# Update, then insert who is missing: `ON CONFLICT` would burn a slot number for every known worker.
UPDATE_WORKERS: Final = """
UPDATE worker w
   SET skills = coalesce(n.skills, w.skills), rating = coalesce(n.rating, w.rating),
       experience = coalesce(n.experience, w.experience), updated_at = $5
  FROM unnest($1::uuid[], $2::integer[], $3::real[], $4::real[]) AS n (worker_id, skills, rating, experience)
 WHERE w.worker_id = n.worker_id
"""

ADD_MISSING_WORKERS: Final = """
INSERT INTO worker (worker_id, skills, rating, experience, updated_at)
SELECT n.worker_id, coalesce(n.skills, 0), coalesce(n.rating, 4.5), coalesce(n.experience, 0), $5
  FROM unnest($1::uuid[], $2::integer[], $3::real[], $4::real[])
       WITH ORDINALITY AS n (worker_id, skills, rating, experience, position)
 WHERE NOT EXISTS (SELECT FROM worker w WHERE w.worker_id = n.worker_id)
 ORDER BY n.position
"""

_WORKERS: Final = """
SELECT w.worker_id, w.slot, p.full_name, w.skills, w.rating, w.duty,
       (SELECT b.booking_id FROM booking b
         WHERE b.worker_id = w.worker_id AND b.state IN ('assigned', 'en_route', 'arrived', 'in_progress')
       ) AS booking_id
  FROM worker w JOIN person p ON p.person_id = w.worker_id
 WHERE p.org_id = $1
"""
PAGE_OF_WORKERS: Final = _WORKERS + " AND w.slot > $2 ORDER BY w.slot LIMIT $3"
WORKERS_OF_SLOTS: Final = _WORKERS + " AND w.slot = ANY($2::int[]) ORDER BY w.slot"
SLOT_OF_WORKER: Final = """
SELECT w.slot FROM worker w JOIN person p ON p.person_id = w.worker_id WHERE p.org_id = $1 AND w.worker_id = $2
"""

WORKER: Final = "SELECT slot, duty, duty_since, skills, rating FROM worker WHERE worker_id = $1"


@dataclass(frozen=True, slots=True)
class NewPerson:
    """One person of a batch. `None` keeps what a known person has; `skills` are codes of services."""

    person_id: PersonId
    role: Role
    full_name: str
    email: str | None = None
    phone: str | None = None
    password_hash: str | None = None
    external_ref: str | None = None
    skills: tuple[str, ...] | None = None
    rating: float | None = None
    experience: float | None = None


@dataclass(frozen=True, slots=True)
class CreatedPerson:
    """A person of a batch as stored, with the code that signs them in once."""

    person_id: PersonId
    external_ref: str | None
    enrolment_code: str


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as the desk lists them."""

    worker_id: PersonId
    slot: WorkerSlot
    full_name: str
    skills: list[str]
    rating: float
    duty: Duty
    booking_id: UUID | None


async def create_people(
    conn: Connection, people: Sequence[NewPerson], *, admin: Principal, now_ms: int
) -> list[CreatedPerson]:
    """Create or update people of the admin's organisation and region, all or none, and answer in their order.

    Raises:
        InvalidInput: an unknown service, or a reference or e-mail twice in the batch.
        Conflict: an e-mail is somebody else's, or a known reference has another role.
    """
    _refuse_twins(people, "external_ref")
    _refuse_twins(people, "email")
    async with conn.transaction():
        skill_bits = await load_skill_bits(conn, admin.org_id)
        await _refuse_taken_emails(conn, people, admin.org_id)
        masks = [_skill_mask(person, index, skill_bits) for index, person in enumerate(people)]
        person_ids = await _upsert_people(conn, people, admin=admin, now_ms=now_ms)
        await _seal_phones(conn, people, person_ids, now_ms=now_ms)
        await _upsert_workers(conn, people, person_ids, masks, now_ms=now_ms)
        await _end_earlier_sign_ins(conn, people, person_ids, now_ms=now_ms)
        codes = await replace_codes(conn, person_ids, now_ms=now_ms)
        await append_audit(
            conn,
            org_id=admin.org_id,
            actor_id=admin.person_id,
            action="people.batch",
            subject=f"org:{admin.org_id}",
            detail={"count": len(people), "roles": Counter(person.role.value for person in people)},
            now_ms=now_ms,
        )
    return [
        CreatedPerson(person_id, person.external_ref, code)
        for person, person_id, code in zip(people, person_ids, codes, strict=True)
    ]


async def list_workers(conn: Connection, *, org_id: OrgId, after_slot: int, limit: int) -> list[WorkerRow]:
    """Return workers of the organisation by slot, those with a slot greater than `after_slot` (-1: from the start)."""
    skill_bits = await load_skill_bits(conn, org_id)
    rows = await conn.fetch(PAGE_OF_WORKERS, org_id, after_slot, limit)
    return [_worker_row(row, skill_bits) for row in rows]


async def workers_of_slots(conn: Connection, slots: Sequence[int], *, org_id: OrgId) -> dict[int, WorkerRow]:
    """Return those of `slots` that belong to workers of the organisation."""
    skill_bits = await load_skill_bits(conn, org_id)
    rows = await conn.fetch(WORKERS_OF_SLOTS, org_id, slots)
    return {row["slot"]: _worker_row(row, skill_bits) for row in rows}


async def slot_of_worker(conn: Connection, worker_id: PersonId, *, org_id: OrgId) -> WorkerSlot:
    """Return the slot of a worker of the organisation.

    Raises:
        NotFound: there is no such worker there.
    """
    slot = await conn.fetchval(SLOT_OF_WORKER, org_id, worker_id)
    if slot is None:
        raise NotFound
    return WorkerSlot(slot)


def _worker_row(row: asyncpg.Record, skill_bits: dict[str, int]) -> WorkerRow:
    return WorkerRow(
        worker_id=PersonId(row["worker_id"]),
        slot=WorkerSlot(row["slot"]),
        full_name=row["full_name"],
        skills=skill_codes(row["skills"], skill_bits),
        rating=round(row["rating"], 2),
        duty=Duty(row["duty"]),
        booking_id=row["booking_id"],
    )


async def load_worker(conn: Connection, worker_id: PersonId) -> asyncpg.Record:
    """Return slot, duty and since when, skills (mask) and rating of a worker.

    Raises:
        NotFound: this person is no worker.
    """
    worker = await conn.fetchrow(WORKER, worker_id)
    if worker is None:
        raise NotFound
    return worker


async def load_skill_bits(conn: Connection, org_id: OrgId) -> dict[str, int]:
    """Return the bit of each service that the organisation offers."""
    return {row["code"]: row["skill_bit"] for row in await conn.fetch(SKILL_BITS, org_id)}


def skill_codes(mask: int, skill_bits: dict[str, int]) -> list[str]:
    """Return the services whose bits are set in `mask`, in the order of their bits."""
    return [code for code, bit in sorted(skill_bits.items(), key=lambda item: item[1]) if mask >> bit & 1]


def _refuse_twins(people: Iterable[NewPerson], field: str) -> None:
    seen = set()
    for index, person in enumerate(people):
        value = getattr(person, field)
        if value is not None and value in seen:
            raise InvalidInput("This value stands twice in the batch.", field=f"people.{index}.{field}")
        seen.add(value)


async def _refuse_taken_emails(conn: Connection, people: Sequence[NewPerson], org_id: OrgId) -> None:
    emails = [person.email for person in people]
    index = await conn.fetchval(EMAIL_TAKEN, org_id, emails, [person.external_ref for person in people])
    if index is not None:
        raise Conflict("This e-mail belongs to somebody else.", field=f"people.{index}.email")


def _skill_mask(person: NewPerson, index: int, skill_bits: dict[str, int]) -> int | None:
    if person.skills is None:
        return None
    unknown = [code for code in person.skills if code not in skill_bits]
    if unknown:
        raise InvalidInput(f"There is no service {unknown[0]!r} here.", field=f"people.{index}.skills")
    return sum(1 << skill_bits[code] for code in set(person.skills))


async def _upsert_people(
    conn: Connection, people: Sequence[NewPerson], *, admin: Principal, now_ms: int
) -> list[PersonId]:
    try:
        rows = await conn.fetch(
            UPSERT_PEOPLE,
            admin.org_id,
            admin.region_id,
            admin.person_id,
            utc_from_ms(now_ms),
            [person.person_id for person in people],
            [person.role.value for person in people],
            [person.email for person in people],
            [person.full_name for person in people],
            [person.password_hash for person in people],
            [person.external_ref for person in people],
        )
    except asyncpg.UniqueViolationError as error:
        # Taken since it was looked up above, by a batch at the same time.
        raise Conflict("An e-mail of this batch belongs to somebody else.", field="people") from error
    stored = {row["external_ref"]: row["person_id"] for row in rows if row["external_ref"] is not None}
    person_ids = []
    for index, person in enumerate(people):
        if person.external_ref is not None and person.external_ref not in stored:
            raise Conflict("A person with this reference has another role.", field=f"people.{index}.role")
        person_ids.append(PersonId(stored.get(person.external_ref, person.person_id)))
    return person_ids


async def _seal_phones(
    conn: Connection, people: Sequence[NewPerson], person_ids: Sequence[PersonId], *, now_ms: int
) -> None:
    phones = {
        person_id: person.phone
        for person, person_id in zip(people, person_ids, strict=True)
        if person.phone is not None
    }
    keys = await person_keys(conn, list(phones), now_ms=now_ms)
    sealed = [(person_id, Sealed(keys[person_id], phone)) for person_id, phone in phones.items()]
    await conn.executemany(SET_PHONE, sealed)


async def _end_earlier_sign_ins(
    conn: Connection, people: Sequence[NewPerson], person_ids: Sequence[PersonId], *, now_ms: int
) -> None:
    """Close the sockets of known people who got a new password: their tokens have ended with the old one."""
    ended = [
        person_id
        for person, person_id in zip(people, person_ids, strict=True)
        if person.password_hash is not None and person_id != person.person_id
    ]
    if ended:
        await tell_people_ended(conn, ended, now_ms=now_ms)


async def _upsert_workers(
    conn: Connection,
    people: Sequence[NewPerson],
    person_ids: Sequence[PersonId],
    masks: Sequence[int | None],
    *,
    now_ms: int,
) -> None:
    workers = [
        (person_id, mask, person.rating, person.experience)
        for person, person_id, mask in zip(people, person_ids, masks, strict=True)
        if person.role is Role.WORKER
    ]
    if not workers:
        return
    columns = [list(column) for column in zip(*workers, strict=True)]
    await conn.execute(UPDATE_WORKERS, *columns, utc_from_ms(now_ms))
    await conn.execute(ADD_MISSING_WORKERS, *columns, utc_from_ms(now_ms))

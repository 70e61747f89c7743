"""What people choose for the case that they call for help: their own contacts, how they may be contacted, volunteering.

Nobody is contacted who did not choose it: the default mode is `none`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import asyncpg

from config.limits import CONTACTS_PER_PERSON_MAX
from engine.core.database import Connection
from engine.core.errors import InvalidInput, NotFound
from engine.core.ids import ContactId, OrgId, PersonId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.people.audit import append_audit
from engine.people.sealing import Sealed, person_key
from engine.people.tokens import Principal
from engine.safetap.addresses import is_email
from engine.safetap.channels.phone_number import e164


class ContactMode(StrEnum):
    """Whether and how anybody contacts the person who called for help."""

    NONE = "none"
    """Nobody does."""
    DECOY = "decoy"
    """A message that looks like any other."""
    CODE_WORD = "code_word"
    """A call in which a word of their choice tells how they are."""


class Cue(StrEnum):
    """How the person's own phone shows them, and nobody else, that their alarm has arrived."""

    NONE = "none"
    """Not at all."""
    DOT = "dot"
    """The dot after the page's mark is filled for a while."""
    BUZZ = "buzz"
    """Two short vibrations."""


@dataclass(frozen=True, slots=True)
class ContactPlan:
    """Somebody to be told, as the person wrote it."""

    name: str
    phone: str | None
    email: str | None
    may_be_at_address: bool


@dataclass(frozen=True, slots=True)
class SafetySetup:
    """Everything that a person chose."""

    contact_mode: ContactMode
    code_word: str | None
    decoy_text: str | None
    is_volunteer: bool
    contacts: tuple[ContactPlan, ...]
    cue: Cue = Cue.DOT
    records_sound: bool = False
    """They agree that their phone records sound for their alarm; its place must allow it too."""


NOTHING_CHOSEN: Final = SafetySetup(ContactMode.NONE, None, None, is_volunteer=False, contacts=())

SETUP: Final = """
SELECT contact_mode, code_word, decoy_text, volunteers, cue, records_sound FROM safety_setup WHERE person_id = $1
"""

CONTACTS: Final = """
SELECT ROW(k.wrapped, c.name_sealed, c.name)::sealed_text AS name,
       ROW(k.wrapped, c.phone_sealed, c.phone)::sealed_text AS phone,
       ROW(k.wrapped, c.email_sealed, c.email)::sealed_text AS email, c.may_be_at_address
  FROM safety_contact c LEFT JOIN person_key k USING (person_id)
 WHERE c.person_id = $1 ORDER BY c.position
"""

SAVE: Final = """
INSERT INTO safety_setup (person_id, contact_mode, code_word, decoy_text, volunteers, updated_at, cue, records_sound)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (person_id) DO UPDATE
   SET contact_mode = excluded.contact_mode, code_word = excluded.code_word, decoy_text = excluded.decoy_text,
       volunteers = excluded.volunteers, updated_at = excluded.updated_at, cue = excluded.cue,
       records_sound = excluded.records_sound
"""

FORGET_CONTACTS: Final = "DELETE FROM safety_contact WHERE person_id = $1"

ADD_CONTACT: Final = """
INSERT INTO safety_contact (contact_id, person_id, position, name_sealed, phone_sealed, email_sealed, phone_index,
                            may_be_at_address, created_at)
VALUES ($1, $2, $3, ($4::sealed_text).sealed, ($5::sealed_text).sealed, ($6::sealed_text).sealed,
        ($7::blind_index).digest, $8, $9)
"""

WORKER_OF_ORG: Final = """
SELECT EXISTS (SELECT FROM person WHERE person_id = $1 AND org_id = $2 AND role = 'worker')
"""

TRAIN: Final = """
INSERT INTO safety_volunteer (person_id, trained_until, recorded_by, recorded_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (person_id) DO UPDATE
   SET trained_until = excluded.trained_until, recorded_by = excluded.recorded_by, recorded_at = excluded.recorded_at
"""

UNTRAIN: Final = "DELETE FROM safety_volunteer WHERE person_id = $1"


async def load_setup(conn: Connection, person_id: PersonId) -> SafetySetup:
    """Return what a person chose; who chose nothing is contacted by nobody."""
    row = await conn.fetchrow(SETUP, person_id)
    contacts = tuple(_contact(one) for one in await conn.fetch(CONTACTS, person_id))
    if row is None:
        return NOTHING_CHOSEN
    return SafetySetup(
        contact_mode=ContactMode(row["contact_mode"]),
        code_word=row["code_word"],
        decoy_text=row["decoy_text"],
        is_volunteer=row["volunteers"],
        contacts=contacts,
        cue=Cue(row["cue"]),
        records_sound=row["records_sound"],
    )


async def save_setup(
    conn: Connection, setup: SafetySetup, *, principal: Principal, contact_ids: Sequence[UUID], now_ms: int
) -> SafetySetup:
    """Write what a person chose, all of it, and return it as kept; each contact gets one of `contact_ids`.

    Raises:
        InvalidInput: with the field and the rule that it breaks.
    """
    kept = checked(setup, role=principal.role)
    person_id, now = principal.person_id, utc_from_ms(now_ms)
    mode, cue = kept.contact_mode.value, kept.cue.value
    await conn.execute(
        SAVE, person_id, mode, kept.code_word, kept.decoy_text, kept.is_volunteer, now, cue, kept.records_sound
    )
    await conn.execute(FORGET_CONTACTS, person_id)
    key = await person_key(conn, person_id, now_ms=now_ms)
    await conn.executemany(
        ADD_CONTACT,
        [
            (
                ContactId(contact_id), person_id, position, Sealed(key, one.name), Sealed(key, one.phone),
                Sealed(key, one.email), one.phone, one.may_be_at_address, now,
            )
            for position, (contact_id, one) in enumerate(zip(contact_ids, kept.contacts, strict=True), 1)
        ],
    )  # fmt: skip
    await append_audit(
        conn,
        org_id=principal.org_id,
        actor_id=person_id,
        action="safety_setup.saved",
        subject=f"person:{person_id}",
        now_ms=now_ms,
        detail={
            "contacts": len(kept.contacts),
            "contact_mode": kept.contact_mode.value,
            "records_sound": kept.records_sound,
        },
    )
    return kept


def checked(setup: SafetySetup, *, role: Role) -> SafetySetup:
    """Return a set-up with its numbers in E.164.

    Raises:
        InvalidInput: with the field and the rule that it breaks.
    """
    if len(setup.contacts) > CONTACTS_PER_PERSON_MAX:
        raise InvalidInput(f"Up to {CONTACTS_PER_PERSON_MAX} contacts.", field="contacts")
    if (setup.contact_mode is ContactMode.CODE_WORD) != (setup.code_word is not None):
        raise InvalidInput("A word for `code_word`, and for no other mode.", field="code_word")
    if (setup.contact_mode is ContactMode.DECOY) != (setup.decoy_text is not None):
        raise InvalidInput("A text for `decoy`, and for no other mode.", field="decoy_text")
    if setup.is_volunteer and role is not Role.WORKER:
        raise InvalidInput("Workers volunteer.", field="is_volunteer")
    contacts = tuple(_checked_contact(one, f"contacts[{at}]") for at, one in enumerate(setup.contacts))
    return replace(setup, contacts=contacts)


async def set_training(
    conn: Connection,
    person_id: PersonId,
    *,
    trained_until: datetime | None,
    org_id: OrgId,
    actor_id: PersonId,
    now_ms: int,
) -> None:
    """Record until when a worker counts as trained to look after others from outside; `None`: not any more.

    Raises:
        NotFound: there is no such worker in the organisation.
    """
    if not await conn.fetchval(WORKER_OF_ORG, person_id, org_id):
        raise NotFound
    if trained_until is None:
        await conn.execute(UNTRAIN, person_id)
    else:
        await conn.execute(TRAIN, person_id, trained_until, actor_id, utc_from_ms(now_ms))
    await append_audit(
        conn,
        org_id=org_id,
        actor_id=actor_id,
        action="volunteer.trained" if trained_until else "volunteer.ended",
        subject=f"person:{person_id}",
        now_ms=now_ms,
    )


def _checked_contact(contact: ContactPlan, field: str) -> ContactPlan:
    phone = None if contact.phone is None else e164(contact.phone)
    if contact.phone is not None and phone is None:
        raise InvalidInput("A number with its country: +351 912 345 678.", field=f"{field}.phone")
    email = None if contact.email is None else contact.email.strip().lower()
    if email is not None and not is_email(email):
        raise InvalidInput("An e-mail address.", field=f"{field}.email")
    if phone is None and email is None:
        raise InvalidInput("A phone number or an e-mail address.", field=field)
    return ContactPlan(contact.name, phone, email, contact.may_be_at_address)


def _contact(row: asyncpg.Record) -> ContactPlan:
    return ContactPlan(row["name"], row["phone"], row["email"], row["may_be_at_address"])

"""What people choose for the case that they call for help, who is trained to look after them, and which desks watch."""

from dataclasses import asdict
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from pydantic import AwareDatetime, Field

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import ADMIN, DESK, PROTECTED, AnyRoute, Route, Uses
from api_rest.schemas import Answer, Line, Text
from config.limits import CONTACTS_PER_PERSON_MAX
from engine.core.errors import InvalidInput, NotFound
from engine.core.ids import PersonId
from engine.core.units import rfc3339
from engine.safetap.armed_desks import armed_desks
from engine.safetap.incident_store import read_clock
from engine.safetap.safety_setup import (
    ContactMode,
    ContactPlan,
    Cue,
    SafetySetup,
    load_setup,
    save_setup,
    set_training,
)
from engine.safetap.sound import SoundRule, sound_rule


class Contact(Body):
    """Somebody to be told: a phone number with its country, an e-mail address, or both."""

    name: Line
    phone: Line | None = None
    email: Line | None = None
    may_be_at_address: bool = False
    """Then never told automatically: they might be the danger, or be in it."""


class Setup(Body):
    """All of it: what is left out is nothing."""

    contact_mode: ContactMode = ContactMode.NONE
    """Whether and how anybody contacts this person after a call for help."""
    code_word: Line | None = None
    decoy_text: Text | None = None
    is_volunteer: bool = False
    """A worker who agrees to look after others from outside; it takes training too."""
    cue: Cue = Cue.DOT
    """How the person's own phone shows them that their alarm has arrived."""
    records_sound: bool = False
    """They agree that their phone records sound for their alarm; kept only where `sound.is_allowed`."""
    contacts: Annotated[list[Contact], Field(max_length=CONTACTS_PER_PERSON_MAX, default_factory=list)]


class ContactAnswer(Answer):
    """Somebody to be told."""

    name: str
    phone: str | None
    email: str | None
    may_be_at_address: bool


class SoundAnswer(Answer):
    """Whether sound may be recorded where the person belongs, and whose consent that takes."""

    is_allowed: bool
    country: str
    """ISO 3166-1, or `ELSEWHERE`: the country has no file."""
    consent: Literal["all_parties", "one_party", "unclear"]
    consent_basis: str | None
    """How everybody consents, in the words of who runs the installation."""


class SetupAnswer(Answer):
    """What a person chose, and what the law of their place lets their phone do."""

    contact_mode: ContactMode
    code_word: str | None
    decoy_text: str | None
    is_volunteer: bool
    cue: Cue
    records_sound: bool
    sound: SoundAnswer
    contacts: list[ContactAnswer]


class Training(Body):
    """Until when a worker counts as trained to look after others from outside; null: not any more."""

    trained_until: AwareDatetime | None


class TrainingAnswer(Answer):
    """Until when a worker counts as trained."""

    person_id: PersonId
    trained_until: AwareDatetime | None


class DeskAnswer(Answer):
    """A desk that somebody watches."""

    desk_id: UUID
    person_id: PersonId
    name: str
    armed_at: AwareDatetime
    armed_until: AwareDatetime


class DeskList(Answer):
    """Armed desks. With none a ladder starts at whoever is on call, without waiting for the desk."""

    is_armed: bool
    items: list[DeskAnswer]


async def get_setup(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what the person chose."""
    return _answer(await load_setup(call.conn, call.principal.person_id), await _sound(call))


async def put_setup(call: Call[Setup, NoQuery]) -> Reply:
    """Write what the person chooses; who calls for help next is looked after so."""
    body = call.body
    contacts = tuple(ContactPlan(one.name, one.phone, one.email, one.may_be_at_address) for one in body.contacts)
    setup = SafetySetup(
        contact_mode=body.contact_mode,
        code_word=body.code_word,
        decoy_text=body.decoy_text,
        is_volunteer=body.is_volunteer,
        contacts=contacts,
        cue=body.cue,
        records_sound=body.records_sound,
    )
    ids = [uuid4() for _ in contacts]
    kept = await save_setup(call.conn, setup, principal=call.principal, contact_ids=ids, now_ms=call.now_ms)
    return _answer(kept, await _sound(call))


async def put_training(call: Call[Training, NoQuery]) -> Reply:
    """Record a worker's training."""
    person_id = PersonId(call.ids["worker_id"])
    await set_training(
        call.conn,
        person_id,
        trained_until=call.body.trained_until,
        org_id=call.principal.org_id,
        actor_id=call.principal.person_id,
        now_ms=call.now_ms,
    )
    return Reply({"person_id": person_id, "trained_until": rfc3339(call.body.trained_until)})


async def list_desks(call: Call[NoBody, NoQuery]) -> Reply:
    """Return which desks somebody watches, by the clock that escalators go by."""
    now_ms = await read_clock(call.conn)
    desks = await armed_desks(call.conn, org_id=call.principal.org_id, now_ms=now_ms)
    items = [
        {
            "desk_id": one.desk_id,
            "person_id": one.person_id,
            "name": one.name,
            "armed_at": rfc3339(one.armed_at),
            "armed_until": rfc3339(one.lease_until),
        }
        for one in desks
    ]
    return Reply({"is_armed": bool(items), "items": items})


async def _sound(call: "Call[NoBody, NoQuery] | Call[Setup, NoQuery]") -> SoundRule:
    return await sound_rule(call.conn, call.principal.person_id, jurisdictions=call.services.jurisdictions)


def _answer(setup: SafetySetup, sound: SoundRule) -> Reply:
    contacts: list[dict[str, Any]] = [
        {
            "name": one.name,
            "phone": one.phone,
            "email": one.email,
            "may_be_at_address": one.may_be_at_address,
        }
        for one in setup.contacts
    ]
    return Reply(
        {
            "contact_mode": setup.contact_mode.value,
            "code_word": setup.code_word,
            "decoy_text": setup.decoy_text,
            "is_volunteer": setup.is_volunteer,
            "cue": setup.cue.value,
            "records_sound": setup.records_sound,
            "sound": asdict(sound),
            "contacts": contacts,
        }
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/me/safety",
        access=PROTECTED,
        handler=get_setup,
        summary="What I chose for the case that I call for help",
        uses=Uses.CONNECTION,
        answer=SetupAnswer,
    ),
    Route(
        method="PUT",
        path="/v1/me/safety",
        access=PROTECTED,
        handler=put_setup,
        summary="Choose contacts, and whether and how anybody contacts me",
        uses=Uses.TRANSACTION,
        body=Setup,
        answer=SetupAnswer,
        errors=(InvalidInput,),
    ),
    Route(
        method="PUT",
        path="/v1/workers/{worker_id}/safety-training",
        access=ADMIN,
        handler=put_training,
        summary="Record until when a worker counts as a trained volunteer",
        uses=Uses.TRANSACTION,
        body=Training,
        answer=TrainingAnswer,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/v1/desks",
        access=DESK,
        handler=list_desks,
        summary="Which desks somebody watches",
        uses=Uses.CONNECTION,
        answer=DeskList,
    ),
)

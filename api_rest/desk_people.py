"""The people around an incident: colleagues at the desk, the end of a shift, and what the person who called chose."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import DESK, AnyRoute, Key, Route, Uses
from api_rest.safety import ContactAnswer
from api_rest.schemas import Answer, Text
from config.limits import NOTE_CHARS_MAX
from engine.core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from engine.core.ids import IncidentId, PersonId
from engine.core.units import rfc3339, utc_from_ms
from engine.core.vocabulary import Role
from engine.safetap.desk_shift import end_shift, list_colleagues
from engine.safetap.incident_reads import note_read
from engine.safetap.incident_store import read_clock
from engine.safetap.safety_setup import ContactMode, load_setup


class ColleagueAnswer(Answer):
    """Somebody who works at the desk; `is_armed`: they watch one right now."""

    person_id: PersonId
    name: str
    role: Role
    is_armed: bool


class ColleagueList(Answer):
    """Those at an armed desk first."""

    items: list[ColleagueAnswer]


class EndShift(Body):
    """Who takes the desk, and what they must know."""

    to: PersonId
    note: Annotated[Text, Field(max_length=NOTE_CHARS_MAX)] = ""


class EndedShiftAnswer(Answer):
    """What they have now; `kept` is what they may not take, having a stake in it."""

    to: PersonId
    handed_over: list[IncidentId]
    kept: list[IncidentId]
    at: AwareDatetime


class IncidentContact(Answer):
    """Whether and how the person wants to be contacted, and whom of theirs to tell; chosen by them, before."""

    contact_mode: ContactMode
    code_word: str | None
    decoy_text: str | None
    may_chat: bool
    contacts: list[ContactAnswer]


async def list_desk_colleagues(call: Call[NoBody, NoQuery]) -> Reply:
    """Return who works at the desk, by the clock that desks are armed by."""
    now_ms = await read_clock(call.conn)
    found = await list_colleagues(call.conn, org_id=call.principal.org_id, now_ms=now_ms)
    items = [
        {"person_id": one.person_id, "name": one.name, "role": one.role.value, "is_armed": one.is_armed}
        for one in found
    ]
    return Reply({"items": items})


async def hand_desk_over(call: Call[EndShift, NoQuery]) -> Reply:
    """End one's shift at the desk, on the record."""
    body = call.body
    ended = await end_shift(call.conn, actor=call.principal, to=body.to, note=body.note.strip(), now_ms=call.now_ms)
    at = rfc3339(utc_from_ms(call.now_ms))
    return Reply({"to": body.to, "handed_over": list(ended.handed_over), "kept": list(ended.kept), "at": at})


async def get_contact(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what the person of an incident chose, and record that it was read."""
    incident_id = IncidentId(call.ids["incident_id"])
    incident = await note_read(
        call.conn, incident_id=incident_id, actor=call.principal, what="contact", now_ms=call.now_ms
    )
    setup = await load_setup(call.conn, PersonId(incident["person_id"]))
    contacts = [
        {"name": one.name, "phone": one.phone, "email": one.email, "may_be_at_address": one.may_be_at_address}
        for one in setup.contacts
    ]
    return Reply(
        {
            "contact_mode": setup.contact_mode.value,
            "code_word": setup.code_word,
            "decoy_text": setup.decoy_text,
            "may_chat": setup.contact_mode is not ContactMode.NONE,
            "contacts": contacts,
        }
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/desks/colleagues",
        access=DESK,
        handler=list_desk_colleagues,
        summary="Who works at the desk, and who watches one now",
        uses=Uses.CONNECTION,
        answer=ColleagueList,
    ),
    Route(
        method="POST",
        path="/v1/desks/hand-over",
        access=DESK,
        handler=hand_desk_over,
        summary="End one's shift: all that one has taken goes to a colleague, on the record",
        uses=Uses.TRANSACTION,
        body=EndShift,
        answer=EndedShiftAnswer,
        key=Key.ACCEPTED,
        errors=(InvalidInput, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/incidents/{incident_id}/contact",
        access=DESK,
        handler=get_contact,
        summary="Whether and how the person wants to be contacted, and their own contacts",
        uses=Uses.TRANSACTION,
        answer=IncidentContact,
        errors=(NotFound, NotAllowed),
    ),
)

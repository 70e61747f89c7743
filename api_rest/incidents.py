"""Incidents for the desk: the list, one with its story, acknowledge and close."""

from typing import Annotated, Any
from uuid import uuid4

from pydantic import AwareDatetime, Field

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.cursors import decode_moment, encode_moment
from api_rest.route import DESK, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, PageQuery, Text
from config.limits import CLOSE_REASON_CHARS_MAX
from engine.core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from engine.core.ids import BookingId, IncidentId, NoticeId, PersonId
from engine.core.vocabulary import Channel, Delivery, IncidentKind, IncidentState, NoticeState, Role
from engine.safetap import decoy, desk, vouching
from engine.safetap.incident_reads import note_detail_read
from engine.safetap.incident_views import Position, incident_detail, list_incidents
from engine.safetap.trigger import Trust


class IncidentPerson(Answer):
    """Who raised it."""

    person_id: PersonId
    name: str
    role: Role


class IncidentFix(Answer):
    """Where the phone was."""

    lat: float
    lng: float
    accuracy_m: float | None
    ts_ms: int | None


class IncidentAddress(Answer):
    """The door of the booking."""

    line: str
    floor: str
    entry_notes: str | None
    """Null in lists, where they stay in their envelope."""


class IncidentEvent(Answer):
    """What happened, and who did it."""

    version: int
    kind: str
    actor: str | None
    actor_id: PersonId | None
    body: dict[str, Any]
    at: AwareDatetime


class Notice(Answer):
    """One message to one responder."""

    notice_id: NoticeId
    step: int
    loop: int
    target: str
    channel: Channel
    state: NoticeState
    attempts: int
    last_error: str | None
    reference: str | None
    """The provider's own name for it."""
    delivery: Delivery | None
    """What is known beyond that the provider has it."""
    created_at: AwareDatetime
    sent_at: AwareDatetime | None
    delivery_at: AwareDatetime | None


class CloseAsked(Answer):
    """Somebody closed it where two people must agree; a close by anybody else ends it."""

    person_id: PersonId
    name: str
    at: AwareDatetime
    reason: str | None


class Incident(Answer):
    """What triggers opened."""

    incident_id: IncidentId
    person: IncidentPerson
    booking_id: BookingId | None
    kind: IncidentKind
    is_drill: bool
    trust: Trust
    state: IncidentState
    version: int
    severity: int
    step: int
    next_step_at: AwareDatetime | None
    fix: IncidentFix | None
    address: IncidentAddress | None
    opened_at: AwareDatetime
    acknowledged_at: AwareDatetime | None
    acknowledged_by: str | None
    closed_at: AwareDatetime | None
    close_reason: str | None
    says_safe_at: AwareDatetime | None
    police_reference: str | None
    is_false_alarm: bool
    close_asked: CloseAsked | None
    """Null too where something has happened since that makes it void."""
    events: list[IncidentEvent] | None = None
    notices: list[Notice] | None = None


class IncidentPage(Answer):
    """A page of incidents, newest first."""

    items: list[Incident]
    next_cursor: str | None


class IncidentsQuery(PageQuery):
    """Which incidents."""

    state: IncidentState | None = None


class Close(Body):
    """Why it is over. A reason that begins with the word `reviewed` also releases the hold on dispatch."""

    reason: Annotated[Text, Field(min_length=1, max_length=CLOSE_REASON_CHARS_MAX)]


async def list_all(call: Call[NoBody, IncidentsQuery]) -> Reply:
    """Return a page of the organisation's incidents."""
    cursor = call.query.cursor
    items, following = await list_incidents(
        call.conn,
        org_id=call.principal.org_id,
        state=call.query.state,
        after=None if cursor is None else Position(*decode_moment(cursor)),
        limit=call.query.limit,
    )
    # The list shows where the phones were: one entry a page, since it is a look at nobody in particular.
    await call.note("incidents.listed", f"org:{call.principal.org_id}", {"incidents": len(items)})
    next_cursor = None if following is None else encode_moment(following.opened_at, following.incident_id)
    return Reply({"items": items, "next_cursor": next_cursor})


async def get_one(call: Call[NoBody, NoQuery]) -> Reply:
    """Return one incident with its events and notices, and record that it was read."""
    incident_id = _incident_id(call)
    await note_detail_read(call.conn, incident_id=incident_id, actor=call.principal, now_ms=call.now_ms)
    return Reply(await incident_detail(call.conn, incident_id, org_id=call.principal.org_id))


async def acknowledge(call: Call[NoBody, NoQuery]) -> Reply:
    """Take responsibility for an incident."""
    view = await desk.acknowledge(call.conn, incident_id=_incident_id(call), actor=call.principal, now_ms=call.now_ms)
    return Reply(view)


async def vouch(call: Call[NoBody, NoQuery]) -> Reply:
    """Say that an unverified alarm is real."""
    view = await vouching.vouch(
        call.conn, incident_id=_incident_id(call), actor=call.principal, hold_id=uuid4(), now_ms=call.now_ms
    )
    return Reply(view)


async def send_decoy(call: Call[NoBody, NoQuery]) -> Reply:
    """Let the person's own decoy message go to their own phone."""
    view = await decoy.send_decoy(
        call.conn, incident_id=_incident_id(call), actor=call.principal, notice_id=uuid4(), now_ms=call.now_ms
    )
    return Reply(view)


async def close(call: Call[Close, NoQuery]) -> Reply:
    """End an incident."""
    view = await desk.close(
        call.conn,
        incident_id=_incident_id(call),
        actor=call.principal,
        reason=call.body.reason,
        now_ms=call.now_ms,
    )
    return Reply(view)


def _incident_id(call: Call[Any, Any]) -> IncidentId:
    return IncidentId(call.ids["incident_id"])


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/incidents",
        access=DESK,
        handler=list_all,
        summary="The organisation's incidents",
        uses=Uses.CONNECTION,
        query=IncidentsQuery,
        answer=IncidentPage,
    ),
    Route(
        method="GET",
        path="/v1/incidents/{incident_id}",
        access=DESK,
        handler=get_one,
        summary="One incident with its events and notices",
        uses=Uses.TRANSACTION,
        answer=Incident,
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/incidents/{incident_id}/acknowledge",
        access=DESK,
        handler=acknowledge,
        summary="Take responsibility for an incident; never for one's own",
        uses=Uses.TRANSACTION,
        answer=Incident,
        key=Key.ACCEPTED,
        errors=(NotFound, NotAllowed, Conflict),
    ),
    Route(
        method="POST",
        path="/v1/incidents/{incident_id}/vouch",
        access=DESK,
        handler=vouch,
        summary="Say that an unverified alarm is real: its whole ladder is climbed",
        uses=Uses.TRANSACTION,
        answer=Incident,
        key=Key.ACCEPTED,
        errors=(NotFound, NotAllowed, Conflict),
    ),
    Route(
        method="POST",
        path="/v1/incidents/{incident_id}/decoy",
        access=DESK,
        handler=send_decoy,
        summary="Send the person's own decoy message to their own phone, where they chose one",
        uses=Uses.TRANSACTION,
        answer=Incident,
        key=Key.ACCEPTED,
        errors=(NotFound, NotAllowed, Conflict),
    ),
    Route(
        method="POST",
        path="/v1/incidents/{incident_id}/close",
        access=DESK,
        handler=close,
        summary="End an incident with a reason; never one's own",
        uses=Uses.TRANSACTION,
        body=Close,
        answer=Incident,
        key=Key.ACCEPTED,
        errors=(NotFound, NotAllowed, Conflict, InvalidInput),
    ),
)

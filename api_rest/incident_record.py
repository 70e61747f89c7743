"""Working an incident: call card, report, live trail, notes, hand-over, what it is known as. Every look is recorded."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import AwareDatetime, Field, model_validator

from api_rest.context import Body, Call, NoBody, NoQuery, Query, Reply
from api_rest.incidents import Incident
from api_rest.route import DESK, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, Text
from config.limits import NOTE_CHARS_MAX, POLICE_REFERENCE_CHARS_MAX, STATISTICS_SPAN_DAYS_MAX
from engine.core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from engine.core.ids import IncidentId, PersonId
from engine.safetap import incident_work as work
from engine.safetap.call_card import read_call_card
from engine.safetap.cap_export import export_cap
from engine.safetap.incident_reads import note_read
from engine.safetap.incident_report import read_report
from engine.safetap.incident_statistics import read_statistics
from engine.safetap.incident_trail import read_incident_trail
from engine.safetap.incident_views import incident_view
from engine.safetap.report_page import report_page

HTML: Final = "text/html"
CAP: Final = "application/cap+xml"


class ReportFormat(StrEnum):
    """How a report is written."""

    JSON = "json"
    HTML = "html"


class ReportQuery(Query):
    """JSON for programs, HTML to print."""

    form: Annotated[ReportFormat, Field(alias="format")] = ReportFormat.JSON


class TrailQuery(Query):
    """Only what is newer: Unix milliseconds of the newest fix that the caller has."""

    after_ms: Annotated[int, Field(ge=0, le=2**53)] | None = None


class StatisticsQuery(Query):
    """Which incidents: those opened in this time."""

    begin: Annotated[AwareDatetime, Field(alias="from")]
    end: Annotated[AwareDatetime, Field(alias="to")]

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if not timedelta(0) < self.end - self.begin <= timedelta(days=STATISTICS_SPAN_DAYS_MAX):
            raise ValueError(f"`from` is before `to`, by {STATISTICS_SPAN_DAYS_MAX} days at most")
        return self


class Note(Body):
    """A text."""

    text: Annotated[Text, Field(min_length=1, max_length=NOTE_CHARS_MAX)]


class PoliceReference(Body):
    """Under what the police know it."""

    reference: Annotated[Text, Field(min_length=1, max_length=POLICE_REFERENCE_CHARS_MAX)]


class FalseAlarm(Body):
    """Whether nothing had happened."""

    is_false_alarm: bool


class HandOver(Body):
    """To whom, and what they must know."""

    to: PersonId
    note: Annotated[Text, Field(max_length=NOTE_CHARS_MAX)] = ""


class Place(Answer):
    """The booking's door."""

    line: str
    floor: str
    entry_notes: str
    lat: float
    lng: float


class LastFix(Answer):
    """The newest place that is known, and how old it is."""

    lat: float
    lng: float
    accuracy_m: float | None
    source: str
    at: AwareDatetime
    age_s: int


class CardPerson(Answer):
    """Somebody who may be there."""

    name: str
    role: str
    phone: str | None
    called_for_help: bool


class CardJob(Answer):
    """What brought them there."""

    service: str
    state: str


class CardNumbers(Answer):
    """Whom to ring. `is_known` is false where 112 is only the number that every mobile phone understands."""

    country_code: str
    emergency: str
    police: str
    others: dict[str, str]
    is_known: bool


class CallCard(Answer):
    """What to say to the police. A drill has no numbers."""

    incident_id: IncidentId
    is_drill: bool
    warning: str | None
    organisation: str
    kind: str
    severity: int
    state: str
    opened_at: AwareDatetime
    place: Place | None
    region: str
    last_fix: LastFix | None
    people: list[CardPerson]
    job: CardJob | None
    numbers: CardNumbers | None
    police_reference: str | None


class IncidentTrailFix(Answer):
    """Where the phone was. What it did not tell is null."""

    at: AwareDatetime
    ts_ms: int
    lat: float
    lng: float
    accuracy_m: float | None
    speed_mps: float | None
    heading_deg: float | None


class IncidentTrail(Answer):
    """The newest fixes, in the order of time."""

    incident_id: IncidentId
    fixes: list[IncidentTrailFix]


class ReportTrail(Answer):
    """How many fixes there are, and some of them."""

    fixes: int
    excerpt: list[IncidentTrailFix]


class ReportChain(Answer):
    """The hash that the history ends in, and what of it does not hold."""

    entries: int
    head: str
    broken: list[str]


class Report(Answer):
    """Everything that the record holds of an incident."""

    made_at: AwareDatetime
    incident: dict[str, Any]
    call_card: CallCard
    timeline: list[dict[str, Any]]
    ladder: dict[str, Any]
    deliveries: list[dict[str, Any]]
    trail: ReportTrail
    evidence: list[dict[str, Any]]
    chain: ReportChain


class Figures(Answer):
    """Counts, and seconds from the alarm to the first acknowledgement and to the close."""

    incidents: int
    open: int
    acknowledged: int
    false_alarms: int
    lapsed: int
    acknowledge_p50_s: float | None
    acknowledge_p99_s: float | None
    close_p50_s: float | None


class FiguresByKind(Figures):
    """The same for each kind."""

    by_kind: dict[str, Figures]


class Statistics(Answer):
    """Real incidents and drills, never mixed."""

    real: FiguresByKind
    drills: FiguresByKind


async def get_call_card(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what whoever rings the police must be able to say."""
    incident_id = await _read(call, "call_card")
    return Reply(
        await read_call_card(call.conn, incident_id, jurisdictions=call.services.jurisdictions, now_ms=call.now_ms)
    )


async def get_cap(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the incident's next CAP message."""
    incident_id = await _read(call, "cap")
    message = await export_cap(
        call.conn, incident_id, actor=call.principal, jurisdictions=call.services.jurisdictions, now_ms=call.now_ms
    )
    return Reply(message, media_type=CAP)


async def get_report(call: Call[NoBody, ReportQuery]) -> Reply:
    """Return the report on an incident."""
    incident_id = await _read(call, "report")
    report = await read_report(call.conn, incident_id, jurisdictions=call.services.jurisdictions, now_ms=call.now_ms)
    if call.query.form is ReportFormat.HTML:
        return Reply(report_page(report).encode(), media_type=HTML)
    return Reply(report)


async def get_trail(call: Call[NoBody, TrailQuery]) -> Reply:
    """Return where the person has been since shortly before the alarm."""
    incident_id = await _read(call, "trail")
    fixes = await read_incident_trail(call.conn, incident_id, after_ms=call.query.after_ms, now_ms=call.now_ms)
    return Reply({"incident_id": str(incident_id), "fixes": fixes})


async def get_statistics(call: Call[NoBody, StatisticsQuery]) -> Reply:
    """Return how fast the organisation answers its alarms."""
    query = call.query
    return Reply(await read_statistics(call.conn, org_id=call.principal.org_id, begin=query.begin, end=query.end))


async def add_note(call: Call[Note, NoQuery]) -> Reply:
    """Write a note into an incident's history."""
    incident_id = _incident_id(call)
    await work.add_note(
        call.conn, incident_id=incident_id, actor=call.principal, text=call.body.text, now_ms=call.now_ms
    )
    return Reply(await incident_view(call.conn, incident_id))


async def put_police_reference(call: Call[PoliceReference, NoQuery]) -> Reply:
    """Write down the police's reference."""
    incident_id, reference = _incident_id(call), call.body.reference
    await work.set_police_reference(
        call.conn, incident_id=incident_id, actor=call.principal, reference=reference, now_ms=call.now_ms
    )
    return Reply(await incident_view(call.conn, incident_id))


async def put_false_alarm(call: Call[FalseAlarm, NoQuery]) -> Reply:
    """Mark an incident as a false alarm, or take that back; it enters no score."""
    incident_id, is_false_alarm = _incident_id(call), call.body.is_false_alarm
    await work.mark_false_alarm(
        call.conn, incident_id=incident_id, actor=call.principal, is_false_alarm=is_false_alarm, now_ms=call.now_ms
    )
    return Reply(await incident_view(call.conn, incident_id))


async def hand_over(call: Call[HandOver, NoQuery]) -> Reply:
    """Give an acknowledged incident to a colleague."""
    incident_id, body = _incident_id(call), call.body
    await work.hand_over(
        call.conn, incident_id=incident_id, actor=call.principal, to=body.to, note=body.note, now_ms=call.now_ms
    )
    return Reply(await incident_view(call.conn, incident_id))


async def say_to_person(call: Call[Note, NoQuery]) -> Reply:
    """Leave a message for a person who chose to be contacted."""
    incident_id = _incident_id(call)
    await work.say_to_person(
        call.conn, incident_id=incident_id, actor=call.principal, text=call.body.text, now_ms=call.now_ms
    )
    return Reply(await incident_view(call.conn, incident_id))


async def _read(call: Call[NoBody, Any], what: str) -> IncidentId:
    incident_id = _incident_id(call)
    await note_read(call.conn, incident_id=incident_id, actor=call.principal, what=what, now_ms=call.now_ms)
    return incident_id


def _incident_id(call: Call[Any, Any]) -> IncidentId:
    return IncidentId(call.ids["incident_id"])


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/incidents/statistics",
        access=DESK,
        handler=get_statistics,
        summary="How fast alarms are answered; drills apart",
        uses=Uses.CONNECTION,
        query=StatisticsQuery,
        answer=Statistics,
    ),
    Route(
        method="GET",
        path="/v1/incidents/{incident_id}/call-card",
        access=DESK,
        handler=get_call_card,
        summary="What to say to the police",
        uses=Uses.TRANSACTION,
        answer=CallCard,
        errors=(NotFound, NotAllowed),
    ),
    Route(
        method="GET",
        path="/v1/incidents/{incident_id}/cap",
        access=DESK,
        handler=get_cap,
        summary="The incident as the next CAP 1.2 message: first an alert, then updates, at its end a cancel",
        uses=Uses.TRANSACTION,
        answer=None,
        other_media_types=(CAP,),
        errors=(NotFound, NotAllowed),
    ),
    Route(
        method="GET",
        path="/v1/incidents/{incident_id}/report",
        access=DESK,
        handler=get_report,
        summary="Everything that is on record, as JSON or as a page to print",
        uses=Uses.TRANSACTION,
        query=ReportQuery,
        answer=Report,
        other_media_types=(HTML,),
        errors=(NotFound, NotAllowed),
    ),
    Route(
        method="GET",
        path="/v1/incidents/{incident_id}/trail",
        access=DESK,
        handler=get_trail,
        summary="Where the person is and has been since shortly before the alarm",
        uses=Uses.TRANSACTION,
        query=TrailQuery,
        answer=IncidentTrail,
        errors=(NotFound, NotAllowed),
    ),
    Route(
        method="POST",
        path="/v1/incidents/{incident_id}/notes",
        access=DESK,
        handler=add_note,
        summary="Write a note",
        uses=Uses.TRANSACTION,
        body=Note,
        answer=Incident,
        key=Key.ACCEPTED,
        errors=(NotFound, NotAllowed, Conflict, InvalidInput),
    ),
    Route(
        method="PUT",
        path="/v1/incidents/{incident_id}/police-reference",
        access=DESK,
        handler=put_police_reference,
        summary="Write down the police's reference",
        uses=Uses.TRANSACTION,
        body=PoliceReference,
        answer=Incident,
        errors=(NotFound, NotAllowed, InvalidInput),
    ),
    Route(
        method="PUT",
        path="/v1/incidents/{incident_id}/false-alarm",
        access=DESK,
        handler=put_false_alarm,
        summary="Mark an incident as a false alarm, or take that back",
        uses=Uses.TRANSACTION,
        body=FalseAlarm,
        answer=Incident,
        errors=(NotFound, NotAllowed),
    ),
    Route(
        method="POST",
        path="/v1/incidents/{incident_id}/hand-over",
        access=DESK,
        handler=hand_over,
        summary="Give an acknowledged incident to a colleague",
        uses=Uses.TRANSACTION,
        body=HandOver,
        answer=Incident,
        key=Key.ACCEPTED,
        errors=(NotFound, NotAllowed, Conflict, InvalidInput),
    ),
    Route(
        method="POST",
        path="/v1/incidents/{incident_id}/chat",
        access=DESK,
        handler=say_to_person,
        summary="Leave a message for a person who chose to be contacted",
        uses=Uses.TRANSACTION,
        body=Note,
        answer=Incident,
        key=Key.ACCEPTED,
        errors=(NotFound, NotAllowed, Conflict, InvalidInput),
    ),
)

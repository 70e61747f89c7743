"""Rights of people over what is kept of them: a copy, the reasons why, contesting one, erasure; and legal holds."""

from typing import Annotated, Any
from uuid import UUID, uuid4

from pydantic import AwareDatetime, Field

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import ADMIN, ALL_ROLES, DESK, WORKER, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, Text
from config.limits import HOLDS_SHOWN_MAX, NOTE_CHARS_MAX, REASONS_SHOWN_MAX
from engine.core.errors import Conflict, NotFound
from engine.core.ids import IncidentId, PersonId
from engine.people.contests import answer_contest, contest, list_contests
from engine.people.erasure import erase_person
from engine.people.export import export_person
from engine.people.legal_holds import Held, lift_hold, list_holds, set_hold
from engine.people.reasons import reasons_about

Words = Annotated[Text, Field(min_length=1, max_length=NOTE_CHARS_MAX)]


class Reason(Body):
    """Why."""

    reason: Words


class HoldAnswer(Answer):
    """A legal hold was set."""

    hold_id: UUID


class Hold(Answer):
    """A legal hold on an incident or on a person."""

    hold_id: UUID
    incident_id: IncidentId | None
    person_id: PersonId | None
    reason: str
    set_by: PersonId
    set_at: AwareDatetime
    lifted_by: PersonId | None
    lifted_at: AwareDatetime | None
    lift_reason: str | None


class HoldList(Answer):
    """The newest holds, lifted ones too."""

    items: list[Hold]


class ExportAnswer(Answer):
    """Everything that is kept about a person, by what it is; see docs/privacy.md."""

    made_at: AwareDatetime
    sections: dict[str, list[dict[str, Any]]]


class WhyMe(Answer):
    """A decision of the matcher in which this worker was weighed; nobody else is shown."""

    dispatch_id: int
    at: AwareDatetime
    outcome: str
    was_asked: bool
    place: int
    of: int
    cost_min: float
    eta_s: int
    terms: dict[str, float]


class WhyMeList(Answer):
    """The newest decisions."""

    items: list[WhyMe]


class ContestBody(Body):
    """What is wrong with a decision."""

    dispatch_id: Annotated[int, Field(ge=1, le=2**63 - 1)]
    text: Words


class AnswerBody(Body):
    """What a human says to it."""

    text: Words


class Contest(Answer):
    """A contested decision, and what was answered."""

    contest_id: UUID
    person_id: PersonId
    dispatch_id: int
    text: str
    at: AwareDatetime
    answer: str | None
    answered_at: AwareDatetime | None


class ContestList(Answer):
    """Contested decisions, newest first."""

    items: list[Contest]


async def erase(call: Call[NoBody, NoQuery]) -> Reply:
    """Destroy a person's key and what was never sealed."""
    await erase_person(call.conn, PersonId(call.ids["person_id"]), admin=call.principal, now_ms=call.now_ms)
    return Reply()


async def hold_incident(call: Call[Reason, NoQuery]) -> Reply:
    """Let nothing of an incident be deleted."""
    return await _hold(call, Held(incident_id=IncidentId(call.ids["incident_id"])))


async def hold_person(call: Call[Reason, NoQuery]) -> Reply:
    """Let nothing of a person be deleted or erased."""
    return await _hold(call, Held(person_id=PersonId(call.ids["person_id"])))


async def lift(call: Call[Reason, NoQuery]) -> Reply:
    """Lift a hold."""
    hold_id = call.ids["hold_id"]
    await lift_hold(call.conn, hold_id, reason=call.body.reason, admin=call.principal, now_ms=call.now_ms)
    return Reply({"hold_id": str(hold_id)})


async def get_holds(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the organisation's holds."""
    return Reply({"items": await list_holds(call.conn, admin=call.principal, limit=HOLDS_SHOWN_MAX)})


async def export_me(call: Call[NoBody, NoQuery]) -> Reply:
    """Return everything that is kept about the one who asks."""
    principal = call.principal
    return Reply(
        await export_person(
            call.conn, principal.person_id, org_id=principal.org_id, actor_id=principal.person_id, now_ms=call.now_ms
        )
    )


async def export_of(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the same for somebody who cannot ask themself, as they would get it."""
    person_id, admin = PersonId(call.ids["person_id"]), call.principal
    return Reply(
        await export_person(call.conn, person_id, org_id=admin.org_id, actor_id=admin.person_id, now_ms=call.now_ms)
    )


async def why_me(call: Call[NoBody, NoQuery]) -> Reply:
    """Return why one was asked, or somebody else was."""
    return Reply({"items": await reasons_about(call.conn, call.principal.person_id, limit=REASONS_SHOWN_MAX)})


async def post_contest(call: Call[ContestBody, NoQuery]) -> Reply:
    """Write down that a worker contests a decision."""
    body = call.body
    await contest(
        call.conn,
        contest_id=uuid4(),
        worker=call.principal,
        dispatch_id=body.dispatch_id,
        text=body.text,
        now_ms=call.now_ms,
    )
    return await _contests(call, call.principal.person_id)


async def own_contests(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what one contested."""
    return await _contests(call, call.principal.person_id)


async def get_contests(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what the organisation's workers contest."""
    return await _contests(call, None)


async def post_answer(call: Call[AnswerBody, NoQuery]) -> Reply:
    """Answer a worker."""
    await answer_contest(
        call.conn, call.ids["contest_id"], actor=call.principal, text=call.body.text, now_ms=call.now_ms
    )
    return await _contests(call, None)


async def _hold(call: Call[Reason, NoQuery], held: Held) -> Reply:
    hold_id = await set_hold(
        call.conn, held, hold_id=uuid4(), reason=call.body.reason, admin=call.principal, now_ms=call.now_ms
    )
    return Reply({"hold_id": str(hold_id)})


async def _contests(call: Call[Any, Any], person_id: PersonId | None) -> Reply:
    items = await list_contests(call.conn, org_id=call.principal.org_id, person_id=person_id, limit=REASONS_SHOWN_MAX)
    return Reply({"items": items})


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="DELETE",
        path="/v1/people/{person_id}",
        access=ADMIN,
        handler=erase,
        summary="Erase a person for good; refused while an incident or a legal hold forbids it",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/people/{person_id}/export",
        access=ADMIN,
        handler=export_of,
        summary="Everything that is kept about a person, as they would get it themself",
        uses=Uses.TRANSACTION,
        answer=ExportAnswer,
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/people/{person_id}/legal-hold",
        access=ADMIN,
        handler=hold_person,
        summary="Let nothing of a person be deleted or erased",
        uses=Uses.TRANSACTION,
        body=Reason,
        answer=HoldAnswer,
        errors=(NotFound, Conflict),
    ),
    Route(
        method="POST",
        path="/v1/incidents/{incident_id}/legal-hold",
        access=ADMIN,
        handler=hold_incident,
        summary="Let nothing of an incident be deleted",
        uses=Uses.TRANSACTION,
        body=Reason,
        answer=HoldAnswer,
        errors=(NotFound, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/legal-holds",
        access=ADMIN,
        handler=get_holds,
        summary="Legal holds, lifted ones too",
        uses=Uses.CONNECTION,
        answer=HoldList,
    ),
    Route(
        method="POST",
        path="/v1/legal-holds/{hold_id}/lift",
        access=ADMIN,
        handler=lift,
        summary="Lift a legal hold",
        uses=Uses.TRANSACTION,
        body=Reason,
        answer=HoldAnswer,
        errors=(NotFound, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/me/export",
        access=ALL_ROLES,
        handler=export_me,
        summary="Everything that is kept about me; nothing of a live or held incident",
        uses=Uses.TRANSACTION,
        answer=ExportAnswer,
    ),
    Route(
        method="GET",
        path="/v1/me/reasons",
        access=WORKER,
        handler=why_me,
        summary="Why I was asked, or somebody else was",
        uses=Uses.CONNECTION,
        answer=WhyMeList,
    ),
    Route(
        method="GET",
        path="/v1/me/contests",
        access=WORKER,
        handler=own_contests,
        summary="Which decisions I contest, and what was answered",
        uses=Uses.CONNECTION,
        answer=ContestList,
    ),
    Route(
        method="POST",
        path="/v1/me/contests",
        access=WORKER,
        handler=post_contest,
        summary="Contest a decision about me",
        uses=Uses.TRANSACTION,
        body=ContestBody,
        answer=ContestList,
        key=Key.ACCEPTED,
        errors=(NotFound, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/contests",
        access=DESK,
        handler=get_contests,
        summary="Decisions that workers contest",
        uses=Uses.CONNECTION,
        answer=ContestList,
    ),
    Route(
        method="POST",
        path="/v1/contests/{contest_id}/answer",
        access=DESK,
        handler=post_answer,
        summary="Answer a worker who contests a decision",
        uses=Uses.TRANSACTION,
        body=AnswerBody,
        answer=ContestList,
        errors=(NotFound, Conflict),
    ),
)

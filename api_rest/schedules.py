"""Who is on call: schedules, exceptions, who it is now and next, and shifts handed over."""

from dataclasses import asdict
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from pydantic import AwareDatetime, Field

from api_rest.context import Body, Call, NoBody, NoQuery, Query, Reply
from api_rest.route import ADMIN, DESK, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, Line, Moment, OptionalLine, Text
from config.limits import LAYERS_PER_SCHEDULE_MAX, ON_CALL_LOOK_AHEAD_MS, PAGE_ROWS_MAX, PEOPLE_PER_LAYER_MAX
from engine.core.errors import Conflict, InvalidInput, NotFound
from engine.core.ids import IncidentId, PersonId, ScheduleId
from engine.core.units import ms_from_utc, rfc3339, utc_from_ms
from engine.safetap import schedule_store
from engine.safetap.on_call import Override, Shift, parse_schedule, shifts
from engine.safetap.schedule_store import Editor, Handover, StoredOverride, StoredSchedule


class Layer(Body):
    """People who take turns, daily (1) or weekly (7), at a local time from a local date on."""

    name: OptionalLine = ""
    every_days: Literal[1, 7]
    at: str
    """Local time of the hand-over: `08:00`."""
    starts_on: str
    """Local date of the first one: `2026-01-05`."""
    people: Annotated[list[UUID], Field(min_length=1, max_length=PEOPLE_PER_LAYER_MAX)]


class NewSchedule(Body):
    """A schedule to be: everybody whom a layer has on call is told."""

    name: Line
    tz: str
    layers: Annotated[list[Layer], Field(min_length=1, max_length=LAYERS_PER_SCHEDULE_MAX)]


class ChangedSchedule(NewSchedule):
    """What a schedule is to be from now on."""

    version: int | None = None
    """The version that the change starts from; another one by now is a conflict. Null: whatever it is."""


class NewOverride(Body):
    """An exception: `person_id` stands in for `replaces` (null: comes in addition); null: nobody stands in."""

    starts_at: Moment
    ends_at: Moment
    replaces: UUID | None = None
    person_id: UUID | None = None


class HandOver(Body):
    """One person gives the rest of their shift to another."""

    from_person: UUID
    to_person: UUID
    note: Text = ""


class OnCallQuery(Query):
    """From when on; default now."""

    at: Moment | None = None


class LayerAnswer(Answer):
    """People who take turns."""

    name: str
    every_days: int
    at: str
    starts_on: str
    people: list[PersonId]


class OverrideAnswer(Answer):
    """An exception."""

    override_id: UUID
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    replaces: PersonId | None
    person_id: PersonId | None


class ShiftAnswer(Answer):
    """A time during which the same people are on call; nobody: a gap."""

    starts_at: AwareDatetime
    ends_at: AwareDatetime
    people: list[PersonId]


class ScheduleAnswer(Answer):
    """A schedule with the exceptions to come, who is on call now, and when nobody will be."""

    schedule_id: ScheduleId
    name: str
    tz: str
    layers: list[LayerAnswer]
    version: int
    created_at: AwareDatetime
    updated_at: AwareDatetime
    overrides: list[OverrideAnswer]
    on_call: list[PersonId]
    gaps: list[ShiftAnswer]


class ScheduleList(Answer):
    """Every schedule of the organisation, by name."""

    items: list[ScheduleAnswer]


class OnCall(Answer):
    """Who is on call over the next two weeks, without gaps between the shifts."""

    items: list[ShiftAnswer]


class HandoverAnswer(Answer):
    """A shift handed over, with what was open then."""

    handover_id: UUID
    from_person: PersonId
    to_person: PersonId
    until: AwareDatetime
    note: str
    incidents: list[IncidentId]
    by_person: PersonId
    at: AwareDatetime


class HandoverList(Answer):
    """The newest shifts handed over, newest first."""

    items: list[HandoverAnswer]


async def create_schedule(call: Call[NewSchedule, NoQuery]) -> Reply:
    """Write a schedule."""
    schedule_id = ScheduleId(uuid4())
    await schedule_store.add_schedule(
        call.conn, schedule_id, name=call.body.name, body=_written(call.body), by=_editor(call)
    )
    return await _answer(call, schedule_id)


async def list_all(call: Call[NoBody, NoQuery]) -> Reply:
    """Return every schedule."""
    stored = await schedule_store.list_schedules(call.conn, org_id=call.principal.org_id)
    return Reply({"items": [await _view(call, one) for one in stored]})


async def get_schedule(call: Call[NoBody, NoQuery]) -> Reply:
    """Return one schedule."""
    return await _answer(call, _schedule_id(call))


async def change_schedule(call: Call[ChangedSchedule, NoQuery]) -> Reply:
    """Write a schedule anew; ladders that are being climbed go by it at once."""
    body = call.body
    await schedule_store.change_schedule(
        call.conn,
        _schedule_id(call),
        name=body.name,
        body=_written(body),
        version=body.version,
        by=_editor(call),
    )
    return await _answer(call, _schedule_id(call))


async def delete_schedule(call: Call[NoBody, NoQuery]) -> Reply:
    """Delete a schedule."""
    await schedule_store.delete_schedule(call.conn, _schedule_id(call), by=_editor(call))
    return Reply()


async def get_on_call(call: Call[NoBody, OnCallQuery]) -> Reply:
    """Return who is on call, shift after shift."""
    stored = await schedule_store.find_schedule(call.conn, _schedule_id(call), org_id=call.principal.org_id)
    from_ms = call.now_ms if call.query.at is None else ms_from_utc(call.query.at)
    overrides = await schedule_store.list_overrides(call.conn, stored.schedule_id, now_ms=min(from_ms, call.now_ms))
    schedule = parse_schedule(stored.body, overrides=[one.override for one in overrides])
    coming = shifts(schedule, from_ms, from_ms + ON_CALL_LOOK_AHEAD_MS)
    return Reply({"items": [_shift(one) for one in coming]})


async def create_override(call: Call[NewOverride, NoQuery]) -> Reply:
    """Write an exception."""
    body = call.body
    override = Override(
        starts_at_ms=ms_from_utc(body.starts_at),
        ends_at_ms=ms_from_utc(body.ends_at),
        replaces=None if body.replaces is None else PersonId(body.replaces),
        person_id=None if body.person_id is None else PersonId(body.person_id),
    )
    override_id = uuid4()
    await schedule_store.add_override(
        call.conn, _schedule_id(call), override_id=override_id, override=override, by=_editor(call)
    )
    return Reply(_override(StoredOverride(override_id, override)))


async def delete_override(call: Call[NoBody, NoQuery]) -> Reply:
    """Take an exception back."""
    await schedule_store.delete_override(call.conn, _schedule_id(call), call.ids["override_id"], by=_editor(call))
    return Reply()


async def hand_over(call: Call[HandOver, NoQuery]) -> Reply:
    """Record that a shift was handed over; who took it is on call from now on."""
    record = await schedule_store.hand_over(
        call.conn,
        _schedule_id(call),
        handover_id=uuid4(),
        from_person=PersonId(call.body.from_person),
        to_person=PersonId(call.body.to_person),
        note=call.body.note,
        by=_editor(call),
    )
    return Reply(_handover(record))


async def list_handovers(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the newest shifts handed over."""
    records = await schedule_store.list_handovers(
        call.conn, _schedule_id(call), org_id=call.principal.org_id, limit=PAGE_ROWS_MAX
    )
    if not records:  # then it may be nobody's, or another organisation's; a deleted one keeps its record
        await schedule_store.find_schedule(call.conn, _schedule_id(call), org_id=call.principal.org_id)
    return Reply({"items": [_handover(one) for one in records]})


def _schedule_id(call: Call[Any, Any]) -> ScheduleId:
    return ScheduleId(call.ids["schedule_id"])


def _editor(call: Call[Any, Any]) -> Editor:
    return Editor(call.principal.org_id, call.principal.person_id, call.now_ms)


def _written(body: NewSchedule) -> dict[str, Any]:
    return body.model_dump(mode="json", include={"tz", "layers"})


async def _answer(call: Call[Any, NoQuery], schedule_id: ScheduleId) -> Reply:
    stored = await schedule_store.find_schedule(call.conn, schedule_id, org_id=call.principal.org_id)
    return Reply(await _view(call, stored))


async def _view(call: Call[Any, NoQuery], stored: StoredSchedule) -> dict[str, object]:
    overrides = await schedule_store.list_overrides(call.conn, stored.schedule_id, now_ms=call.now_ms)
    schedule = parse_schedule(stored.body, overrides=[one.override for one in overrides])
    coming = list(shifts(schedule, call.now_ms, call.now_ms + ON_CALL_LOOK_AHEAD_MS))
    return {
        "schedule_id": stored.schedule_id,
        "name": stored.name,
        **stored.body,
        "version": stored.version,
        "created_at": rfc3339(stored.created_at),
        "updated_at": rfc3339(stored.updated_at),
        "overrides": [_override(one) for one in overrides],
        "on_call": list(coming[0].people),
        "gaps": [_shift(one) for one in coming if not one.people],
    }


def _override(stored: StoredOverride) -> dict[str, object]:
    return {
        "override_id": stored.override_id,
        "starts_at": rfc3339(utc_from_ms(stored.override.starts_at_ms)),
        "ends_at": rfc3339(utc_from_ms(stored.override.ends_at_ms)),
        "replaces": stored.override.replaces,
        "person_id": stored.override.person_id,
    }


def _shift(shift: Shift) -> dict[str, object]:
    return {
        "starts_at": rfc3339(utc_from_ms(shift.starts_at_ms)),
        "ends_at": rfc3339(utc_from_ms(shift.ends_at_ms)),
        "people": list(shift.people),
    }


def _handover(record: Handover) -> dict[str, object]:
    return {**asdict(record), "until": rfc3339(record.until), "at": rfc3339(record.at)}


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/schedules",
        access=ADMIN,
        handler=create_schedule,
        summary="Write a schedule of who is on call",
        uses=Uses.TRANSACTION,
        body=NewSchedule,
        answer=ScheduleAnswer,
        status=201,
        key=Key.REQUIRED,
        errors=(InvalidInput, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/schedules",
        access=DESK,
        handler=list_all,
        summary="Schedules, with who is on call now and when nobody will be",
        uses=Uses.CONNECTION,
        answer=ScheduleList,
    ),
    Route(
        method="GET",
        path="/v1/schedules/{schedule_id}",
        access=DESK,
        handler=get_schedule,
        summary="A schedule",
        uses=Uses.CONNECTION,
        answer=ScheduleAnswer,
        errors=(NotFound,),
    ),
    Route(
        method="PUT",
        path="/v1/schedules/{schedule_id}",
        access=ADMIN,
        handler=change_schedule,
        summary="Write a schedule anew",
        uses=Uses.TRANSACTION,
        body=ChangedSchedule,
        answer=ScheduleAnswer,
        errors=(InvalidInput, NotFound, Conflict),
    ),
    Route(
        method="DELETE",
        path="/v1/schedules/{schedule_id}",
        access=ADMIN,
        handler=delete_schedule,
        summary="Delete a schedule; ladders under way still go by it",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/v1/schedules/{schedule_id}/on-call",
        access=DESK,
        handler=get_on_call,
        summary="Who is on call over the next two weeks",
        uses=Uses.CONNECTION,
        query=OnCallQuery,
        answer=OnCall,
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/schedules/{schedule_id}/overrides",
        access=DESK,
        handler=create_override,
        summary="Let somebody stand in, or come in addition",
        uses=Uses.TRANSACTION,
        body=NewOverride,
        answer=OverrideAnswer,
        status=201,
        key=Key.REQUIRED,
        errors=(InvalidInput, NotFound, Conflict),
    ),
    Route(
        method="DELETE",
        path="/v1/schedules/{schedule_id}/overrides/{override_id}",
        access=DESK,
        handler=delete_override,
        summary="Take an exception back",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/schedules/{schedule_id}/handovers",
        access=DESK,
        handler=hand_over,
        summary="Hand a shift over, on the record",
        uses=Uses.TRANSACTION,
        body=HandOver,
        answer=HandoverAnswer,
        status=201,
        key=Key.REQUIRED,
        errors=(InvalidInput, NotFound, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/schedules/{schedule_id}/handovers",
        access=DESK,
        handler=list_handovers,
        summary="Shifts handed over, the newest 200",
        uses=Uses.CONNECTION,
        answer=HandoverList,
        errors=(NotFound,),
    ),
)

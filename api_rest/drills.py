"""Drills: one now, one every so often, or at set times of the week.

How fast they are answered is in `GET /v1/incidents/statistics`.
"""

from typing import Annotated, Literal
from uuid import uuid4

import structlog
from pydantic import AwareDatetime, Field

from api_rest.context import Body, Call, NoBody, NoQuery, Reply, Services
from api_rest.route import ADMIN, DESK, AnyRoute, Route, Uses
from api_rest.schemas import Answer, Line
from config.limits import DRILL_EVERY_H_MAX, DRILL_POLL_MS, DRILL_TIMES_MAX
from engine.core.database import Connection
from engine.core.errors import ClenzyError, Conflict, InvalidInput, NotFound, Unavailable
from engine.core.ids import OrgId, PersonId, TriggerId
from engine.core.units import rfc3339
from engine.people.audit import append_audit
from engine.safetap.drill import Drill, claim_due_drill, read_plan, set_plan, start_drill
from engine.safetap.drill_week import parse_week, week_fields

log = structlog.get_logger(__name__)


class StartDrill(Body):
    """Who plays the part; null: some worker, who notices nothing."""

    person_id: PersonId | None = None


class DrillAnswer(Answer):
    """A drill under way."""

    trigger_id: TriggerId
    person_id: PersonId
    state: str


class Weekly(Body):
    """Days and local times of a place; each day at each of the times."""

    tz: Line
    days: Annotated[list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], Field(min_length=1, max_length=7)]
    at: Annotated[list[Line], Field(min_length=1, max_length=DRILL_TIMES_MAX)]
    """`08:30`."""


class SetPlan(Body):
    """Hours between drills, times of the week, or both; null: none by itself."""

    every_h: Annotated[int, Field(ge=1, le=DRILL_EVERY_H_MAX)] | None = None
    weekly: Weekly | None = None


class WeeklyAnswer(Answer):
    """Days and local times."""

    tz: str
    days: list[str]
    at: list[str]


class Plan(Answer):
    """How often, at which times of the week, and when next."""

    every_h: int | None
    weekly: WeeklyAnswer | None
    next_at: AwareDatetime | None


async def start(call: Call[StartDrill, NoQuery]) -> Reply:
    """Begin a drill."""
    drill = await _start(call.services, call.principal.org_id, call.body.person_id, by=call.principal.person_id)
    return Reply({"trigger_id": str(drill.trigger_id), "person_id": str(drill.person_id), "state": drill.state})


async def get_plan(call: Call[NoBody, NoQuery]) -> Reply:
    """Return when the organisation practises by itself."""
    return await _plan(call.conn, call.principal.org_id)


async def put_plan(call: Call[SetPlan, NoQuery]) -> Reply:
    """Say when the organisation practises by itself."""
    org_id, body = call.principal.org_id, call.body
    weekly = None if body.weekly is None else parse_week(body.weekly.tz, body.weekly.days, body.weekly.at)
    await set_plan(call.conn, org_id, every_h=body.every_h, weekly=weekly, now_ms=call.now_ms)
    await call.note(
        "drill.planned",
        f"org:{org_id}",
        {"every_h": body.every_h, "weekly": None if weekly is None else week_fields(weekly)},
    )
    return await _plan(call.conn, org_id)


async def _plan(conn: Connection, org_id: OrgId) -> Reply:
    plan = await read_plan(conn, org_id)
    weekly = None if plan.weekly is None else week_fields(plan.weekly)
    return Reply({"every_h": plan.every_h, "weekly": weekly, "next_at": rfc3339(plan.next_at)})


async def run_planned_drills(services: Services) -> None:
    """Begin every drill that is due, then wait; one round."""
    while True:
        async with services.pool.acquire() as conn, conn.transaction():
            org_id = await claim_due_drill(conn, now_ms=services.clock.now_ms())
        if org_id is None:
            break
        try:
            drill = await _start(services, org_id, None, by=None)
        except ClenzyError as error:
            log.warning("drill.not_started", org_id=str(org_id), reason=error.detail)
        else:
            log.info("drill.started", org_id=str(org_id), trigger_id=str(drill.trigger_id))
    await services.clock.sleep_ms(DRILL_POLL_MS)


async def _start(services: Services, org_id: OrgId, person_id: PersonId | None, *, by: PersonId | None) -> Drill:
    trigger_id, now_ms = TriggerId(uuid4()), services.clock.now_ms()
    async with services.pool.acquire() as conn:
        await append_audit(
            conn, org_id=org_id, actor_id=by, action="drill.started", subject=f"trigger:{trigger_id}", now_ms=now_ms
        )
        return await start_drill(
            conn,
            services.tokens,
            services.safetap,
            org_id=org_id,
            person_id=person_id,
            trigger_id=trigger_id,
            now_ms=now_ms,
        )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/drills",
        access=DESK,
        handler=start,
        summary="Begin a drill through the whole real path",
        uses=Uses.STANDING,
        body=StartDrill,
        answer=DrillAnswer,
        errors=(NotFound, Conflict, Unavailable),
    ),
    Route(
        method="GET",
        path="/v1/drills/plan",
        access=DESK,
        handler=get_plan,
        summary="When drills begin by themselves",
        uses=Uses.CONNECTION,
        answer=Plan,
    ),
    Route(
        method="PUT",
        path="/v1/drills/plan",
        access=ADMIN,
        handler=put_plan,
        summary="Let drills begin by themselves, or not",
        uses=Uses.TRANSACTION,
        body=SetPlan,
        answer=Plan,
        errors=(InvalidInput,),
    ),
)

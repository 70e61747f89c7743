"""What the matcher goes by: kit, levels, shifts and working time, what services need, and what customers wish."""

from itertools import pairwise
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, model_validator

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import ADMIN, CUSTOMER, DESK, AnyRoute, Route, Uses
from api_rest.schemas import Answer
from config.limits import KIT_BITS, SHIFTS_PER_WORKER_MAX, WISHES_MAX
from engine.core.errors import InvalidInput, NotFound
from engine.core.ids import PersonId
from engine.matcher import matching_store as store

Code = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Kind = Literal["certificate", "tool", "part", "vehicle", "language"]
Level = Annotated[float, Field(ge=0, le=1)]
DayMinutes = Annotated[int, Field(ge=60, le=1_440)]
WeekMinutes = Annotated[int, Field(ge=60, le=10_080)]
Wished = Annotated[list[UUID], Field(max_length=WISHES_MAX)]
Codes = Annotated[list[Code], Field(max_length=KIT_BITS)]


class KitItem(Body):
    """Something that a worker shows, carries, drives or speaks. Its kind never changes."""

    code: Code
    kind: Kind
    name: Annotated[str, Field(min_length=1, max_length=100)]


class Kit(Body):
    """Items to name or to rename."""

    items: Annotated[list[KitItem], Field(min_length=1, max_length=KIT_BITS)]


class KitItemAnswer(Answer):
    """Something that the organisation has named."""

    code: str
    kind: Kind
    name: str


class KitAnswer(Answer):
    """Everything that the organisation has named."""

    items: list[KitItemAnswer]


class Carried(Body):
    """An item of a worker's; a certificate may end."""

    code: Code
    expires_at: AwareDatetime | None = None


class Shift(Body):
    """A planned shift."""

    starts_at: AwareDatetime
    ends_at: AwareDatetime

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> "Shift":
        if self.ends_at <= self.starts_at:
            raise ValueError("`ends_at` is after `starts_at`")
        return self


class WorkerFacts(Body):
    """What is said of a worker; what is left out is nothing."""

    kit: Annotated[list[Carried], Field(max_length=KIT_BITS)] = Field(default_factory=list)
    levels: Annotated[dict[str, Level], Field(max_length=24)] = Field(default_factory=dict)
    """By the code of a service whose skill it is."""
    shifts: Annotated[list[Shift], Field(max_length=SHIFTS_PER_WORKER_MAX)] = Field(default_factory=list)
    """Without any, all hours will do."""
    blocked_customers: Wished = Field(default_factory=list)

    @model_validator(mode="after")
    def _says_each_once(self) -> "WorkerFacts":
        if len({one.code for one in self.kit}) < len(self.kit):
            raise ValueError("an item stands twice in `kit`")
        shifts = sorted((one.starts_at, one.ends_at) for one in self.shifts)
        if any(later[0] < earlier[1] for earlier, later in pairwise(shifts)):
            raise ValueError("`shifts` overlap")
        return self


class CarriedAnswer(Answer):
    """An item of a worker's."""

    code: str
    expires_at: AwareDatetime | None


class ShiftAnswer(Answer):
    """A planned shift."""

    starts_at: AwareDatetime
    ends_at: AwareDatetime


class WorkerFactsAnswer(Answer):
    """What is said of a worker."""

    worker_id: PersonId
    kit: list[CarriedAnswer]
    levels: dict[str, float]
    shifts: list[ShiftAnswer]
    blocked_customers: list[PersonId]


class ServiceNeeds(Body):
    """What a service needs: parts and languages are wishes, the rest rules out."""

    level_wanted: Level = 0
    kit: Codes = Field(default_factory=list)


class ServiceNeedsAnswer(Answer):
    """What a service needs."""

    service_id: UUID
    level_wanted: float
    kit: list[str]


class WorkingTime(Body):
    """Limits of time on duty in minutes; null: none of this kind."""

    daily_min: DayMinutes | None = None
    weekly_min: WeekMinutes | None = None
    rest_min: DayMinutes | None = None


class WorkingTimeAnswer(Answer):
    """Limits of time on duty in minutes."""

    daily_min: int | None
    weekly_min: int | None
    rest_min: int | None


class Wishes(Body):
    """Whom a customer would rather have, or never, of those who came to them; and what they speak."""

    preferred: Wished = Field(default_factory=list)
    blocked: Wished = Field(default_factory=list)
    languages: Codes = Field(default_factory=list)


class WishesAnswer(Answer):
    """What a customer wishes."""

    preferred: list[PersonId]
    blocked: list[PersonId]
    languages: list[str]


async def get_kit(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what the organisation has named."""
    return Reply({"items": await store.read_kit(call.conn, call.principal.org_id)})


async def put_kit(call: Call[Kit, NoQuery]) -> Reply:
    """Name or rename items."""
    org_id = call.principal.org_id
    await store.save_kit(call.conn, org_id, [(one.code, one.kind, one.name) for one in call.body.items])
    await call.note("kit.saved", f"org:{org_id}")
    return Reply({"items": await store.read_kit(call.conn, org_id)})


async def get_worker_facts(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what is said of a worker."""
    return Reply(await store.read_worker(call.conn, PersonId(call.ids["worker_id"]), call.principal.org_id))


async def put_worker_facts(call: Call[WorkerFacts, NoQuery]) -> Reply:
    """Write what is said of a worker, all of it anew."""
    body, worker_id, org_id = call.body, PersonId(call.ids["worker_id"]), call.principal.org_id
    await store.save_worker(
        call.conn,
        worker_id,
        org_id,
        kit=[(one.code, one.expires_at) for one in body.kit],
        levels=body.levels,
        shifts=[(one.starts_at, one.ends_at) for one in body.shifts],
        blocked_customers=body.blocked_customers,
    )
    await call.note("worker.matching_saved", f"worker:{worker_id}")
    return Reply(await store.read_worker(call.conn, worker_id, org_id))


async def get_service_needs(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what a service needs."""
    return Reply(await store.read_service(call.conn, call.ids["service_id"], call.principal.org_id))


async def put_service_needs(call: Call[ServiceNeeds, NoQuery]) -> Reply:
    """Write what a service needs."""
    service_id, org_id = call.ids["service_id"], call.principal.org_id
    await store.save_service(call.conn, service_id, org_id, level_wanted=call.body.level_wanted, kit=call.body.kit)
    await call.note("service.matching_saved", f"service:{service_id}")
    return Reply(await store.read_service(call.conn, service_id, org_id))


async def get_working_time(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the limits of time on duty."""
    return Reply(await store.read_rule(call.conn, call.principal.org_id))


async def put_working_time(call: Call[WorkingTime, NoQuery]) -> Reply:
    """Write the limits of time on duty."""
    body, org_id = call.body, call.principal.org_id
    await store.save_rule(
        call.conn, org_id, daily_min=body.daily_min, weekly_min=body.weekly_min, rest_min=body.rest_min
    )
    await call.note("working_time.saved", f"org:{org_id}")
    return Reply(await store.read_rule(call.conn, org_id))


async def get_wishes(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what I wish."""
    return Reply(await store.read_wishes(call.conn, call.principal.person_id))


async def put_wishes(call: Call[Wishes, NoQuery]) -> Reply:
    """Write what I wish, all of it anew."""
    body, person_id = call.body, call.principal.person_id
    await store.save_wishes(
        call.conn,
        person_id,
        call.principal.org_id,
        preferred=body.preferred,
        blocked=body.blocked,
        languages=body.languages,
    )
    return Reply(await store.read_wishes(call.conn, person_id))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/kit",
        access=DESK,
        handler=get_kit,
        summary="What workers may show, carry, drive and speak",
        uses=Uses.CONNECTION,
        answer=KitAnswer,
    ),
    Route(
        method="PUT",
        path="/v1/kit",
        access=ADMIN,
        handler=put_kit,
        summary="Name certificates, tools, parts, vehicles and languages",
        uses=Uses.TRANSACTION,
        body=Kit,
        answer=KitAnswer,
        errors=(InvalidInput,),
    ),
    Route(
        method="GET",
        path="/v1/workers/{worker_id}/matching",
        access=DESK,
        handler=get_worker_facts,
        summary="A worker's kit, levels, shifts and blocked customers",
        uses=Uses.CONNECTION,
        answer=WorkerFactsAnswer,
        errors=(NotFound,),
    ),
    Route(
        method="PUT",
        path="/v1/workers/{worker_id}/matching",
        access=DESK,
        handler=put_worker_facts,
        summary="Say a worker's kit, levels, shifts and blocked customers",
        uses=Uses.TRANSACTION,
        body=WorkerFacts,
        answer=WorkerFactsAnswer,
        errors=(InvalidInput, NotFound),
    ),
    Route(
        method="GET",
        path="/v1/services/{service_id}/matching",
        access=DESK,
        handler=get_service_needs,
        summary="What a service needs of a worker",
        uses=Uses.CONNECTION,
        answer=ServiceNeedsAnswer,
        errors=(NotFound,),
    ),
    Route(
        method="PUT",
        path="/v1/services/{service_id}/matching",
        access=ADMIN,
        handler=put_service_needs,
        summary="Say what a service needs of a worker",
        uses=Uses.TRANSACTION,
        body=ServiceNeeds,
        answer=ServiceNeedsAnswer,
        errors=(InvalidInput, NotFound),
    ),
    Route(
        method="GET",
        path="/v1/working-time",
        access=DESK,
        handler=get_working_time,
        summary="The limits of time on duty",
        uses=Uses.CONNECTION,
        answer=WorkingTimeAnswer,
    ),
    Route(
        method="PUT",
        path="/v1/working-time",
        access=ADMIN,
        handler=put_working_time,
        summary="Say the limits of time on duty",
        uses=Uses.TRANSACTION,
        body=WorkingTime,
        answer=WorkingTimeAnswer,
        errors=(InvalidInput,),
    ),
    Route(
        method="GET",
        path="/v1/me/wishes",
        access=CUSTOMER,
        handler=get_wishes,
        summary="Whom I would rather have, or never, and what I speak",
        uses=Uses.CONNECTION,
        answer=WishesAnswer,
    ),
    Route(
        method="PUT",
        path="/v1/me/wishes",
        access=CUSTOMER,
        handler=put_wishes,
        summary="Say whom I would rather have, or never, and what I speak",
        uses=Uses.TRANSACTION,
        body=Wishes,
        answer=WishesAnswer,
        errors=(InvalidInput,),
    ),
)

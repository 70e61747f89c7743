"""Crews and resources: what an organisation has beside its people, and what a service takes of both."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, model_validator

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.matching import Code
from api_rest.route import ADMIN, DESK, AnyRoute, Route, Uses
from api_rest.schemas import Answer, Line
from config.limits import CREW_WORKERS_MAX, RESOURCE_UNITS_MAX, RESOURCES_MAX, SERVICE_RESOURCES_MAX
from engine.booking import service_needs as store
from engine.core.errors import InvalidInput, NotFound

Kind = Literal["bay", "tool", "vehicle", "other"]
Units = Annotated[int, Field(ge=1, le=RESOURCE_UNITS_MAX)]


class Resource(Body):
    """Something that jobs share. Its kind never changes; a capacity of 0 takes it out of use."""

    code: Code
    kind: Kind
    name: Annotated[str, Field(min_length=1, max_length=100)]
    capacity: Annotated[int, Field(ge=0, le=RESOURCE_UNITS_MAX)]


class Resources(Body):
    """Resources to name or to change."""

    items: Annotated[list[Resource], Field(min_length=1, max_length=RESOURCES_MAX)]


class ResourceAnswer(Answer):
    """A resource, and how many of its units jobs have now."""

    code: str
    kind: Kind
    name: str
    capacity: int
    in_use: int


class ResourcesAnswer(Answer):
    """Everything that the organisation has named."""

    items: list[ResourceAnswer]


class FurtherSeat(Body):
    """A seat beside the first. Its worker has what `service_code` asks of one."""

    role: Annotated[Line, Field(max_length=40)]
    service_code: Line


class UnitsOf(Body):
    """Units of a resource that a job takes from its search to its end."""

    code: Code
    units: Units = 1


class ServiceCrew(Body):
    """What a service takes beside its own worker; what is left out is nothing."""

    seats: Annotated[list[FurtherSeat], Field(max_length=CREW_WORKERS_MAX - 1)] = Field(default_factory=list)
    resources: Annotated[list[UnitsOf], Field(max_length=SERVICE_RESOURCES_MAX)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_each_once(self) -> "ServiceCrew":
        if len({one.code for one in self.resources}) < len(self.resources):
            raise ValueError("a resource stands twice in `resources`")
        return self


class FurtherSeatAnswer(Answer):
    """A seat beside the first."""

    role: str
    service_code: str


class UnitsOfAnswer(Answer):
    """Units of a resource."""

    code: str
    units: int


class ServiceCrewAnswer(Answer):
    """What a service takes beside its own worker."""

    service_id: UUID
    seats: list[FurtherSeatAnswer]
    resources: list[UnitsOfAnswer]


async def get_resources(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what the organisation has."""
    return Reply({"items": await store.read_resources(call.conn, call.principal.org_id)})


async def put_resources(call: Call[Resources, NoQuery]) -> Reply:
    """Name or change resources."""
    org_id = call.principal.org_id
    items = [(one.code, one.kind, one.name, one.capacity) for one in call.body.items]
    await store.save_resources(call.conn, org_id, items)
    await call.note("resources.saved", f"org:{org_id}")
    return Reply({"items": await store.read_resources(call.conn, org_id)})


async def get_crew(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the further seats and the resources of a service."""
    return Reply(await store.read_needs(call.conn, call.ids["service_id"], call.principal.org_id))


async def put_crew(call: Call[ServiceCrew, NoQuery]) -> Reply:
    """Write the further seats and the resources of a service."""
    service_id, org_id = call.ids["service_id"], call.principal.org_id
    await store.save_needs(
        call.conn,
        service_id,
        org_id,
        seats=[(one.role, one.service_code) for one in call.body.seats],
        resources=[(one.code, one.units) for one in call.body.resources],
    )
    await call.note("service.crew_saved", f"service:{service_id}")
    return Reply(await store.read_needs(call.conn, service_id, org_id))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/resources",
        access=DESK,
        handler=get_resources,
        summary="Bays, tools and vehicles that jobs share",
        uses=Uses.CONNECTION,
        answer=ResourcesAnswer,
    ),
    Route(
        method="PUT",
        path="/v1/resources",
        access=ADMIN,
        handler=put_resources,
        summary="Name bays, tools and vehicles that jobs share",
        uses=Uses.TRANSACTION,
        body=Resources,
        answer=ResourcesAnswer,
        errors=(InvalidInput,),
    ),
    Route(
        method="GET",
        path="/v1/services/{service_id}/crew",
        access=DESK,
        handler=get_crew,
        summary="The further seats and the resources of a service",
        uses=Uses.CONNECTION,
        answer=ServiceCrewAnswer,
        errors=(NotFound,),
    ),
    Route(
        method="PUT",
        path="/v1/services/{service_id}/crew",
        access=ADMIN,
        handler=put_crew,
        summary="Say the further seats and the resources of a service",
        uses=Uses.TRANSACTION,
        body=ServiceCrew,
        answer=ServiceCrewAnswer,
        errors=(InvalidInput, NotFound),
    ),
)

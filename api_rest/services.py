"""The services that can be booked."""

from typing import Final
from uuid import UUID

from api_rest.context import Call, NoBody, NoQuery, Reply
from api_rest.route import ALL_ROLES, AnyRoute, Route, Uses
from api_rest.schemas import Answer

SERVICES_OF_ORG: Final = """
SELECT service_id, code, name, duration_min, price_minor, currency
  FROM service
 WHERE org_id = $1
 ORDER BY skill_bit, code
"""


class Service(Answer):
    """Something that can be booked; the price in minor units."""

    service_id: UUID
    code: str
    name: str
    duration_min: int
    price_minor: int
    currency: str


class ServiceList(Answer):
    """Every service of the organisation."""

    items: list[Service]


async def list_services(call: Call[NoBody, NoQuery]) -> Reply:
    """Return what the organisation offers."""
    rows = await call.conn.fetch(SERVICES_OF_ORG, call.principal.org_id)
    return Reply({"items": [dict(row) for row in rows]})


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/services",
        access=ALL_ROLES,
        handler=list_services,
        summary="What can be booked",
        uses=Uses.CONNECTION,
        answer=ServiceList,
    ),
)

"""How true the told travel times are: how often an organisation's arrivals fell into the interval."""

from pydantic import AwareDatetime

from api_rest.context import Call, NoBody, NoQuery, Reply
from api_rest.route import DESK, AnyRoute, Route, Uses
from api_rest.schemas import Answer
from engine.eta.calibration_store import read_calibration


class Arrivals(Answer):
    """How many trips ended sooner than the interval, inside it and later."""

    trips: int
    early: int
    inside: int
    late: int
    coverage: float | None
    """Share inside, 0 to 1; null: no trips."""


class HourArrivals(Arrivals):
    """Those of a local hour of the day, in which they began."""

    hour: int


class AreaArrivals(Arrivals):
    """Those of an area, in which they ended."""

    cell: str
    """H3, resolution 7."""


class ArrivalStatistics(Arrivals):
    """The finished trips of the last days, each held against what the present source would have told."""

    at: AwareDatetime | None
    """When they were looked up; null: not yet, or there were none."""
    since: AwareDatetime | None
    """When the first of them began."""
    promised: float
    """Share that is to be inside."""
    median_error: float | None
    """Median of |told - real| / real."""
    tz: str
    """Whose hours these are."""
    by_hour: list[HourArrivals]
    by_area: list[AreaArrivals]


async def get_statistics(call: Call[NoBody, NoQuery]) -> Reply:
    """Return how true the travel times of the organisation's own trips were."""
    services = call.services
    return Reply(await read_calibration(services.redis, call.principal.org_id, tz=services.settings.eta_time_zone))


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/travel-times/statistics",
        access=DESK,
        handler=get_statistics,
        summary="How often arrivals fell into the interval that is told",
        uses=Uses.STANDING,
        answer=ArrivalStatistics,
    ),
)

"""Why the matcher asked whom: each decision about a booking in full, for the desk. Every look is recorded."""

from typing import Any

from pydantic import AwareDatetime

from api_rest.context import Call, NoBody, NoQuery, Reply
from api_rest.route import DESK, AnyRoute, Route, Uses
from api_rest.schemas import Answer
from config.limits import WHY_SHOWN_MAX
from engine.core.errors import NotFound
from engine.core.ids import BookingId, PersonId
from engine.matcher.why import RecordState
from engine.matcher.why_reading import read_why


class Weighed(Answer):
    """A worker who was weighed. Costs and terms are minutes; `terms` add up to `cost_min`."""

    worker_id: PersonId
    slot: int | None
    name: str | None
    answer: str | None
    """State of the offer that they got by this decision; null: they were not asked."""
    distance_m: int | None
    """Straight line to the pin; null: no place was known."""
    terms: dict[str, float]
    needed: str | None
    """What would have had to be different; null for the first."""


class RankedWorker(Weighed):
    """One who could go, cheapest first."""

    place: int
    cost_min: float
    more_min: float
    """What they cost more than the first."""
    eta_s: int
    eta_by: str
    against_first: dict[str, float]
    """By which terms, the largest first."""


class NearLoser(Weighed):
    """One whom a rule excluded, and who would have been among the cheapest without."""

    rules: list[str]
    cost_min: float | None
    """Without the rules, by the straight line."""
    eta_s: int | None
    place_without_rules: int | None


class PolicyInForce(Answer):
    """The cost policy by which it was decided."""

    label: str | None
    hash: str | None
    """SHA-256 of the whole policy; null: no record of it."""
    weights: dict[str, float] | None
    """Those that counted for this booking."""


class Why(Answer):
    """One decision."""

    dispatch_id: int
    at: AwareDatetime
    outcome: str
    took_us: int
    reason: str | None
    searched_m: int | None
    asks_again: bool
    risk: dict[str, Any] | None
    rematch: dict[str, Any] | None
    """Why somebody else was looked for while a worker was on the way; null: nobody had the job."""
    policy: PolicyInForce
    record: RecordState
    looked_at: int | None
    ruled_out: dict[str, int]
    plan: dict[str, Any] | None
    ranked: list[RankedWorker]
    near_losers: list[NearLoser]
    also_listed: int
    """Workers who could have gone and ranked below those shown."""


class WhyList(Answer):
    """The newest decisions about a booking, newest first."""

    items: list[Why]


async def get_why(call: Call[NoBody, NoQuery]) -> Reply:
    """Return why this worker, or why nobody, in full."""
    items = await read_why(
        call.conn,
        BookingId(call.ids["booking_id"]),
        org_id=call.principal.org_id,
        actor_id=call.principal.person_id,
        limit=WHY_SHOWN_MAX,
        now_ms=call.now_ms,
    )
    return Reply({"items": items})


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/bookings/{booking_id}/why",
        access=DESK,
        handler=get_why,
        summary="Why this worker: who was weighed, what each cost, which rule excluded whom; every look is recorded",
        uses=Uses.TRANSACTION,
        answer=WhyList,
        errors=(NotFound,),
    ),
)

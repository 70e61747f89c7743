"""The desk's word over who goes: assign, pin, let go; hand a job back; and who was asked."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

import structlog
from pydantic import AwareDatetime, Field
from redis.exceptions import RedisError

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import DESK, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, BookingAnswer, Text
from engine.core.errors import Conflict, NotFound
from engine.core.ids import BookingId, OfferId, PersonId
from engine.core.units import DEG_E7
from engine.core.vocabulary import MatchingRule, MatchingWarning, OfferState, Role, Withdrawal
from engine.geo.cell_index import CellIndex
from engine.matcher import desk_assignment
from engine.matcher.desk_assignment import Wish
from engine.matcher.hand_back import hand_back
from engine.matcher.rule_store import Place
from engine.matcher.wants_store import Areas
from engine.wiring import open_fix_clock

log = structlog.get_logger(__name__)

PIN_OF_BOOKING: Final = """
SELECT a.lat, a.lng FROM booking b JOIN address a USING (address_id) WHERE b.booking_id = $1 AND b.org_id = $2
"""
WAY_ENDS: Final = """
SELECT w.slot, a.lat, a.lng
  FROM booking b
  JOIN address a USING (address_id)
  JOIN person p ON p.org_id = b.org_id
  JOIN worker w ON w.worker_id = p.person_id
 WHERE b.booking_id = $1 AND b.org_id = $2 AND w.worker_id = $3
"""
Version = Annotated[int, Field(ge=1)]


class Assign(Body):
    """To whom, from which version, and why."""

    worker_id: PersonId
    version: Version | None = None
    reason: Text = ""


class PinWorker(Body):
    """To whom."""

    worker_id: PersonId


class HandBack(Body):
    """From which version, and why; it enters no score."""

    version: Version | None = None
    reason: Text = ""


class SearchAgain(Body):
    """From which version, and why."""

    version: Version | None = None
    reason: Text = ""


class Assigned(Answer):
    """The booking, and what speaks against its worker."""

    booking: BookingAnswer
    warnings: list[MatchingWarning]


class Pinned(Answer):
    """Who is pinned, and what speaks against them; a rule among it is looked at again when they are asked."""

    pinned_worker_id: PersonId
    warnings: list[MatchingRule | MatchingWarning]


class PastOfferAnswer(Answer):
    """An offer and how it ended."""

    offer_id: OfferId
    worker_id: PersonId
    state: OfferState
    reason: Withdrawal | None
    round: int
    eta_s: int
    sent_at: AwareDatetime
    expires_at: AwareDatetime
    ended_at: AwareDatetime | None


class AskedFor(Answer):
    """Who is pinned to a booking, how often a worker dropped out, and who was asked, oldest first."""

    pinned_worker_id: PersonId | None
    hand_backs: int
    items: list[PastOfferAnswer]


@dataclass(frozen=True, slots=True)
class Way:
    """Where a worker is, and how long they need from there; `None`: nobody knows."""

    place: Place | None = None
    eta_s: int | None = None


async def assign(call: Call[Assign, NoQuery]) -> Reply:
    """Give a booking to a worker; hard rules refuse, the rest is told."""
    booking, warnings = await desk_assignment.assign(
        call.conn,
        await _wish(call, call.body.worker_id),
        actor=call.principal,
        reason=call.body.reason,
        expected_version=call.body.version,
        now_ms=call.now_ms,
    )
    return Reply({"booking": booking, "warnings": warnings})


async def pin(call: Call[PinWorker, NoQuery]) -> Reply:
    """Let the matcher ask one worker alone."""
    worker_id = call.body.worker_id
    wish = await _wish(call, worker_id)
    warnings = await desk_assignment.pin(call.conn, wish, actor=call.principal, now_ms=call.now_ms)
    return Reply({"pinned_worker_id": worker_id, "warnings": warnings})


async def unpin(call: Call[NoBody, NoQuery]) -> Reply:
    """Let the matcher choose."""
    await desk_assignment.unpin(call.conn, _booking_id(call), actor=call.principal, now_ms=call.now_ms)
    return Reply()


async def give_back(call: Call[HandBack, NoQuery]) -> Reply:
    """Take a job from its worker; it searches at once and never asks them again."""
    booking = await hand_back(
        call.conn,
        booking_id=_booking_id(call),
        actor=call.principal,
        reason=call.body.reason,
        expected_version=call.body.version,
        now_ms=call.now_ms,
    )
    return Reply(booking)


async def search_again(call: Call[SearchAgain, NoQuery]) -> Reply:
    """Search for a booking that was given up as for a new one."""
    booking = await desk_assignment.search_again(
        call.conn,
        _booking_id(call),
        actor=call.principal,
        reason=call.body.reason,
        expected_version=call.body.version,
        now_ms=call.now_ms,
    )
    return Reply(booking)


async def list_asked(call: Call[NoBody, NoQuery]) -> Reply:
    """Return who was asked and how it ended."""
    return Reply(await desk_assignment.asked_for(call.conn, _booking_id(call), actor=call.principal))


async def _way(call: Call[Any, Any]) -> Way:
    """Look up where the worker is, and ask how long they need; a stranger is nowhere, and refused by who locks them."""
    async with call.services.lend() as conn:
        ends = await conn.fetchrow(WAY_ENDS, _booking_id(call), call.principal.org_id, call.body.worker_id)
    if ends is None:
        return Way()
    place = await _place(call, ends["slot"])
    if place is None:
        return Way()
    start, goal = (place.lat_deg, place.lng_deg), (ends["lat"], ends["lng"])
    eta = await call.services.arrivals.of(start, goal)
    return Way(place, eta.eta_s)


async def _wish(call: Call[Any, Any], worker_id: PersonId) -> Wish:
    """Read what lies outside of the pair's rows, before anything is locked."""
    way, org_id = call.ahead, call.principal.org_id
    assert isinstance(way, Way), "the route has looked ahead"
    pin_of_booking = await call.conn.fetchrow(PIN_OF_BOOKING, _booking_id(call), org_id)
    if pin_of_booking is None:
        raise NotFound
    areas = Areas()
    await areas.refresh(call.conn)
    return Wish(
        booking_id=_booking_id(call),
        worker_id=worker_id,
        place=way.place,
        is_in_area=areas.has(org_id, pin_of_booking["lat"], pin_of_booking["lng"]),
        eta_s=way.eta_s,
    )


async def _place(call: Call[Any, Any], slot: int) -> Place | None:
    try:
        (record,) = await CellIndex(call.services.redis).records([slot])
    except (RedisError, OSError) as error:
        # The desk can give out jobs without Redis: it is told that nobody knows where the worker is.
        log.warning("assignment.place_unknown", error=type(error).__name__)
        return None
    if not record["cell"]:
        return None
    settings = call.services.settings
    now_ms = call.now_ms if settings.fix_clock_scale == 1 else open_fix_clock(settings).now_ms()
    return Place(float(record["lat_e7"] / DEG_E7), float(record["lng_e7"] / DEG_E7), now_ms - int(record["ts_ms"]))


def _booking_id(call: Call[Any, Any]) -> BookingId:
    return BookingId(call.ids["booking_id"])


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/bookings/{booking_id}/assign",
        access=DESK,
        handler=assign,
        summary="Give a booking to a worker without asking them",
        uses=Uses.TRANSACTION,
        body=Assign,
        answer=Assigned,
        key=Key.ACCEPTED,
        errors=(NotFound, Conflict),
        ahead=_way,
    ),
    Route(
        method="PUT",
        path="/v1/bookings/{booking_id}/pin",
        access=DESK,
        handler=pin,
        summary="Ask one worker and nobody else, or keep the job with them",
        uses=Uses.TRANSACTION,
        body=PinWorker,
        answer=Pinned,
        errors=(NotFound, Conflict),
        ahead=_way,
    ),
    Route(
        method="DELETE",
        path="/v1/bookings/{booking_id}/pin",
        access=DESK,
        handler=unpin,
        summary="Let the matcher choose again",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/bookings/{booking_id}/hand-back",
        access=DESK | {Role.WORKER},
        handler=give_back,
        summary="A worker drops out: search again at once",
        uses=Uses.TRANSACTION,
        body=HandBack,
        answer=BookingAnswer,
        key=Key.ACCEPTED,
        errors=(NotFound, Conflict),
    ),
    Route(
        method="POST",
        path="/v1/bookings/{booking_id}/search-again",
        access=DESK,
        handler=search_again,
        summary="Search again for a booking that was given up",
        uses=Uses.TRANSACTION,
        body=SearchAgain,
        answer=BookingAnswer,
        key=Key.ACCEPTED,
        errors=(NotFound, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/bookings/{booking_id}/offers",
        access=DESK,
        handler=list_asked,
        summary="Who was asked, and how it ended",
        uses=Uses.CONNECTION,
        answer=AskedFor,
        errors=(NotFound,),
    ),
)

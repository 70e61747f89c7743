"""Bookings: make one, see one's own, move one along its life cycle, and why the engine chose whom."""

from functools import partial
from typing import Annotated, Any, Final, Literal
from uuid import uuid4

import orjson
from pydantic import AwareDatetime, Field, model_validator

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.cursors import decode_moment, encode_moment
from api_rest.route import ALL_ROLES, CUSTOMER, DESK, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, BookingAnswer, BookingPage, Line, OptionalLine, PageQuery, Pin, Text
from config.limits import DECISIONS_SHOWN_MAX
from engine.booking.booking_store import NewBooking, create_booking, transition
from engine.booking.views import Position, booking_of, list_bookings
from engine.core.errors import Conflict, InvalidInput, NotFound
from engine.core.ids import BookingId, PersonId
from engine.core.units import rfc3339
from engine.core.vocabulary import BookingState
from engine.matcher.cancelling import cancel

DECISIONS: Final = """
SELECT d.dispatch_id, d.worker_id, d.outcome, d.detail::text AS detail, d.took_us, d.at
  FROM dispatch_log d
 WHERE d.booking_id = $1 AND d.org_id = $2
 ORDER BY d.at, d.dispatch_id
 LIMIT $3
"""

BOOKING_IN_ORG: Final = "SELECT true FROM booking WHERE booking_id = $1 AND org_id = $2"


class NewAddress(Body):
    """The door."""

    line: Line
    floor: OptionalLine = ""
    entry_notes: Text = ""


class CreateBooking(Body):
    """What a customer asks for."""

    service_code: Line
    pin: Pin
    address: NewAddress
    notes: Text = ""

    @model_validator(mode="after")
    def _pin_is_set(self) -> "CreateBooking":
        if self.pin.lat == 0 and self.pin.lng == 0:
            raise ValueError("the pin is not set: 0/0 is in the sea")
        return self


class MoveBooking(Body):
    """Where to, from which version, and why."""

    # Strict, but JSON knows only text: the literal values are the enum's.
    to: Literal["en_route", "arrived", "in_progress", "completed", "confirmed", "cancelled"]
    version: Annotated[int, Field(ge=1)] | None = None
    reason: Text = ""


class BookingsQuery(PageQuery):
    """Which bookings."""

    state: BookingState | None = None


class Decision(Answer):
    """One decision of the matcher: ranked candidates with every term of their cost, and who was ruled out and why."""

    dispatch_id: int
    worker_id: PersonId | None
    outcome: str
    detail: dict[str, Any]
    took_us: int
    at: AwareDatetime


class DecisionList(Answer):
    """Every decision about a booking, oldest first."""

    items: list[Decision]


async def create(call: Call[CreateBooking, NoQuery]) -> Reply:
    """Make a booking; the search begins at once."""
    asked = call.body
    booking = NewBooking(
        booking_id=BookingId(uuid4()),
        address_id=uuid4(),
        service_code=asked.service_code,
        lat_deg=asked.pin.lat,
        lng_deg=asked.pin.lng,
        line=asked.address.line,
        floor=asked.address.floor,
        entry_notes=asked.address.entry_notes,
        notes=asked.notes,
    )
    return Reply(await create_booking(call.conn, customer=call.principal, booking=booking, now_ms=call.now_ms))


async def list_own(call: Call[NoBody, BookingsQuery]) -> Reply:
    """Return a page of the bookings that the person may see."""
    cursor = call.query.cursor
    items, following = await list_bookings(
        call.conn,
        principal=call.principal,
        state=call.query.state,
        after=None if cursor is None else Position(*decode_moment(cursor)),
        limit=call.query.limit,
    )
    next_cursor = None if following is None else encode_moment(following.created_at, following.booking_id)
    return Reply({"items": items, "next_cursor": next_cursor})


async def get_one(call: Call[NoBody, NoQuery]) -> Reply:
    """Return one booking with its history."""
    return Reply(await booking_of(call.conn, booking_id=_booking_id(call), principal=call.principal))


async def move(call: Call[MoveBooking, NoQuery]) -> Reply:
    """Move a booking; a cancelled one takes its open offers back in the same transaction."""
    to = BookingState(call.body.to)
    deed = cancel if to is BookingState.CANCELLED else partial(transition, to=to)
    view = await deed(
        call.conn,
        booking_id=_booking_id(call),
        actor=call.principal,
        reason=call.body.reason,
        now_ms=call.now_ms,
        expected_version=call.body.version,
    )
    return Reply(view)


async def get_dispatch(call: Call[NoBody, NoQuery]) -> Reply:
    """Return why this worker, or why nobody."""
    org_id = call.principal.org_id
    if not await call.conn.fetchval(BOOKING_IN_ORG, _booking_id(call), org_id):
        raise NotFound
    rows = await call.conn.fetch(DECISIONS, _booking_id(call), org_id, DECISIONS_SHOWN_MAX)
    return Reply(
        {
            "items": [
                {
                    "dispatch_id": row["dispatch_id"],
                    "worker_id": row["worker_id"],
                    "outcome": row["outcome"],
                    "detail": orjson.loads(row["detail"]),
                    "took_us": row["took_us"],
                    "at": rfc3339(row["at"]),
                }
                for row in rows
            ]
        }
    )


def _booking_id(call: Call[Any, Any]) -> BookingId:
    return BookingId(call.ids["booking_id"])


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/bookings",
        access=CUSTOMER,
        handler=create,
        summary="Book a service at a door",
        uses=Uses.TRANSACTION,
        body=CreateBooking,
        answer=BookingAnswer,
        status=201,
        key=Key.REQUIRED,
        errors=(InvalidInput, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/bookings",
        access=ALL_ROLES,
        handler=list_own,
        summary="My bookings; for the desk, the organisation's",
        uses=Uses.CONNECTION,
        query=BookingsQuery,
        answer=BookingPage,
    ),
    Route(
        method="GET",
        path="/v1/bookings/{booking_id}",
        access=ALL_ROLES,
        handler=get_one,
        summary="One booking with its history",
        uses=Uses.CONNECTION,
        answer=BookingAnswer,
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/bookings/{booking_id}/transitions",
        access=ALL_ROLES,
        handler=move,
        summary="Move a booking along its life cycle",
        uses=Uses.TRANSACTION,
        body=MoveBooking,
        answer=BookingAnswer,
        key=Key.ACCEPTED,
        errors=(NotFound, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/bookings/{booking_id}/dispatch",
        access=DESK,
        handler=get_dispatch,
        summary="Why this worker",
        uses=Uses.CONNECTION,
        answer=DecisionList,
        errors=(NotFound,),
    ),
)

"""Offers: the one that is open, yes and no."""

from typing import Any

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import WORKER, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, BookingAnswer, OfferAnswer, Text
from engine.core.errors import Conflict, NotFound
from engine.core.ids import OfferId
from engine.matcher.offer_answers import answer_offer
from engine.matcher.offer_store import current_offer


class Decline(Body):
    """Why not; it enters no score."""

    reason: Text = ""


class CurrentOffer(Answer):
    """The open offer, if there is one."""

    offer: OfferAnswer | None


class Accepted(Answer):
    """The offer and the booking that it won."""

    offer: OfferAnswer
    booking: BookingAnswer


class Declined(Answer):
    """The offer that was declined."""

    offer: OfferAnswer


async def get_current(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the open offer."""
    return Reply({"offer": await current_offer(call.conn, call.principal.person_id)})


async def accept(call: Call[NoBody, NoQuery]) -> Reply:
    """Say yes."""
    offer, booking = await _answer(call, accept=True, reason="")
    return Reply({"offer": offer, "booking": booking})


async def decline(call: Call[Decline, NoQuery]) -> Reply:
    """Say no."""
    offer, _ = await _answer(call, accept=False, reason=call.body.reason)
    return Reply({"offer": offer})


async def _answer(
    call: Call[Any, Any], *, accept: bool, reason: str
) -> tuple[dict[str, object], dict[str, object] | None]:
    return await answer_offer(
        call.conn,
        offer_id=OfferId(call.ids["offer_id"]),
        worker=call.principal,
        accept=accept,
        reason=reason,
        now_ms=call.now_ms,
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/offers/current",
        access=WORKER,
        handler=get_current,
        summary="The offer that rings now",
        uses=Uses.CONNECTION,
        answer=CurrentOffer,
    ),
    Route(
        method="POST",
        path="/v1/offers/{offer_id}/accept",
        access=WORKER,
        handler=accept,
        summary="Accept an offer",
        uses=Uses.TRANSACTION,
        answer=Accepted,
        key=Key.ACCEPTED,
        errors=(NotFound, Conflict),
    ),
    Route(
        method="POST",
        path="/v1/offers/{offer_id}/decline",
        access=WORKER,
        handler=decline,
        summary="Decline an offer",
        uses=Uses.TRANSACTION,
        body=Decline,
        answer=Declined,
        key=Key.ACCEPTED,
        errors=(NotFound, Conflict),
    ),
)

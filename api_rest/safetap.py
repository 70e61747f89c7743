"""The silent alarm's way in for who has the API at hand: forwarded at first sight, as it came."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from api_rest.context import Body, Call, NoQuery, Reply
from api_rest.route import Access, AnyRoute, Route, Uses
from api_rest.schemas import Answer
from engine.core.errors import InvalidInput, NotAllowed, NotSignedIn, Unavailable
from engine.core.ids import BookingId, TriggerId
from engine.core.vocabulary import IncidentKind
from engine.safetap.forwarding import SOURCE_HEADER

FORWARDED_HEADERS = ("Authorization", "Content-Type")


class TriggerFix(Body):
    """Where the phone is, WGS84 degrees."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lng: Annotated[float, Field(ge=-180, le=180)]
    accuracy_m: float | None = None
    ts_ms: int


class Trigger(Body):
    """One press. The device chooses the id and sends the same one until the answer is `committed`."""

    trigger_id: UUID
    kind: Literal[
        IncidentKind.BUTTON,
        IncidentKind.HOLD,
        IncidentKind.GESTURE,
        IncidentKind.DURESS_PIN,
        IncidentKind.DRILL,
    ]
    booking_id: BookingId | None = None
    fix: TriggerFix | None = None


class TriggerAnswer(Answer):
    """Where the trigger is: 200 `committed`, 202 `spooled` on a disk, 202 `received` where nothing vouches for it."""

    trigger_id: TriggerId
    state: str


async def trigger(call: Call[Any, NoQuery]) -> Reply:
    """Hand the trigger on untouched: SafeTap knows better than we what counts, an expired token included."""
    headers = {name: call.request.headers[name] for name in FORWARDED_HEADERS if name in call.request.headers}
    headers[SOURCE_HEADER] = call.request.remote or ""
    answer = await call.services.safetap.forward(call.raw, headers=headers)
    return Reply(answer.body, status=answer.status)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/safetap",
        access=Access.AT_THE_DOOR,
        handler=trigger,
        summary="The silent alarm; an expired token is still accepted",
        uses=Uses.NOTHING,
        body=Trigger,
        answer=TriggerAnswer,
        other_statuses=(202,),
        errors=(NotSignedIn, NotAllowed, InvalidInput, Unavailable),
    ),
)

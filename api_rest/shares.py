"""Following one trip by a link, without an account: made and ended by its customer or worker, gone with the trip."""

from enum import StrEnum
from html import escape
from typing import Annotated, Any, Final
from uuid import uuid4
from zoneinfo import ZoneInfo

import asyncpg
from pydantic import AwareDatetime, Field

from api_rest.context import Body, Call, NoBody, NoQuery, Query, Reply
from api_rest.route import PROTECTED, Access, AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer
from config.limits import SHARE_MINUTES_DEFAULT, SHARE_MINUTES_MAX, SHARE_MINUTES_MIN
from engine.core.errors import Conflict, InvalidInput, NotFound
from engine.core.ids import BookingId
from engine.core.units import ms_from_utc, rfc3339, utc_from_ms
from engine.core.vocabulary import BookingState
from engine.eta.straight_line import Eta
from engine.people.trip_share import end_shares, read_shared, share_trip

HTML: Final = "text/html"
REFRESH_S: Final = 15
SENTENCES: Final = {
    BookingState.ASSIGNED: "{} has the job and has not set off yet.",
    BookingState.EN_ROUTE: "{} is on the way.",
    BookingState.ARRIVED: "{} is there.",
    BookingState.IN_PROGRESS: "{} is at work.",
}


class ShareFormat(StrEnum):
    """How a trip is shown."""

    JSON = "json"
    HTML = "html"


class Share(Body):
    """For how long, at most: it ends with the trip anyway."""

    minutes: Annotated[int, Field(ge=SHARE_MINUTES_MIN, le=SHARE_MINUTES_MAX)] = SHARE_MINUTES_DEFAULT


class ShareAnswer(Answer):
    """The link is told this once."""

    url: str
    expires_at: AwareDatetime


class SharedQuery(Query):
    """Whose trip, by the link's secret."""

    token: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
    form: Annotated[ShareFormat, Field(alias="format")] = ShareFormat.JSON


class SharedPosition(Answer):
    """Where the worker is, on the way or there, and how long they need by the installation's travel times."""

    lat: float
    lng: float
    ts_ms: int
    eta_s: int
    eta_low_s: int
    eta_high_s: int


class Shared(Answer):
    """What whoever has the link sees. The door is not in it."""

    state: BookingState
    service_name: str
    worker_name: str
    """The first name alone."""
    position: SharedPosition | None
    tz: str
    expires_at: AwareDatetime


async def post_share(call: Call[Share, NoQuery]) -> Reply:
    """Make a link."""
    link = await share_trip(
        call.conn,
        booking_id=BookingId(call.ids["booking_id"]),
        actor=call.principal,
        share_id=uuid4(),
        minutes=call.body.minutes,
        now_ms=call.now_ms,
    )
    # Behind the hash it is in no log of a server, and in no page's address that another is told.
    url = f"{call.services.settings.api_url.rstrip('/')}/trip/#{link.token}"
    return Reply({"url": url, "expires_at": rfc3339(link.expires_at)})


async def delete_shares(call: Call[NoBody, NoQuery]) -> Reply:
    """End one's own links to a trip."""
    await end_shares(call.conn, booking_id=BookingId(call.ids["booking_id"]), actor=call.principal)
    return Reply()


async def get_shared(call: Call[NoBody, SharedQuery]) -> Reply:
    """Return the trip of a link."""
    async with call.services.lend() as conn:
        row = await read_shared(conn, call.query.token, now_ms=call.now_ms)
    eta = None
    if row["at"] is not None:
        place, door = (row["lat"], row["lng"]), (row["door_lat"], row["door_lng"])
        eta = await call.services.arrivals.of(place, door)
    shown = _shown(row, eta)
    if call.query.form is ShareFormat.HTML:
        return Reply(_page(shown).encode(), media_type=HTML)
    return Reply(shown)


def _shown(row: asyncpg.Record, eta: Eta | None) -> dict[str, Any]:
    return {
        "state": row["state"],
        "service_name": row["service_name"],
        "worker_name": row["worker_name"].split(" ")[0],
        "position": None if eta is None else _position(row, eta),
        "tz": row["tz"],
        "expires_at": rfc3339(row["expires_at"]),
    }


def _position(row: asyncpg.Record, eta: Eta) -> dict[str, Any]:
    return {
        "lat": row["lat"],
        "lng": row["lng"],
        "ts_ms": ms_from_utc(row["at"]),
        "eta_s": eta.eta_s,
        "eta_low_s": eta.low_s,
        "eta_high_s": eta.high_s,
    }


def _page(shown: dict[str, Any]) -> str:
    """Return a page that needs nothing else and reads itself anew."""
    state, position = BookingState(shown["state"]), shown["position"]
    title = escape(SENTENCES[state].format(shown["worker_name"]))
    lines = [f"<h1>{title}</h1><p>{escape(shown['service_name'])}</p>"]
    if position is not None:
        place = f"{position['lat']:.5f},{position['lng']:.5f}"
        seen = _local(position["ts_ms"], shown["tz"])
        if state is BookingState.EN_ROUTE:
            low, high = position["eta_low_s"] // 60, position["eta_high_s"] // 60 + 1
            lines.append(f"<p>{low} to {high} minutes from where they were at {seen}.</p>")
        lines.append(f'<p><a href="geo:{place}">{place}</a> at {seen}</p>')
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex">'
        '<meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><title>{title}</title></head><body>'
        + "".join(lines)
        + "</body></html>"
    )


def _local(ts_ms: int, tz: str) -> str:
    return f"{utc_from_ms(ts_ms).astimezone(ZoneInfo(tz)):%H:%M:%S}"


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/bookings/{booking_id}/shares",
        access=PROTECTED,
        handler=post_share,
        summary="Make a link by which somebody without an account follows a trip",
        uses=Uses.TRANSACTION,
        body=Share,
        answer=ShareAnswer,
        status=201,
        key=Key.ACCEPTED,
        errors=(NotFound, Conflict, InvalidInput),
    ),
    Route(
        method="DELETE",
        path="/v1/bookings/{booking_id}/shares",
        access=PROTECTED,
        handler=delete_shares,
        summary="End one's own links to a trip",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/v1/shared",
        access=Access.PUBLIC,
        handler=get_shared,
        summary="The trip of a link",
        uses=Uses.NOTHING,
        query=SharedQuery,
        answer=Shared,
        other_media_types=(HTML,),
        errors=(NotFound, InvalidInput),
    ),
)

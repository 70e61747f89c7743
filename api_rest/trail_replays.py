"""A worker's trail for a player: pages in the order of time, thinned to what the player can show."""

import asyncio
from datetime import timedelta
from typing import Annotated

import orjson
from pydantic import AwareDatetime, Field

from api_rest.context import Call, NoBody, Reply
from api_rest.cursors import decode_number, encode_cursor
from api_rest.route import DESK, AnyRoute, Route, Uses
from api_rest.schemas import Answer
from api_rest.trails import PieceQuery, note_read
from config.limits import (
    REPLAY_FIXES_DEFAULT,
    REPLAY_FIXES_MAX,
    REPLAY_STEP_MS_MAX,
    TRAIL_GAP_MS,
)
from engine.core.errors import NotFound
from engine.core.ids import PersonId
from engine.core.units import e7_to_deg, ms_from_utc, rfc3339
from engine.geo.trail_lines import TrailArray
from engine.geo.trail_reading import read_replay


class ReplayQuery(PieceQuery):
    """How finely a piece of a trail is shown, and from where on."""

    step_ms: Annotated[int, Field(ge=1, le=REPLAY_STEP_MS_MAX)] = 1
    """Of each such step of time only the newest fix; 1: every fix."""
    limit: Annotated[int, Field(ge=1, le=REPLAY_FIXES_MAX)] = REPLAY_FIXES_DEFAULT
    cursor: str | None = None


class ReplayFix(Answer):
    """Where the phone was, `t_ms` after the beginning of the piece. What it did not tell is null."""

    t_ms: int
    lat: float
    lng: float
    accuracy_m: float | None
    speed_mps: float | None
    heading_deg: float | None
    is_gap: bool
    """Nobody knows the way from the fix before it."""


class ReplayPage(Answer):
    """A page of a replay, in the order of time."""

    worker_id: PersonId
    begin: AwareDatetime = Field(alias="from")
    end: AwareDatetime = Field(alias="to")
    items: list[ReplayFix]
    next_cursor: str | None


async def get_replay(call: Call[NoBody, ReplayQuery]) -> Reply:
    """Return a page of a replay, and record that it was looked at."""
    query, worker_id, principal = call.query, PersonId(call.ids["worker_id"]), call.principal
    shown_ms = None if query.cursor is None else decode_number(query.cursor)
    start_ms = 0 if shown_ms is None else (shown_ms // query.step_ms + 1) * query.step_ms
    trail = await read_replay(
        call.conn,
        worker_id=worker_id,
        org_id=principal.org_id,
        span=query.span,
        start=query.begin + timedelta(milliseconds=start_ms),
        step_ms=query.step_ms,
        limit=query.limit,
    )
    await note_read(call, worker_id, {"format": "replay", "after_ms": start_ms, "fixes": len(trail)})
    # Some milliseconds for a large page: not on the loop that answers everybody else.
    return Reply(await asyncio.to_thread(_written, trail, query, worker_id, shown_ms))


def _written(trail: TrailArray, query: ReplayQuery, worker_id: PersonId, shown_ms: int | None) -> bytes:
    begin_ms = ms_from_utc(query.begin)
    items = []
    before_ms = None if shown_ms is None else begin_ms + shown_ms
    for at_ms, lat_e7, lng_e7, accuracy_dm, speed_cm_s, heading_ddeg in trail.tolist():
        items.append(
            {
                "t_ms": at_ms - begin_ms,
                "lat": e7_to_deg(lat_e7),
                "lng": e7_to_deg(lng_e7),
                "accuracy_m": None if accuracy_dm < 0 else accuracy_dm / 10,
                "speed_mps": None if speed_cm_s < 0 else speed_cm_s / 100,
                "heading_deg": None if heading_ddeg < 0 else heading_ddeg / 10,
                "is_gap": before_ms is not None and at_ms - before_ms > TRAIL_GAP_MS,
            }
        )
        before_ms = at_ms
    return orjson.dumps(
        {
            "worker_id": str(worker_id),
            "from": rfc3339(query.begin),
            "to": rfc3339(query.end),
            "items": items,
            "next_cursor": encode_cursor(items[-1]["t_ms"]) if len(items) == query.limit else None,
        }
    )


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/workers/{worker_id}/trail/replay",
        access=DESK,
        handler=get_replay,
        summary="Where a worker has been, for a player; every look is recorded",
        uses=Uses.TRANSACTION,
        query=ReplayQuery,
        answer=ReplayPage,
        errors=(NotFound,),
    ),
)

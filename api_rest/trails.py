"""Where a worker has been, for the desk. Every look is recorded: who looked, at whom, which time, and why."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Self, TypeVar

from pydantic import AwareDatetime, Field, model_validator

from api_rest.context import Call, NoBody, Query, Reply
from api_rest.route import DESK, AnyRoute, Route, Uses
from api_rest.schemas import Answer, Line
from api_rest.trail_formats import GEOJSON, GPX, MEDIA_TYPES, TrailFormat, written
from config.limits import TRAIL_GAP_MS, TRAIL_SIMPLIFY_M_MAX, TRAIL_SPAN_MS_MAX
from engine.core.errors import NotFound
from engine.core.ids import PersonId
from engine.core.units import MS_PER_S, rfc3339
from engine.geo.trail_lines import TrailArray, segments, simplified
from engine.geo.trail_reading import Span, read_trail


class PieceQuery(Query):
    """Which piece of a trail, and why somebody wants to see it."""

    begin: Annotated[AwareDatetime, Field(alias="from")]
    end: Annotated[AwareDatetime, Field(alias="to")]
    reason: Line

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if not timedelta(0) < self.end - self.begin <= timedelta(milliseconds=TRAIL_SPAN_MS_MAX):
            raise ValueError(f"`from` is before `to`, by {TRAIL_SPAN_MS_MAX // MS_PER_S} seconds at most")
        return self

    @property
    def span(self) -> Span:
        """The piece."""
        return Span(self.begin, self.end)


class TrailQuery(PieceQuery):
    """How a piece of a trail is written."""

    form: Annotated[TrailFormat, Field(alias="format")] = TrailFormat.JSON
    simplify_m: Annotated[float, Field(ge=0, le=TRAIL_SIMPLIFY_M_MAX)] = 0
    """Metres by which the shown line may differ from the stored one; 0: every fix."""


PieceQueryT = TypeVar("PieceQueryT", bound=PieceQuery)


class TrailFix(Answer):
    """Where the phone was. What it did not tell is null."""

    at: AwareDatetime
    lat: float
    lng: float
    accuracy_m: float | None
    speed_mps: float | None
    heading_deg: float | None


class Trail(Answer):
    """A piece of a worker's trail, in the order of time."""

    worker_id: PersonId
    begin: AwareDatetime = Field(alias="from")
    end: AwareDatetime = Field(alias="to")
    fixes: list[TrailFix]


async def get_trail(call: Call[NoBody, TrailQuery]) -> Reply:
    """Return a piece of a worker's trail, and record that it was looked at."""
    query, worker_id = call.query, PersonId(call.ids["worker_id"])
    trail = await read_trail(call.conn, worker_id=worker_id, org_id=call.principal.org_id, span=query.span)
    await note_read(call, worker_id, {"format": query.form, "fixes": len(trail)})
    # Tens of milliseconds for a long piece: not on the loop that answers everybody else.
    body = await asyncio.to_thread(_written, trail, query, worker_id)
    return Reply(body, media_type=MEDIA_TYPES[query.form])


async def note_read(call: Call[NoBody, PieceQueryT], worker_id: PersonId, detail: Mapping[str, object]) -> None:
    """Record who looked at which piece of whose trail, and why."""
    query = call.query
    span = {"from": rfc3339(query.begin), "to": rfc3339(query.end)}
    await call.note("trail.read", f"worker:{worker_id}", {**span, **detail, "reason": query.reason})


def _written(trail: TrailArray, query: TrailQuery, worker_id: PersonId) -> bytes:
    pieces = [simplified(piece, tolerance_m=query.simplify_m) for piece in segments(trail, gap_ms=TRAIL_GAP_MS)]
    return written(query.form, pieces, worker_id=worker_id, span=query.span)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/workers/{worker_id}/trail",
        access=DESK,
        handler=get_trail,
        summary="Where a worker has been; every look is recorded",
        uses=Uses.TRANSACTION,
        query=TrailQuery,
        answer=Trail,
        other_media_types=(GEOJSON, GPX),
        errors=(NotFound,),
    ),
)

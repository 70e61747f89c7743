"""The organisation's workers, with when each was last heard of."""

from collections.abc import Sequence
from typing import Annotated, Self
from uuid import UUID

import structlog
from pydantic import Field, model_validator
from redis.exceptions import RedisError

from api_rest.context import Call, NoBody, Query, Reply
from api_rest.cursors import decode_number, encode_cursor
from api_rest.route import DESK, AnyRoute, Route, Uses
from api_rest.schemas import Answer, PageQuery
from config.limits import NEARBY_RADIUS_M_MAX, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX
from engine.core.errors import NotFound
from engine.core.ids import BookingId, PersonId
from engine.core.units import DEG_E7
from engine.core.vocabulary import Duty
from engine.geo.cell_index import CellIndex
from engine.geo.nearby import workers_near
from engine.people.people_store import WorkerRow, list_workers, slot_of_worker, workers_of_slots

log = structlog.get_logger(__name__)


class Worker(Answer):
    """A worker as the desk sees them. `last_seen_ms` is absent while nobody knows."""

    worker_id: PersonId
    slot: int
    full_name: str
    skills: list[str]
    rating: float
    duty: Duty
    booking_id: BookingId | None = None
    last_seen_ms: int | None = None


class WorkerPage(Answer):
    """A page of workers by slot."""

    items: list[Worker]
    next_cursor: str | None


class NearbyQuery(Query):
    """Around whom or what: a worker, or a point of WGS84 degrees; and how many at most, the nearest first."""

    worker_id: UUID | None = None
    lat: Annotated[float, Field(ge=-90, le=90)] | None = None
    lng: Annotated[float, Field(ge=-180, le=180)] | None = None
    radius_m: Annotated[float, Field(gt=0, le=NEARBY_RADIUS_M_MAX)] = 1_000
    limit: Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX)] = PAGE_ROWS_DEFAULT

    @model_validator(mode="after")
    def _names_one_place(self) -> Self:
        has_point = self.lat is not None and self.lng is not None
        if has_point == (self.worker_id is not None) or (self.lat is None) != (self.lng is None):
            raise ValueError("either `worker_id`, or `lat` and `lng`")
        return self


class NearWorker(Worker):
    """A worker and how far away."""

    distance_m: int


class NearWorkers(Answer):
    """Workers around a place, nearest first; who is off duty has no place."""

    items: list[NearWorker]


async def list_near(call: Call[NoBody, NearbyQuery]) -> Reply:
    """Return the organisation's workers around a place, or around one of them, who is left out."""
    query, index, org_id = call.query, CellIndex(call.services.redis), call.principal.org_id
    own_slot = None
    if query.worker_id is not None:
        own_slot = await slot_of_worker(call.conn, PersonId(query.worker_id), org_id=org_id)
        (record,) = await index.records([own_slot])
        if not record["cell"]:
            raise NotFound("This worker has no place now.")
        lat, lng = record["lat_e7"] / DEG_E7, record["lng_e7"] / DEG_E7
        await call.note("worker.nearby_read", f"worker:{query.worker_id}")
    else:
        assert query.lat is not None
        assert query.lng is not None
        lat, lng = query.lat, query.lng
        await call.note("worker.nearby_read", f"org:{org_id}")
    near = await workers_near(index, lat, lng, radius_m=query.radius_m)
    slots = near.slots.tolist()
    rows = await workers_of_slots(call.conn, slots, org_id=org_id)
    found = [
        _worker(rows[slot], int(seen_ms)) | {"distance_m": round(distance_m)}
        for slot, distance_m, seen_ms in zip(slots, near.distances_m, near.seen_ms, strict=True)
        if slot in rows and slot != own_slot
    ]
    return Reply({"items": found[: query.limit]})


async def list_all(call: Call[NoBody, PageQuery]) -> Reply:
    """Return a page of the organisation's workers."""
    cursor, limit = call.query.cursor, call.query.limit
    rows = await list_workers(
        call.conn,
        org_id=call.principal.org_id,
        after_slot=-1 if cursor is None else decode_number(cursor),
        limit=limit + 1,
    )
    shown = rows[:limit]
    seen_ms = await _last_seen_ms(CellIndex(call.services.redis), [row.slot for row in shown])
    return Reply(
        {
            "items": [_worker(row, at_ms) for row, at_ms in zip(shown, seen_ms, strict=True)],
            "next_cursor": encode_cursor(shown[-1].slot) if len(rows) > limit else None,
        }
    )


async def _last_seen_ms(index: CellIndex, slots: Sequence[int]) -> list[int]:
    """Return when each was last heard of, 0 where nobody knows: the list is worth showing without Redis, too."""
    try:
        records = await index.records(slots)
    except (RedisError, OSError) as error:
        log.warning("workers.last_seen_unknown", error=type(error).__name__)
        return [0] * len(slots)
    return [int(at_ms) for at_ms in records["ts_ms"]]


def _worker(row: WorkerRow, last_seen_ms: int) -> dict[str, object]:
    worker: dict[str, object] = {
        "worker_id": row.worker_id,
        "slot": row.slot,
        "full_name": row.full_name,
        "skills": row.skills,
        "rating": row.rating,
        "duty": row.duty.value,
    }
    if row.booking_id is not None:
        worker["booking_id"] = row.booking_id
    if last_seen_ms:
        worker["last_seen_ms"] = last_seen_ms
    return worker


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/workers",
        access=DESK,
        handler=list_all,
        summary="The organisation's workers",
        uses=Uses.CONNECTION,
        query=PageQuery,
        answer=WorkerPage,
    ),
    Route(
        method="GET",
        path="/v1/workers/nearby",
        access=DESK,
        handler=list_near,
        summary="Workers around a worker or a point",
        uses=Uses.CONNECTION,
        query=NearbyQuery,
        answer=NearWorkers,
        errors=(NotFound,),
    ),
)

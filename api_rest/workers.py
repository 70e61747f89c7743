"""The organisation's workers, with when each was last heard of."""

from collections.abc import Sequence

import structlog
from redis.exceptions import RedisError

from api_rest.context import Call, NoBody, Reply
from api_rest.cursors import decode_number, encode_cursor
from api_rest.route import DESK, AnyRoute, Route, Uses
from api_rest.schemas import Answer, PageQuery
from engine.core.ids import BookingId, PersonId
from engine.core.vocabulary import Duty
from engine.geo.cell_index import CellIndex
from engine.people.people_store import WorkerRow, list_workers

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
)

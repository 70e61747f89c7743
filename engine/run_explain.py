"""Tells why a booking's workers were asked: `python -m engine.run_explain`, the request as JSON on standard input.

Prints JSON; `clenzy explain` shows it to people. With `replay` each decision is made once more from its record, and
what differs is named. Exit code 1: there is no such booking, or the stores did not answer.
"""

import asyncio
import sys
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict

from config.limits import WHY_SHOWN_MAX
from config.settings import Settings
from engine.core.clock import Clock, SystemClock
from engine.core.database import Connection
from engine.core.errors import ClenzyError, NotFound
from engine.core.ids import BookingId
from engine.matcher import decision as deciding
from engine.matcher.assignment.window import WindowPlan
from engine.matcher.decision_record import DecisionRecord, decode
from engine.matcher.decision_replay import replay, sent_by
from engine.matcher.packed import RecordError
from engine.matcher.plan import Mode, WindowProblem
from engine.matcher.record_store import StoredDecision, org_of, read_decisions, read_window
from engine.matcher.why_reading import read_why, weights_of
from engine.matcher.window_record import decode_window, replay_window
from engine.wiring import open_database


class Request(BaseModel):
    """Which booking, and whether its decisions are made again."""

    model_config = ConfigDict(extra="forbid")

    booking_id: UUID
    replay: bool = False


async def explain(conn: Connection, booking_id: BookingId, *, must_replay: bool, clock: Clock) -> dict[str, object]:
    """Return every decision that is told, newest first, and where asked what differs when it is made again.

    Raises:
        NotFound: there is no such booking.
    """
    org_id = await org_of(conn, booking_id)
    if org_id is None:
        raise NotFound("There is no such booking.")
    async with conn.transaction():
        items = await read_why(
            conn, booking_id, org_id=org_id, actor_id=None, limit=WHY_SHOWN_MAX, now_ms=clock.now_ms()
        )
        stored = await read_decisions(conn, booking_id, org_id=org_id, limit=len(items))
    if must_replay:
        deciding.warm_up()
        for item, decision in zip(items, stored, strict=True):
            item["replay"] = await replayed(conn, decision)
    return {"booking_id": str(booking_id), "items": items}


async def replayed(conn: Connection, stored: StoredDecision) -> dict[str, object]:
    """Return what differs when a stored decision is made again; `problem`: why that cannot be done."""
    if stored.body is None or stored.policy is None:
        return {"problem": "no record: nothing was weighed, or it is past its days", "differs": []}
    try:
        record = decode(stored.body)
        differs = replay(record, weights_of(stored.policy, stored.org_id, record))
        if record.share["mode"] == Mode.WINDOW:
            window = await _window(conn, stored)
            if window is None:
                return {"problem": "the problem of its window is not kept", "differs": differs}
            differs += _window_differs(record, *window)
    except RecordError as error:
        return {"problem": str(error), "differs": []}
    return {"problem": None, "differs": differs}


async def _window(conn: Connection, stored: StoredDecision) -> tuple[WindowProblem, WindowPlan] | None:
    if stored.window_id is None:
        return None
    body = await read_window(conn, stored.window_id, at_ms=stored.at_ms)
    return None if body is None else decode_window(body)


def _window_differs(record: DecisionRecord, problem: WindowProblem, plan: WindowPlan) -> list[str]:
    differs = replay_window(problem, plan)
    return differs if sent_by(record, problem, plan) else [*differs, "window.sent"]


async def _main(settings: Settings, booking_id: BookingId, *, must_replay: bool) -> dict[str, object]:
    pool = await open_database(settings, pool_max=1)
    try:
        async with pool.acquire() as conn:
            return await explain(conn, booking_id, must_replay=must_replay, clock=SystemClock())
    finally:
        await pool.close()


if __name__ == "__main__":
    try:
        request = Request.model_validate_json(sys.stdin.buffer.read())
        wanted = BookingId(request.booking_id)
        found = asyncio.run(_main(Settings(), wanted, must_replay=request.replay))
    except (ClenzyError, OSError, ValueError) as error:
        sys.exit(f"cannot explain: {error}")
    print(orjson.dumps(found).decode())  # noqa: T201 - the answer of a command

"""Hears from live desks whether somebody watches them, and writes it down for the escalators."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import structlog

from config.limits import ARMED_ACTIVE_MS, ARMED_REPORT_MS
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.errors import InvalidInput
from engine.outbox.durable_loop import end_if_cancelled
from engine.people.tokens import Principal
from engine.safetap.armed_desks import arm, armed_desks, disarm, lease_ms
from engine.safetap.incident_store import read_clock

log = structlog.get_logger(__name__)

NOT_ARMED: Final[Mapping[str, object]] = {"is_armed": False, "report_ms": ARMED_REPORT_MS}


async def heard(pool: Pool, desk_id: UUID, principal: Principal, fields: Mapping[str, object]) -> dict[str, object]:
    """Take what a desk says of itself, and return what it is told: whether it counts, and how many do.

    While Postgres is away no desk counts: it could not be known to whoever climbs the ladder.

    Raises:
        InvalidInput: the message is not whole.
    """
    for_ms = _lease_ms(fields)
    try:
        async with pool.acquire() as conn:
            now_ms = await read_clock(conn)
            is_armed = False
            if for_ms > 0:
                is_armed = await arm(
                    conn,
                    desk_id=desk_id,
                    org_id=principal.org_id,
                    person_id=principal.person_id,
                    now_ms=now_ms,
                    for_ms=for_ms,
                )
            if not is_armed:
                await disarm(conn, desk_id=desk_id)
            others = await armed_desks(conn, org_id=principal.org_id, now_ms=now_ms)
    except POSTGRES_ERRORS as error:
        end_if_cancelled()
        log.warning("desk.not_armed", error=repr(error))
        return dict(NOT_ARMED)
    return {"is_armed": is_armed, "report_ms": ARMED_REPORT_MS, "desks_armed": len(others)}


async def left(pool: Pool, desk_id: UUID) -> None:
    """Take note that a desk's socket has ended; while Postgres is away its lease ends by itself."""
    try:
        async with pool.acquire() as conn:
            await disarm(conn, desk_id=desk_id)
    except POSTGRES_ERRORS as error:
        log.warning("desk.leaves_by_lease", error=repr(error))


def _lease_ms(fields: Mapping[str, object]) -> int:
    is_unlocked, active_ms_ago = fields.get("is_sound_unlocked"), fields.get("active_ms_ago")
    if not isinstance(is_unlocked, bool):
        raise InvalidInput("true or false.", field="is_sound_unlocked")
    if not isinstance(active_ms_ago, int) or isinstance(active_ms_ago, bool):
        raise InvalidInput("Milliseconds since the human's last touch.", field="active_ms_ago")
    return lease_ms(is_sound_unlocked=is_unlocked, active_ms_ago=min(max(active_ms_ago, 0), ARMED_ACTIVE_MS))

"""What became of a notice: on its row, in its incident's history, and on the desks.

Shared by who sends it and by what is told about it later.
The order of locks is the incident's, then the notice's. What is known only grows: that it was delivered is not taken
back by a late word that it was not.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from engine.core.database import Connection
from engine.core.ids import IncidentId, NoticeId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Delivery
from engine.safetap.channels.desk import show_at_desk
from engine.safetap.channels.notifier import Receipt
from engine.safetap.incident_store import add_event

RANK: Final = {None: 0, Delivery.UNDELIVERED: 1, Delivery.DELIVERED: 2, Delivery.READ: 3}

INCIDENT_OF: Final = "SELECT incident_id FROM notice WHERE notice_id = $1"

# Before the notice's own row: who closes an incident takes the locks in this order.
LOCK_INCIDENT: Final = "SELECT FROM incident WHERE incident_id = $1 FOR UPDATE"

LOCK_NOTICE: Final = """
SELECT notice_id, incident_id, org_id, target, channel, address, step, loop, attempts, state, delivery
  FROM notice WHERE notice_id = $1 FOR UPDATE
"""

MARK_SENT: Final = """
UPDATE notice SET state = 'sent', sent_at = $2, lease_until = NULL, last_error = NULL,
                  reference = coalesce($3, reference)
 WHERE notice_id = $1 AND state = 'pending'
"""

MARK_FAILED: Final = """
UPDATE notice SET state = 'failed', lease_until = NULL, last_error = $2 WHERE notice_id = $1 AND state = 'pending'
"""

PUT_OFF: Final = """
UPDATE notice SET due_at = $3, lease_until = NULL, last_error = $2 WHERE notice_id = $1 AND state = 'pending'
"""

MARK_DELIVERY: Final = """
UPDATE notice SET delivery = $2, delivery_at = $3, reference = coalesce(reference, $4) WHERE notice_id = $1
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What a provider says of a notice. `delivery` is `None` while it only says that it has it."""

    delivery: Delivery | None
    reference: str | None = None
    detail: str | None = None
    """The provider's own word or error number; never an address."""


async def record_sent(conn: Connection, notice_id: NoticeId, receipt: Receipt, *, now_ms: int) -> bool:
    """Record that a notice was taken; return whether nobody had before. In a transaction."""
    return await record_told(conn, notice_id, Told(receipt.delivery, receipt.reference), now_ms=now_ms)


async def record_failed(conn: Connection, notice_id: NoticeId, error: str, *, now_ms: int) -> bool:
    """Record that a notice will not be tried again; return whether it was still pending. In a transaction."""
    notice = await _lock(conn, notice_id)
    if notice is None or await conn.execute(MARK_FAILED, notice_id, error) == "UPDATE 0":
        return False
    await _tell(conn, notice, "notice_failed", {"error": error}, now_ms=now_ms)
    return True


async def put_off(conn: Connection, notice_id: NoticeId, error: str, *, due_at_ms: int) -> None:
    """Record that a notice was not taken and when it is tried again. In a transaction."""
    if await _lock(conn, notice_id) is not None:
        await conn.execute(PUT_OFF, notice_id, error, utc_from_ms(due_at_ms))


async def record_told(conn: Connection, notice_id: NoticeId, told: Told, *, now_ms: int) -> bool:
    """Record what is known of a notice; return whether it was news. In a transaction.

    A provider that tells of a notice has taken it: should its sender have been killed before it could say so, the
    notice is not sent again.
    """
    notice = await _lock(conn, notice_id)
    if notice is None:
        return False
    is_news = await conn.execute(MARK_SENT, notice_id, utc_from_ms(now_ms), told.reference) != "UPDATE 0"
    if is_news:
        await _tell(conn, notice, "notified", {}, now_ms=now_ms)
    if told.delivery is None or RANK[told.delivery] <= RANK[_delivery(notice)]:
        return is_news
    await conn.execute(MARK_DELIVERY, notice_id, told.delivery.value, utc_from_ms(now_ms), told.reference)
    detail: dict[str, object] = {} if told.detail is None else {"detail": told.detail}
    await _tell(conn, notice, f"notice_{told.delivery.value}", detail, now_ms=now_ms)
    return True


async def _lock(conn: Connection, notice_id: NoticeId) -> asyncpg.Record | None:
    incident_id = await conn.fetchval(INCIDENT_OF, notice_id)
    if incident_id is None:
        return None
    assert isinstance(incident_id, UUID)
    await conn.execute(LOCK_INCIDENT, incident_id)
    notice: asyncpg.Record | None = await conn.fetchrow(LOCK_NOTICE, notice_id)
    return notice


def _delivery(notice: asyncpg.Record) -> Delivery | None:
    return None if notice["delivery"] is None else Delivery(notice["delivery"])


async def _tell(conn: Connection, notice: asyncpg.Record, kind: str, extra: dict[str, object], *, now_ms: int) -> None:
    """Write the incident's event and show its desks that there is something new to read."""
    body = {name: notice[name] for name in ("channel", "target", "step", "loop", "attempts")} | extra
    incident_id = IncidentId(notice["incident_id"])
    text = orjson.dumps(body).decode()
    await add_event(conn, incident_id=incident_id, kind=kind, actor_id=None, body=text, now_ms=now_ms)
    await show_at_desk(conn, [incident_id], now_ms=now_ms)

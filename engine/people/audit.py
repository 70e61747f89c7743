"""The record of what was done to accounts and by whom. Written in the transaction of the act."""

from collections.abc import Mapping
from typing import Final

import orjson

from engine.core.database import Connection
from engine.core.ids import OrgId, PersonId
from engine.core.units import utc_from_ms

ADD_ENTRY: Final = """
INSERT INTO audit_log (org_id, actor_id, action, subject, detail, at) VALUES ($1, $2, $3, $4, $5::text::jsonb, $6)
"""


async def append_audit(
    conn: Connection,
    *,
    org_id: OrgId,
    actor_id: PersonId | None,
    action: str,
    subject: str,
    now_ms: int,
    detail: Mapping[str, object] | None = None,
) -> None:
    """Record that `actor_id` did `action` to `subject` (`noun:id`). `detail` holds no personal data."""
    await conn.execute(
        ADD_ENTRY, org_id, actor_id, action, subject, orjson.dumps(detail or {}).decode(), utc_from_ms(now_ms)
    )

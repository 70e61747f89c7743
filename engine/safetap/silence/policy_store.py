"""The rules of the watch in Postgres: an organisation's, and those of services with rules of their own."""

from typing import Final
from uuid import UUID

import orjson

from engine.core.database import Connection
from engine.core.errors import NotFound
from engine.core.ids import OrgId, PersonId
from engine.core.units import utc_from_ms
from engine.people.audit import append_audit
from engine.safetap.silence.policy import DEFAULT, WatchPolicy, to_json
from engine.safetap.silence.watch_store import read_policy

EVERY: Final = """
SELECT p.service_id, p.body::text AS body, s.name AS service_name, p.version, p.updated_at
  FROM silence_policy p LEFT JOIN service s USING (service_id)
 WHERE p.org_id = $1
 ORDER BY s.name NULLS FIRST, p.service_id
"""
SERVICE_OF_ORG: Final = "SELECT EXISTS (SELECT FROM service WHERE service_id = $1 AND org_id = $2)"
SAVE: Final = """
INSERT INTO silence_policy AS had (policy_id, org_id, service_id, body, version, updated_at)
VALUES ($1, $2, $3, $4::text::jsonb, 1, $5)
ON CONFLICT (org_id, coalesce(service_id, '00000000-0000-0000-0000-000000000000')) DO UPDATE
   SET body = excluded.body, version = had.version + 1, updated_at = excluded.updated_at
"""
DROP: Final = "DELETE FROM silence_policy WHERE org_id = $1 AND service_id IS NOT DISTINCT FROM $2 RETURNING policy_id"
# Looked at anew by the new rules; a question that was asked is still to be answered.
LOOK_AGAIN: Final = """
UPDATE silence_watch SET due_at = $2, fence = fence + 1, lease_until = NULL
 WHERE (booking_id, person_id) IN (SELECT booking_id, person_id FROM silence_watch WHERE org_id = $1
                                    ORDER BY booking_id, person_id FOR UPDATE)
"""


async def read_policies(conn: Connection, org_id: OrgId) -> dict[str, object]:
    """Return the organisation's rules, and those of services that have their own."""
    rows = await conn.fetch(EVERY, org_id)
    of_org = [read_policy(row["body"], org_id) for row in rows if row["service_id"] is None]
    return {
        "policy": to_json(of_org[0] if of_org else DEFAULT),
        "services": [
            {
                "service_id": row["service_id"],
                "service_name": row["service_name"],
                "policy": to_json(read_policy(row["body"], org_id)),
            }
            for row in rows
            if row["service_id"] is not None
        ],
    }


async def save_policy(
    conn: Connection,
    policy: WatchPolicy,
    *,
    policy_id: UUID,
    org_id: OrgId,
    service_id: UUID | None,
    actor_id: PersonId,
    now_ms: int,
) -> None:
    """Write rules; watches under way go by them at once. The caller holds a transaction.

    Raises:
        NotFound: the organisation has no such service.
    """
    if service_id is not None and not await conn.fetchval(SERVICE_OF_ORG, service_id, org_id):
        raise NotFound
    body = orjson.dumps(to_json(policy)).decode()
    await conn.execute(SAVE, policy_id, org_id, service_id, body, utc_from_ms(now_ms))
    await _changed(conn, "silence_policy.saved", org_id, service_id, actor_id, now_ms=now_ms)


async def drop_policy(conn: Connection, *, org_id: OrgId, service_id: UUID, actor_id: PersonId, now_ms: int) -> None:
    """Let a service go by the organisation's rules again.

    Raises:
        NotFound: it has none of its own.
    """
    if await conn.fetchval(DROP, org_id, service_id) is None:
        raise NotFound
    await _changed(conn, "silence_policy.dropped", org_id, service_id, actor_id, now_ms=now_ms)


async def _changed(
    conn: Connection, action: str, org_id: OrgId, service_id: UUID | None, actor_id: PersonId, *, now_ms: int
) -> None:
    await conn.execute(LOOK_AGAIN, org_id, utc_from_ms(now_ms))
    subject = f"org:{org_id}" if service_id is None else f"service:{service_id}"
    await append_audit(conn, org_id=org_id, actor_id=actor_id, action=action, subject=subject, now_ms=now_ms)

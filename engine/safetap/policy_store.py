"""Escalation policies in Postgres. A trigger reads its organisation's within its own statement (`trigger_store`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from engine.core.database import Connection
from engine.core.errors import Conflict, InvalidInput, NotFound
from engine.core.ids import OrgId, PersonId, PolicyId, RegionId
from engine.core.units import utc_from_ms
from engine.people.audit import append_audit
from engine.safetap.policy import default_policy

ADD_POLICY: Final = """
INSERT INTO escalation_policy (policy_id, org_id, region_id, name, body, updated_at)
VALUES ($1, $2, NULL, 'Default', $3::text::jsonb, $4) ON CONFLICT DO NOTHING
"""

COLUMNS: Final = "policy_id, region_id, name, body::text AS body, version, updated_at"

POLICIES: Final = """
SELECT :columns FROM escalation_policy WHERE org_id = $1 ORDER BY region_id NULLS FIRST
""".replace(":columns", COLUMNS)

POLICY_OF_PLACE: Final = """
SELECT :columns FROM escalation_policy
 WHERE org_id = $1 AND (region_id = $2 OR region_id IS NULL)
 ORDER BY region_id NULLS LAST LIMIT 1
""".replace(":columns", COLUMNS)

LOCK_PLACE: Final = """
SELECT policy_id, version FROM escalation_policy WHERE org_id = $1 AND region_id IS NOT DISTINCT FROM $2 FOR UPDATE
"""

SAVE: Final = """
INSERT INTO escalation_policy AS had (policy_id, org_id, region_id, name, body, updated_at)
VALUES ($1, $2, $3, $4, $5::text::jsonb, $6)
ON CONFLICT (org_id, coalesce(region_id, '00000000-0000-0000-0000-000000000000')) DO UPDATE
   SET name = excluded.name, body = excluded.body, version = had.version + 1, updated_at = excluded.updated_at
RETURNING :columns
""".replace(":columns", COLUMNS)

DELETE: Final = "DELETE FROM escalation_policy WHERE policy_id = $1 AND org_id = $2 RETURNING policy_id"

REGION_OF_ORG: Final = "SELECT EXISTS (SELECT FROM region WHERE region_id = $1 AND org_id = $2)"


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy as it was written."""

    policy_id: PolicyId
    region_id: RegionId | None
    """`None`: every region of the organisation without a policy of its own."""
    name: str
    body: dict[str, object]
    version: int
    updated_at: datetime


async def add_default_policy(conn: Connection, *, policy_id: PolicyId, org_id: OrgId, now_ms: int) -> None:
    """Give an organisation the default ladder for all of its regions, unless it has one."""
    body = orjson.dumps(default_policy()).decode()
    await conn.execute(ADD_POLICY, policy_id, org_id, body, utc_from_ms(now_ms))


async def list_policies(conn: Connection, *, org_id: OrgId) -> list[StoredPolicy]:
    """Return an organisation's policies, the one for every region first."""
    return [_policy(row) for row in await conn.fetch(POLICIES, org_id)]


async def policy_of_place(conn: Connection, *, org_id: OrgId, region_id: RegionId | None) -> StoredPolicy | None:
    """Return the policy that a trigger there would freeze; `None`: the built-in one."""
    row = await conn.fetchrow(POLICY_OF_PLACE, org_id, region_id)
    return None if row is None else _policy(row)


async def save_policy(  # noqa: PLR0913 - one row
    conn: Connection,
    *,
    policy_id: PolicyId,
    org_id: OrgId,
    region_id: RegionId | None,
    name: str,
    body: Mapping[str, object],
    version: int | None,
    actor_id: PersonId,
    now_ms: int,
) -> StoredPolicy:
    """Write the policy of a place and return it; `policy_id` names it if there was none. Open incidents keep theirs.

    Raises:
        Conflict: it has another version than `version` by now.
        InvalidInput: the region is not the organisation's.
    """
    if region_id is not None and not await conn.fetchval(REGION_OF_ORG, region_id, org_id):
        raise InvalidInput("A region of the organisation.", field="region_id")
    had = await conn.fetchrow(LOCK_PLACE, org_id, region_id)
    if version is not None and version != (0 if had is None else had["version"]):
        raise Conflict("The policy has changed; read it again.")
    text = orjson.dumps(body).decode()
    row = await conn.fetchrow(SAVE, policy_id, org_id, region_id, name, text, utc_from_ms(now_ms))
    assert row is not None
    saved = _policy(row)
    await _audit(conn, "policy.saved", saved.policy_id, org_id, actor_id, now_ms)
    return saved


async def delete_policy(
    conn: Connection, *, policy_id: PolicyId, org_id: OrgId, actor_id: PersonId, now_ms: int
) -> None:
    """Delete a policy: triggers there go by the organisation's, or by the built-in one.

    Raises:
        NotFound: there is no such policy in the organisation.
    """
    if await conn.fetchval(DELETE, policy_id, org_id) is None:
        raise NotFound
    await _audit(conn, "policy.deleted", policy_id, org_id, actor_id, now_ms)


async def _audit(
    conn: Connection, action: str, policy_id: UUID, org_id: OrgId, actor_id: PersonId, now_ms: int
) -> None:
    await append_audit(
        conn, org_id=org_id, actor_id=actor_id, action=action, subject=f"policy:{policy_id}", now_ms=now_ms
    )


def _policy(row: asyncpg.Record) -> StoredPolicy:
    return StoredPolicy(**{**dict(row), "body": orjson.loads(row["body"])})

"""Escalation policies in Postgres. A trigger reads its organisation's within its own statement (`intake`)."""

from typing import Final

import orjson

from engine.core.database import Connection
from engine.core.ids import OrgId, PolicyId
from engine.core.units import utc_from_ms
from engine.safetap.policy import default_policy

ADD_POLICY: Final = """
INSERT INTO escalation_policy (policy_id, org_id, region_id, name, body, updated_at)
VALUES ($1, $2, NULL, 'Default', $3::text::jsonb, $4) ON CONFLICT DO NOTHING
"""


async def add_default_policy(conn: Connection, *, policy_id: PolicyId, org_id: OrgId, now_ms: int) -> None:
    """Give an organisation the default ladder for all of its regions, unless it has one."""
    body = orjson.dumps(default_policy()).decode()
    await conn.execute(ADD_POLICY, policy_id, org_id, body, utc_from_ms(now_ms))

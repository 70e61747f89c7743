"""Fills a database with what a demo starts from: `python -m engine.run_seed`, passwords as JSON on standard input.

Reads `{"<e-mail>": "<password>", ...}`: by standard input so that no password shows in the list of processes.
"""

import asyncio
import sys
from typing import Final
from uuid import uuid5

from pydantic import TypeAdapter

from config.settings import Settings
from engine.core.clock import SystemClock
from engine.core.database import Connection
from engine.core.ids import PolicyId
from engine.people.seed import DEMO_NAMESPACE, DEMO_ORG_ID, seed_demo
from engine.safetap.policy_store import add_default_policy
from engine.wiring import open_database

PASSWORDS: Final = TypeAdapter(dict[str, str])

DEMO_POLICY_ID: Final = PolicyId(uuid5(DEMO_NAMESPACE, "policy"))


async def seed(conn: Connection, *, passwords: dict[str, str], now_ms: int) -> None:
    """Create what is missing of the demo, the people's part and SafeTap's, in one transaction."""
    async with conn.transaction():
        await seed_demo(conn, passwords=passwords, now_ms=now_ms)
        await add_default_policy(conn, policy_id=DEMO_POLICY_ID, org_id=DEMO_ORG_ID, now_ms=now_ms)


async def _main(settings: Settings, passwords: dict[str, str]) -> None:
    pool = await open_database(settings, pool_max=1)
    try:
        async with pool.acquire() as conn:
            await seed(conn, passwords=passwords, now_ms=SystemClock().now_ms())
    finally:
        await pool.close()


if __name__ == "__main__":
    asyncio.run(_main(Settings(), PASSWORDS.validate_json(sys.stdin.buffer.read() or b"{}")))

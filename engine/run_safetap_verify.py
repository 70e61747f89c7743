"""Holds the records of incidents and the audit log against their chains: `python -m engine.run_safetap_verify [ID]`.

Exit code 0: every link holds; 1: one is broken, its first place is named; 2: nobody could look.
"""

import asyncio
import sys
from uuid import UUID

import asyncpg

from config.settings import Settings
from engine.core.database import POSTGRES_ERRORS
from engine.core.errors import NotFound
from engine.core.ids import IncidentId
from engine.safetap.chain_reading import Verified, verify_everything, verify_incident


async def look(settings: Settings, incident_id: IncidentId | None) -> Verified:
    """Verify one incident, or everything, in one snapshot.

    Raises:
        NotFound: there is no such incident.
        ValueError: `DATABASE_URL` is not set.
    """
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is not set")
    conn = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            return await (verify_everything(conn) if incident_id is None else verify_incident(conn, incident_id))
    finally:
        await conn.close()


def describe(verified: Verified) -> str:
    """Return what was found, a line for each chain that is broken."""
    broken = [f"BROKEN: {one.chain}, entry {one.place} {one.problem}" for one in verified.broken]
    counted = (
        f"{verified.incidents} incidents, {verified.events} events, {verified.chunks} chunks of evidence, "
        f"{verified.audit_entries} audit entries"
    )
    return "\n".join([*broken, f"looked at {counted}: {len(broken) or 'no'} broken"])


if __name__ == "__main__":
    try:
        wanted = IncidentId(UUID(sys.argv[1])) if sys.argv[1:] else None
        found = asyncio.run(look(Settings(), wanted))
    except (*POSTGRES_ERRORS, NotFound, ValueError) as error:
        print(f"cannot look: {error}", file=sys.stderr)  # noqa: T201 - the answer of a command
        sys.exit(2)
    print(describe(found))  # noqa: T201 - the answer of a command
    sys.exit(1 if found.broken else 0)

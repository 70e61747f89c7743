"""Holds the records of incidents and the audit log against their chains.

`python -m engine.run_safetap_verify [--incident ID] [--audit-head HEAD]`; the head is one that an earlier run printed.
Exit code 0: every link holds; 1: one is broken, its first place is named; 2: nobody could look.
"""

import argparse
import asyncio
import sys
from uuid import UUID

import asyncpg

from config.settings import Settings
from engine.core.database import POSTGRES_ERRORS
from engine.core.errors import InvalidInput, NotFound
from engine.core.ids import IncidentId
from engine.safetap.audit_head import AuditHead, break_since, read_audit_head
from engine.safetap.chain_reading import Verified, verify_everything, verify_incident


async def look(
    settings: Settings, incident_id: IncidentId | None, noted: AuditHead | None = None
) -> tuple[Verified, AuditHead]:
    """Verify one incident, or everything, in one snapshot; return also where the audit log ends.

    Raises:
        NotFound: there is no such incident.
        ValueError: `DATABASE_URL` is not set.
    """
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is not set")
    conn = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            verified = await (verify_everything(conn) if incident_id is None else verify_incident(conn, incident_id))
            broken = None if noted is None else await break_since(conn, noted)
            if broken is not None:
                verified.broken.append(broken)
            return verified, await read_audit_head(conn)
    finally:
        await conn.close()


def describe(verified: Verified, head: AuditHead) -> str:
    """Return what was found, a line for each chain that is broken; and the head to note down."""
    broken = [f"BROKEN: {one.chain}, entry {one.place} {one.problem}" for one in verified.broken]
    counted = (
        f"{verified.incidents} incidents, {verified.events} events, {verified.chunks} chunks of evidence, "
        f"{verified.audit_entries} audit entries"
    )
    return "\n".join([*broken, f"audit head {head}", f"looked at {counted}: {len(broken) or 'no'} broken"])


def main(arguments: list[str]) -> int:
    """Look, say what was found, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--incident", type=UUID)
    parser.add_argument("--audit-head")
    wanted = parser.parse_args(arguments)
    try:
        noted = None if wanted.audit_head is None else AuditHead.parse(wanted.audit_head)
        incident_id = None if wanted.incident is None else IncidentId(wanted.incident)
        verified, head = asyncio.run(look(Settings(), incident_id, noted))
    except (*POSTGRES_ERRORS, InvalidInput, NotFound, ValueError) as error:
        print(f"cannot look: {error}", file=sys.stderr)  # noqa: T201 - the answer of a command
        return 2
    print(describe(verified, head))  # noqa: T201 - the answer of a command
    return 1 if verified.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Reads the chains out of Postgres and holds them against `chain`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import asyncpg

from engine.core.database import Connection
from engine.core.errors import NotFound
from engine.core.ids import IncidentId
from engine.safetap.chain import GENESIS, BrokenLink, Link, canonical_text, first_broken, link_hash

BATCH: Final = 200

INCIDENTS: Final = """
SELECT incident_id, version FROM incident WHERE incident_id > $1 ORDER BY incident_id LIMIT $2
"""
ONE_INCIDENT: Final = "SELECT incident_id, version FROM incident WHERE incident_id = $1"

EVENTS: Final = """
SELECT incident_id, version, kind, actor_id, (extract(epoch FROM at) * 1000000)::bigint AS at_us, body::text AS body,
       prev_hash, hash
  FROM incident_event
 WHERE incident_id = ANY($1::uuid[])
 ORDER BY incident_id, version
"""

PIECES: Final = "SELECT evidence_id FROM evidence WHERE incident_id = $1 ORDER BY created_at, evidence_id"
# Whoever verifies needs no key: of an envelope its own hash is checked, and the history says where those end.
CHUNK: Final = """
SELECT n, prev_hash, hash, sealed_hash, data FROM evidence_chunk WHERE evidence_id = $1 AND n >= $2 ORDER BY n LIMIT 1
"""
# What the history says of a piece that was uploaded to its end.
COMPLETED: Final = """
SELECT (body ->> 'chunks')::integer AS chunks, body ->> 'sha256' AS head, body ->> 'sealed_sha256' AS sealed_head
  FROM incident_event WHERE incident_id = $1 AND kind = 'evidence_complete' AND body ->> 'evidence_id' = $2::text
"""

# What the history tells of and is not there, unless the audit log tells that its time was up.
VANISHED: Final = """
SELECT e.body ->> 'evidence_id' AS evidence_id
  FROM incident_event e
 WHERE e.incident_id = $1 AND e.kind = 'evidence'
   AND NOT EXISTS (SELECT FROM evidence p
                    WHERE p.incident_id = e.incident_id AND p.evidence_id::text = e.body ->> 'evidence_id')
   AND NOT EXISTS (SELECT FROM audit_log a
                    WHERE a.subject = 'incident:' || e.incident_id AND a.action = 'incident.evidence_expired')
 ORDER BY e.version
"""

AUDIT_ENTRIES: Final = """
SELECT c.position, c.prev_hash, c.hash, a.audit_id, a.org_id, a.actor_id, a.action, a.subject,
       (extract(epoch FROM a.at) * 1000000)::bigint AS at_us, a.detail::text AS detail
  FROM audit_chain c LEFT JOIN audit_log a USING (audit_id)
 WHERE c.position > $1
 ORDER BY c.position
 LIMIT $2
"""
UNCHAINED_AUDIT: Final = """
SELECT audit_id FROM audit_log a WHERE NOT EXISTS (SELECT FROM audit_chain c WHERE c.audit_id = a.audit_id)
 ORDER BY audit_id LIMIT 1
"""


@dataclass(slots=True)
class Verified:
    """What was looked at, and the first broken link of each chain that has one."""

    incidents: int = 0
    events: int = 0
    chunks: int = 0
    audit_entries: int = 0
    broken: list[BrokenLink] = field(default_factory=list)


async def verify_incident(conn: Connection, incident_id: IncidentId, *, with_evidence: bool = True) -> Verified:
    """Hold one incident's history, and its evidence byte by byte, against their chains.

    Raises:
        NotFound: there is no such incident.
    """
    row = await conn.fetchrow(ONE_INCIDENT, incident_id)
    if row is None:
        raise NotFound(f"There is no incident {incident_id}.")
    verified = Verified()
    await _verify_incidents(conn, [row], verified, with_evidence=with_evidence)
    return verified


async def verify_everything(conn: Connection) -> Verified:
    """Hold every incident and the audit log against their chains; the caller's snapshot should be one."""
    verified = Verified()
    after = UUID(int=0)
    while rows := await conn.fetch(INCIDENTS, after, BATCH):
        await _verify_incidents(conn, rows, verified, with_evidence=True)
        after = rows[-1]["incident_id"]
    await _verify_audit(conn, verified)
    return verified


async def _verify_incidents(
    conn: Connection, incidents: Sequence[asyncpg.Record], verified: Verified, *, with_evidence: bool
) -> None:
    links: dict[UUID, list[Link]] = {row["incident_id"]: [] for row in incidents}
    for row in await conn.fetch(EVENTS, list(links)):
        links[row["incident_id"]].append(_event_link(row))
    for incident in incidents:
        incident_id = incident["incident_id"]
        found = first_broken(f"incident {incident_id}", links[incident_id], first=1, last=incident["version"])
        verified.incidents += 1
        verified.events += len(links[incident_id])
        if found is not None:
            verified.broken.append(found)
        for gone in await conn.fetch(VANISHED, incident_id):
            verified.broken.append(BrokenLink(f"evidence {gone['evidence_id']}", 0, "is missing"))
        for piece in await conn.fetch(PIECES, incident_id) if with_evidence else ():
            await _verify_evidence(conn, incident_id, piece["evidence_id"], verified)


def _event_link(row: asyncpg.Record) -> Link:
    fields = (row["incident_id"], row["version"], row["kind"], row["actor_id"], row["at_us"])
    return Link(row["version"], canonical_text(fields, row["body"]), row["prev_hash"], row["hash"])


async def _verify_evidence(conn: Connection, incident_id: UUID, evidence_id: UUID, verified: Verified) -> None:
    chain, place, before, envelopes = f"evidence {evidence_id}", 0, GENESIS, hashlib.sha256()
    while (row := await conn.fetchrow(CHUNK, evidence_id, place)) is not None:
        problem = _chunk_problem(row, place, before)
        if problem is not None:
            verified.broken.append(BrokenLink(chain, place, problem))
            return
        verified.chunks += 1
        place, before = place + 1, row["hash"]
        envelopes.update(row["sealed_hash"] or b"")
    completed = await conn.fetchrow(COMPLETED, incident_id, str(evidence_id))
    if completed is None:
        return
    ends = (completed["chunks"], completed["head"]) == (place, before.hex())
    if not ends or completed["sealed_head"] not in (None, envelopes.hexdigest()):
        verified.broken.append(BrokenLink(chain, place, "does not end as the history says"))


def _chunk_problem(row: asyncpg.Record, place: int, before: bytes) -> str | None:
    if row["n"] != place:
        return "is missing"
    if row["prev_hash"] != before:
        return "does not follow the one before it"
    if row["sealed_hash"] is None:
        is_whole = row["hash"] == link_hash(before, row["data"])
    else:
        is_whole = row["sealed_hash"] == hashlib.sha256(row["data"]).digest()
    return None if is_whole else "is not what was written"


async def _verify_audit(conn: Connection, verified: Verified) -> None:
    place, before = 1, GENESIS
    while rows := await conn.fetch(AUDIT_ENTRIES, place - 1, BATCH):
        for row in rows:
            problem = _audit_problem(row, place, before)
            if problem is not None:
                verified.broken.append(BrokenLink("audit log", place, problem))
                return
            verified.audit_entries += 1
            place, before = place + 1, row["hash"]
    slipped_in = await conn.fetchval(UNCHAINED_AUDIT)
    if slipped_in is not None:
        verified.broken.append(BrokenLink("audit log", slipped_in, "was slipped in: it is in no chain"))


def _audit_problem(row: asyncpg.Record, place: int, before: bytes) -> str | None:
    if row["position"] != place or row["audit_id"] is None:
        return "is missing"
    if row["prev_hash"] != before:
        return "does not follow the one before it"
    fields = (row["audit_id"], row["org_id"], row["actor_id"], row["action"], row["subject"], row["at_us"])
    text = canonical_text(fields, row["detail"])
    return None if row["hash"] == link_hash(before, text.encode()) else "is not what was written"

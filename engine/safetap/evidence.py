"""Evidence of an incident: sound, pictures or anything else, taken in chunks that are chained by their hashes.

Chunk `n` carries the hash of chunk `n - 1`, and its own is SHA-256 over that hash and its bytes (`chain.link_hash`). A
phone may lose its battery after any chunk: what has arrived is kept and provable. A phone only ever adds; it names the
trigger it sent, since it knows of no incident, and reads nothing back. What it sent is kept sealed with the key of the
incident's person; the chain is one over the content, and `sealed_hash` one over the envelope, which can be checked when
nobody can open it any more. The chunks lie in Postgres, so that they are as
durable as the incident, in the same backups and under the same lock as its history.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from config.limits import EVIDENCE_BYTES_MAX, EVIDENCE_CHUNK_BYTES_MAX, EVIDENCE_CHUNKS_MAX, EVIDENCE_PIECES_MAX
from engine.core.database import Connection
from engine.core.errors import Conflict, InvalidInput, NotFound, Unavailable
from engine.core.ids import IncidentId, PersonId
from engine.core.units import rfc3339, utc_from_ms
from engine.people.envelopes import OVERHEAD_BYTES
from engine.people.sealing import ErasedError, Sealed, person_key
from engine.people.tokens import Principal
from engine.safetap.chain import GENESIS, link_hash
from engine.safetap.channels.desk import show_at_desk
from engine.safetap.desk import lock_incident
from engine.safetap.incident_store import add_event, event_body

INCIDENT_OF_TRIGGER: Final = """
SELECT i.incident_id FROM safetap_trigger t JOIN incident i USING (incident_id)
 WHERE t.trigger_id = $1 AND t.person_id = $2
   FOR UPDATE OF i
"""
PIECE: Final = "SELECT incident_id, uploaded_by FROM evidence WHERE evidence_id = $1"
COUNT_PIECES: Final = "SELECT count(*) FROM evidence WHERE incident_id = $1"
COUNT_BYTES: Final = """
SELECT coalesce(sum(length(c.data)), 0) FROM evidence e JOIN evidence_chunk c USING (evidence_id)
 WHERE e.incident_id = $1
"""
ADD_PIECE: Final = "INSERT INTO evidence VALUES ($1, $2, $3, $4, $5)"
LAST_CHUNK: Final = "SELECT n, hash, is_last FROM evidence_chunk WHERE evidence_id = $1 ORDER BY n DESC LIMIT 1"
HASH_OF_CHUNK: Final = "SELECT hash FROM evidence_chunk WHERE evidence_id = $1 AND n = $2"
# The envelope is of the incident's person, whoever adds to it.
ADD_CHUNK: Final = """
INSERT INTO evidence_chunk (evidence_id, n, prev_hash, hash, is_last, data, sealed_hash, received_at)
SELECT $1, $2, $3, $4, $5, sealed, sha256(sealed), $7 FROM (SELECT ($6::sealed_bytes).sealed) AS content (sealed)
"""
HASH_OF_ENVELOPES: Final = """
SELECT encode(sha256(string_agg(sealed_hash, ''::bytea ORDER BY n)), 'hex') FROM evidence_chunk WHERE evidence_id = $1
"""
PIECES: Final = """
SELECT e.evidence_id, e.media_type, p.full_name AS uploaded_by, e.created_at, count(c.n) AS chunks,
       coalesce(sum(length(c.data) - CASE WHEN c.sealed_hash IS NULL THEN 0 ELSE $2 END), 0) AS bytes,
       coalesce(bool_or(c.is_last), false) AS is_complete,
       (array_agg(c.hash ORDER BY c.n DESC))[1] AS head
  FROM evidence e
  JOIN person p ON p.person_id = e.uploaded_by
  LEFT JOIN evidence_chunk c USING (evidence_id)
 WHERE e.incident_id = $1
 GROUP BY e.evidence_id, p.full_name
 ORDER BY e.created_at, e.evidence_id
"""
READ_CHUNK: Final = """
SELECT k.erased_at,
       ROW(k.wrapped, CASE WHEN c.sealed_hash IS NOT NULL THEN c.data END,
           CASE WHEN c.sealed_hash IS NULL THEN c.data END)::sealed_bytes AS data
  FROM evidence_chunk c
  JOIN evidence e USING (evidence_id)
  JOIN incident i USING (incident_id)
  LEFT JOIN person_key k USING (person_id)
 WHERE e.incident_id = $1 AND e.evidence_id = $2 AND c.n = $3
"""
PERSON_OF: Final = "SELECT person_id FROM incident WHERE incident_id = $1"


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk as it came. `prev_hash` is that of the chunk before it, `chain.GENESIS` for the first."""

    evidence_id: UUID
    n: int
    prev_hash: bytes
    data: bytes
    media_type: str
    is_last: bool


async def incident_of_trigger(conn: Connection, *, trigger_id: UUID, actor: Principal) -> IncidentId:
    """Return the incident of a phone's own trigger, locked.

    Raises:
        NotFound: this person has sent no such trigger, or Postgres does not have it yet: send again.
    """
    incident_id = await conn.fetchval(INCIDENT_OF_TRIGGER, trigger_id, actor.person_id)
    if incident_id is None:
        raise NotFound
    return IncidentId(incident_id)


async def incident_of_desk(conn: Connection, *, incident_id: IncidentId, actor: Principal) -> IncidentId:
    """Return an incident that somebody at the desk adds evidence to, locked; refusals as `desk.lock_incident`."""
    await lock_incident(conn, incident_id, actor)
    return incident_id


async def add_chunk(conn: Connection, *, incident_id: IncidentId, actor: Principal, chunk: Chunk, now_ms: int) -> bytes:
    """Keep a chunk and return its hash; the same chunk again changes nothing. The caller holds the incident's lock.

    Raises:
        InvalidInput: it is too large, or one too many.
        Conflict: it is not the next one, does not follow the one before, the piece is complete or somebody else's, or
            the incident has as much evidence as it may have.
    """
    if not 1 <= len(chunk.data) <= EVIDENCE_CHUNK_BYTES_MAX:
        raise InvalidInput(f"1 to {EVIDENCE_CHUNK_BYTES_MAX} bytes.", field="data")
    if not 0 <= chunk.n < EVIDENCE_CHUNKS_MAX:
        raise InvalidInput(f"0 to {EVIDENCE_CHUNKS_MAX - 1}: begin another piece.", field="n")
    await _own_piece(conn, incident_id, actor, chunk, now_ms=now_ms)
    digest = link_hash(chunk.prev_hash, chunk.data)
    known = await conn.fetchval(HASH_OF_CHUNK, chunk.evidence_id, chunk.n)
    if known is not None:
        if known != digest:
            raise Conflict("Another chunk has this number.")
        return digest
    _check_follows(await conn.fetchrow(LAST_CHUNK, chunk.evidence_id), chunk)
    if await conn.fetchval(COUNT_BYTES, incident_id) + len(chunk.data) + OVERHEAD_BYTES > EVIDENCE_BYTES_MAX:
        raise Conflict(f"An incident has {EVIDENCE_BYTES_MAX >> 20} MiB of evidence at most.")
    at = utc_from_ms(now_ms)
    key = await person_key(conn, PersonId(await conn.fetchval(PERSON_OF, incident_id)), now_ms=now_ms)
    sealed = Sealed(key, chunk.data)
    await conn.execute(ADD_CHUNK, chunk.evidence_id, chunk.n, chunk.prev_hash, digest, chunk.is_last, sealed, at)
    if chunk.is_last:
        body = event_body(
            evidence_id=chunk.evidence_id,
            chunks=chunk.n + 1,
            sha256=digest.hex(),
            sealed_sha256=await conn.fetchval(HASH_OF_ENVELOPES, chunk.evidence_id),
        )
        await _tell(conn, incident_id, actor, "evidence_complete", body, now_ms=now_ms)
    return digest


async def list_evidence(conn: Connection, incident_id: IncidentId) -> list[dict[str, object]]:
    """Return what there is, oldest first, each with the hash that its chain ends in."""
    return [
        {
            "evidence_id": str(row["evidence_id"]),
            "media_type": row["media_type"],
            "uploaded_by": row["uploaded_by"],
            "created_at": rfc3339(row["created_at"]),
            "chunks": row["chunks"],
            "bytes": int(row["bytes"]),
            "is_complete": row["is_complete"],
            "sha256": None if row["head"] is None else row["head"].hex(),
        }
        for row in await conn.fetch(PIECES, incident_id, OVERHEAD_BYTES)
    ]


async def read_chunk(conn: Connection, *, incident_id: IncidentId, evidence_id: UUID, n: int) -> bytes:
    """Return the bytes of one chunk.

    Raises:
        NotFound: there is no such chunk.
        ErasedError: its person was erased.
        Unavailable: its envelope does not open with the keys of this installation.
    """
    chunk = await conn.fetchrow(READ_CHUNK, incident_id, evidence_id, n)
    if chunk is None:
        raise NotFound
    if chunk["data"] is None:
        raise ErasedError if chunk["erased_at"] is not None else Unavailable("This evidence cannot be opened here.")
    return bytes(chunk["data"])


async def _own_piece(conn: Connection, incident_id: IncidentId, actor: Principal, chunk: Chunk, *, now_ms: int) -> None:
    piece = await conn.fetchrow(PIECE, chunk.evidence_id)
    if piece is not None:
        if (piece["incident_id"], piece["uploaded_by"]) != (incident_id, actor.person_id):
            raise Conflict("Another piece of evidence has this id.")
        return
    if await conn.fetchval(COUNT_PIECES, incident_id) >= EVIDENCE_PIECES_MAX:
        raise Conflict(f"An incident has {EVIDENCE_PIECES_MAX} pieces of evidence at most.")
    await conn.execute(
        ADD_PIECE, chunk.evidence_id, incident_id, chunk.media_type, actor.person_id, utc_from_ms(now_ms)
    )
    body = event_body(evidence_id=chunk.evidence_id, media_type=chunk.media_type)
    await _tell(conn, incident_id, actor, "evidence", body, now_ms=now_ms)


def _check_follows(last: asyncpg.Record | None, chunk: Chunk) -> None:
    expected = 0 if last is None else last["n"] + 1
    if last is not None and last["is_last"]:
        raise Conflict("This piece of evidence is complete.")
    if chunk.n != expected:
        raise Conflict(f"The next chunk is number {expected}.")
    if chunk.prev_hash != (GENESIS if last is None else last["hash"]):
        raise Conflict("This chunk does not follow the one before it.")


async def _tell(
    conn: Connection, incident_id: IncidentId, actor: Principal, kind: str, body: str, *, now_ms: int
) -> None:
    await add_event(conn, incident_id=incident_id, kind=kind, actor_id=actor.person_id, body=body, now_ms=now_ms)
    await show_at_desk(conn, [incident_id], now_ms=now_ms)

"""Puts what lies there in the clear into envelopes, a batch a transaction, until nothing is left.

What was written before there were envelopes, or by a process of the version before. Killed anywhere, it goes on where
it stopped: a row is either clear or sealed. Texts in the history of incidents stay as they are, since their chain is
one over what was written; they go with their incident.
"""

from dataclasses import dataclass
from typing import Final

import asyncpg

from config.limits import SEAL_BATCH_MAX
from engine.core.database import Connection
from engine.people.sealing import Sealed, person_keys


@dataclass(frozen=True, slots=True)
class Backlog:
    """One table: `find` returns clear rows with `person_id` and `values`, `seal` takes them back in envelopes."""

    name: str
    find: str
    seal: str
    ids: tuple[str, ...]
    values: tuple[str, ...]


# Nobody who was erased has clear text left, and their keys could not seal it.
BACKLOGS: Final = (
    Backlog(
        "phones",
        """SELECT p.person_id, p.phone FROM person p LEFT JOIN person_key k USING (person_id)
            WHERE p.phone IS NOT NULL AND k.erased_at IS NULL
            LIMIT $1 FOR UPDATE OF p SKIP LOCKED""",
        "UPDATE person SET phone = NULL, phone_sealed = ($2::sealed_text).sealed WHERE person_id = $1",
        ("person_id",),
        ("phone",),
    ),
    Backlog(
        "entry_notes",
        """SELECT a.address_id, a.customer_id AS person_id, a.entry_notes
             FROM address a LEFT JOIN person_key k ON k.person_id = a.customer_id
            WHERE a.entry_notes <> '' AND k.erased_at IS NULL
            LIMIT $1 FOR UPDATE OF a SKIP LOCKED""",
        """UPDATE address SET entry_notes = '', entry_notes_sealed = ($2::sealed_text).sealed
            WHERE address_id = $1""",
        ("address_id",),
        ("entry_notes",),
    ),
    Backlog(
        "contacts",
        """SELECT c.contact_id, c.person_id, c.name, c.phone, c.email
             FROM safety_contact c LEFT JOIN person_key k USING (person_id)
            WHERE c.name IS NOT NULL AND k.erased_at IS NULL
            LIMIT $1 FOR UPDATE OF c SKIP LOCKED""",
        """UPDATE safety_contact
              SET name_sealed = ($2::sealed_text).sealed, phone_sealed = ($3::sealed_text).sealed,
                  email_sealed = ($4::sealed_text).sealed, phone_index = ($5::blind_index).digest,
                  name = NULL, phone = NULL, email = NULL
            WHERE contact_id = $1""",
        ("contact_id",),
        ("name", "phone", "email"),
    ),
)
CLEAR_CHUNKS: Final = """
SELECT c.evidence_id, c.n, c.data, i.person_id
  FROM evidence_chunk c JOIN evidence e USING (evidence_id) JOIN incident i USING (incident_id)
  LEFT JOIN person_key k USING (person_id)
 WHERE c.sealed_hash IS NULL AND k.erased_at IS NULL
 LIMIT $1 FOR UPDATE OF c SKIP LOCKED
"""
SEAL_CHUNK: Final = """
UPDATE evidence_chunk c SET data = content.sealed, sealed_hash = sha256(content.sealed)
  FROM (SELECT ($3::sealed_bytes).sealed) AS content (sealed)
 WHERE c.evidence_id = $1 AND c.n = $2
"""
CHUNKS_MAX: Final = 16
"""Chunks in one transaction: two megabytes."""


async def seal_backlog(conn: Connection, *, now_ms: int) -> int:
    """Seal one batch of every kind; return how many rows. 0: nothing in the clear is left."""
    sealed = 0
    for backlog in BACKLOGS:
        async with conn.transaction():
            sealed += await _seal_rows(conn, backlog, now_ms=now_ms)
    async with conn.transaction():
        return sealed + await _seal_chunks(conn, now_ms=now_ms)


async def _seal_rows(conn: Connection, backlog: Backlog, *, now_ms: int) -> int:
    rows = await conn.fetch(backlog.find, SEAL_BATCH_MAX)
    keys = await person_keys(conn, [row["person_id"] for row in rows], now_ms=now_ms)

    def arguments(row: asyncpg.Record) -> tuple[object, ...]:
        values = [Sealed(keys[row["person_id"]], row[name]) for name in backlog.values]
        index = (row["phone"],) if backlog.name == "contacts" else ()
        return (*(row[name] for name in backlog.ids), *values, *index)

    await conn.executemany(backlog.seal, [arguments(row) for row in rows])
    return len(rows)


async def _seal_chunks(conn: Connection, *, now_ms: int) -> int:
    rows = await conn.fetch(CLEAR_CHUNKS, CHUNKS_MAX)
    keys = await person_keys(conn, [row["person_id"] for row in rows], now_ms=now_ms)
    sealed = [(row["evidence_id"], row["n"], Sealed(keys[row["person_id"]], row["data"])) for row in rows]
    await conn.executemany(SEAL_CHUNK, sealed)
    return len(rows)

"""Every trigger key and tracker in the door's memory: a key counts while Postgres is away. Fed by LISTEN.

A key that is not here yet, because it was issued a moment ago, is looked up once; one that is unknown while Postgres is
away is resolved when its trigger is committed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from config.limits import DEVICE_LOOKUP_MS, TRIGGER_KEYS_CHECK_MS, TRIGGER_KEYS_PAGE
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.ids import OrgId, PersonId, RegionId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Role
from engine.outbox.durable_loop import end_if_cancelled, keep_running
from engine.outbox.listener import Wake

log = structlog.get_logger(__name__)

ALL: Final = """
SELECT k.key_id, k.secret_hash, k.public_key, k.revoked_at IS NULL AS is_live, false AS is_tracker,
       p.person_id, p.org_id, p.region_id, p.role, p.full_name
  FROM trigger_key k JOIN person p USING (person_id)
UNION ALL
SELECT d.device_id, d.token_hash, NULL, d.revoked_at IS NULL AND p.status = 'active', true,
       p.person_id, p.org_id, p.region_id, p.role, p.full_name
  FROM device d JOIN person p USING (person_id)
"""
PAGE: Final = "SELECT * FROM (:all) every WHERE key_id > $1 ORDER BY key_id LIMIT $2".replace(":all", ALL)
SOME: Final = "SELECT * FROM (:all) every WHERE key_id = ANY($1::uuid[])".replace(":all", ALL)
BY_HASH: Final = "SELECT * FROM (:all) every WHERE secret_hash = ANY($1::bytea[])".replace(":all", ALL)
ONE: Final = """
SELECT * FROM (:all) every WHERE secret_hash = ANY($1::bytea[])
UNION ALL
SELECT * FROM (:all) every WHERE key_id = ANY($2::uuid[])
""".replace(":all", ALL)
NO_ID: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A key and for whom it speaks."""

    key_id: UUID
    secret_hash: bytes
    public_key: Ed25519PublicKey | None
    """A tracker has none: it shows its token."""
    is_live: bool
    is_tracker: bool
    person_id: PersonId
    role: Role
    org_id: OrgId
    region_id: RegionId
    name: str


class KeyTable:
    """All keys that Postgres had when it was last heard of. `changed` is the handler of `clenzy_trigger_key`."""

    def __init__(self, *, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._by_hash: dict[bytes, KeyHolder] = {}
        self._by_id: dict[UUID, KeyHolder] = {}
        self._names: dict[PersonId, str] = {}
        self._changed: set[UUID] = set()
        self._is_stale = True
        self._read_at_ns = 0
        self._wake = Wake()

    def changed(self, payload: str) -> None:
        """Take note of one changed key; an empty payload means that changes may have been missed."""
        if payload:
            self._changed.add(UUID(payload))
        else:
            self._is_stale = True
        self._wake.set()

    async def run(self) -> None:
        """Follow Postgres until cancelled, through its restarts."""
        await keep_running(self._round, name="key_table", clock=self._clock, errors=POSTGRES_ERRORS)

    def with_secret(self, secret_hash: bytes) -> KeyHolder | None:
        """Return the key with this hash, if it is here."""
        return self._by_hash.get(secret_hash)

    def with_id(self, key_id: UUID) -> KeyHolder | None:
        """Return the key with this id, if it is here."""
        return self._by_id.get(key_id)

    def name_of(self, person_id: PersonId) -> str | None:
        """Return the name of somebody who has a key."""
        return self._names.get(person_id)

    async def look_up(self, *, secret_hash: bytes | None = None, key_id: UUID | None = None) -> KeyHolder | None:
        """Ask Postgres for a key that is not here; `None`: there is none, or nobody can tell in time."""
        hashes = [] if secret_hash is None else [secret_hash]
        key_ids = [] if key_id is None else [key_id]
        try:
            async with asyncio.timeout(DEVICE_LOOKUP_MS / MS_PER_S), self._pool.acquire() as conn:
                rows = await conn.fetch(ONE, hashes, key_ids)
        except POSTGRES_ERRORS as error:
            end_if_cancelled()
            log.warning("trigger_key.not_looked_up", error=type(error).__name__)
            return None
        if not rows:
            return None
        holder = _holder(rows[0])
        self._put(holder)
        return holder

    async def _round(self) -> None:
        if not (self._is_stale or self._changed):
            await self._wake.wait(TRIGGER_KEYS_CHECK_MS)
        is_stale = self._is_stale or self._clock.steady_ns() - self._read_at_ns >= TRIGGER_KEYS_CHECK_MS * 1_000_000
        changed, self._changed = self._changed, set()
        self._is_stale = False
        try:
            async with self._pool.acquire() as conn:
                if is_stale:
                    await self._read_all(conn)
                elif changed:
                    await self._read_some(conn, changed)
        except POSTGRES_ERRORS:
            self._is_stale = True
            raise

    async def _read_all(self, conn: Connection) -> None:
        holders: dict[UUID, KeyHolder] = {}
        last = NO_ID
        while rows := await conn.fetch(PAGE, last, TRIGGER_KEYS_PAGE):
            holders.update((row["key_id"], _holder(row)) for row in rows)
            last = rows[-1]["key_id"]
        self._by_id = holders
        self._by_hash = {holder.secret_hash: holder for holder in holders.values()}
        self._names = {holder.person_id: holder.name for holder in holders.values()}
        self._read_at_ns = self._clock.steady_ns()

    async def _read_some(self, conn: Connection, key_ids: set[UUID]) -> None:
        found = {row["key_id"]: _holder(row) for row in await conn.fetch(SOME, list(key_ids))}
        for key_id in key_ids:
            if key_id in found:
                self._put(found[key_id])
            elif (gone := self._by_id.pop(key_id, None)) is not None:
                self._by_hash.pop(gone.secret_hash, None)

    def _put(self, holder: KeyHolder) -> None:
        self._by_id[holder.key_id] = holder
        self._by_hash[holder.secret_hash] = holder
        self._names[holder.person_id] = holder.name


async def keys_by_hash(conn: Connection, hashes: Sequence[bytes]) -> Mapping[bytes, KeyHolder]:
    """Return the keys and trackers that have these hashes, revoked ones too."""
    return {row["secret_hash"]: _holder(row) for row in await conn.fetch(BY_HASH, list(hashes))}


def _holder(row: asyncpg.Record) -> KeyHolder:
    public_key = row["public_key"]
    return KeyHolder(
        key_id=row["key_id"],
        secret_hash=row["secret_hash"],
        public_key=None if public_key is None else Ed25519PublicKey.from_public_bytes(public_key),
        is_live=row["is_live"],
        is_tracker=row["is_tracker"],
        person_id=PersonId(row["person_id"]),
        role=Role(row["role"]),
        org_id=OrgId(row["org_id"]),
        region_id=RegionId(row["region_id"]),
        name=row["full_name"],
    )

"""Devices: stock phone trackers that speak for one worker by a token of their own, of which only the hash is kept.

A token says where its worker is and can call for help; it opens nothing else.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg

from config.limits import DEVICES_PER_WORKER_MAX
from engine.core.database import Connection
from engine.core.errors import Conflict, NotFound
from engine.core.ids import DeviceId, OrgId, PersonId, RegionId, WorkerSlot
from engine.core.units import utc_from_ms
from engine.core.vocabulary import DeviceKind, Role
from engine.people.audit import append_audit
from engine.people.refresh_tokens import token_hash

TOKEN_BYTES: Final = 32
TOKEN_CHARS: Final = 43
"""32 random bytes in URL-safe base64 without padding."""

# The lock of the worker's row keeps two at once from both being the last one allowed.
LOCK_WORKER: Final = """
SELECT 1 FROM worker w JOIN person p ON p.person_id = w.worker_id
 WHERE w.worker_id = $1 AND p.org_id = $2 FOR NO KEY UPDATE OF w
"""
COUNT_LIVE: Final = "SELECT count(*) FROM device WHERE person_id = $1 AND revoked_at IS NULL"
ADD: Final = """
INSERT INTO device (device_id, org_id, person_id, token_hash, kind, label, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
WORKER_BY_EMAIL: Final = """
SELECT person_id, org_id FROM person WHERE email = lower($1) AND role = 'worker' AND status = 'active'
"""
REVOKE: Final = """
UPDATE device SET revoked_at = coalesce(revoked_at, $4)
 WHERE device_id = $1 AND org_id = $2 AND person_id = coalesce($3, person_id)
RETURNING person_id
"""
PAGE: Final = """
SELECT device_id, person_id, kind, label, created_at, revoked_at FROM device
 WHERE org_id = $1 AND person_id = coalesce($2, person_id)
   AND ($3::timestamptz IS NULL OR (created_at, device_id) < ($3, $4::uuid))
 ORDER BY created_at DESC, device_id DESC
 LIMIT $5
"""
SPEAKER: Final = """
SELECT d.device_id, d.person_id, p.org_id, p.region_id, w.slot
  FROM device d JOIN person p USING (person_id) JOIN worker w ON w.worker_id = d.person_id
 WHERE d.token_hash = $1 AND d.revoked_at IS NULL AND p.status = 'active' AND p.role = 'worker'
"""


@dataclass(frozen=True, slots=True)
class Device:
    """A tracker as its owner and the admin see it."""

    device_id: DeviceId
    person_id: PersonId
    kind: DeviceKind
    label: str
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeviceSpeaker:
    """For whom a device's token speaks."""

    device_id: DeviceId
    person_id: PersonId
    org_id: OrgId
    region_id: RegionId
    slot: WorkerSlot

    @property
    def role(self) -> Role:
        """Only workers have trackers."""
        return Role.WORKER


def new_token() -> str:
    """Return a random token (256 bits) that needs no escaping in a URL."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def looks_like_a_token(text: str) -> bool:
    """Return whether it is worth asking Postgres about `text`."""
    return len(text) == TOKEN_CHARS and text.isascii()


async def add_device(  # noqa: PLR0913 - the columns of a device
    conn: Connection,
    *,
    device_id: DeviceId,
    token: str,
    worker_id: PersonId,
    org_id: OrgId,
    kind: DeviceKind,
    label: str,
    actor_id: PersonId | None,
    now_ms: int,
) -> Device:
    """Let `token` speak for a worker of the organisation. The caller holds a transaction.

    Raises:
        NotFound: there is no such worker here.
        Conflict: the worker has `limits.DEVICES_PER_WORKER_MAX` devices.
    """
    if await conn.fetchval(LOCK_WORKER, worker_id, org_id) is None:
        raise NotFound("There is no such worker.")
    if await conn.fetchval(COUNT_LIVE, worker_id) >= DEVICES_PER_WORKER_MAX:
        raise Conflict(f"A worker has at most {DEVICES_PER_WORKER_MAX} devices: revoke one first.")
    at = utc_from_ms(now_ms)
    await conn.execute(ADD, device_id, org_id, worker_id, token_hash(token), kind.value, label, at)
    await append_audit(
        conn,
        org_id=org_id,
        actor_id=actor_id,
        action="device.add",
        subject=f"device:{device_id}",
        detail={"worker_id": str(worker_id), "kind": kind.value},
        now_ms=now_ms,
    )
    return Device(device_id, worker_id, kind, label, at, None)


async def find_worker(conn: Connection, email: str) -> tuple[PersonId, OrgId]:
    """Return the worker with this e-mail, and the organisation.

    Raises:
        NotFound: no active worker has it.
    """
    row = await conn.fetchrow(WORKER_BY_EMAIL, email)
    if row is None:
        raise NotFound("No active worker has this e-mail.")
    return PersonId(row["person_id"]), OrgId(row["org_id"])


async def revoke_device(
    conn: Connection,
    device_id: DeviceId,
    *,
    org_id: OrgId,
    owner_id: PersonId | None,
    actor_id: PersonId,
    now_ms: int,
) -> None:
    """End a device of the organisation, or of `owner_id` alone; one that has ended stays so. In a transaction.

    Raises:
        NotFound: there is no such device, or it is not theirs.
    """
    worker_id = await conn.fetchval(REVOKE, device_id, org_id, owner_id, utc_from_ms(now_ms))
    if worker_id is None:
        raise NotFound
    await append_audit(
        conn,
        org_id=org_id,
        actor_id=actor_id,
        action="device.revoke",
        subject=f"device:{device_id}",
        detail={"worker_id": str(worker_id)},
        now_ms=now_ms,
    )


async def list_devices(
    conn: Connection,
    *,
    org_id: OrgId,
    owner_id: PersonId | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Device]:
    """Return devices of the organisation, or of `owner_id` alone, the newest first, also those that have ended."""
    created_at, device_id = after or (None, None)
    rows = await conn.fetch(PAGE, org_id, owner_id, created_at, device_id, limit)
    return [_device(row) for row in rows]


async def find_speaker(conn: Connection, token: str) -> DeviceSpeaker | None:
    """Return for whom a token speaks; `None`: it never did, was revoked, or its worker is not active."""
    row = await conn.fetchrow(SPEAKER, token_hash(token))
    if row is None:
        return None
    return DeviceSpeaker(
        DeviceId(row["device_id"]),
        PersonId(row["person_id"]),
        OrgId(row["org_id"]),
        RegionId(row["region_id"]),
        WorkerSlot(row["slot"]),
    )


def _device(row: asyncpg.Record) -> Device:
    return Device(
        DeviceId(row["device_id"]),
        PersonId(row["person_id"]),
        DeviceKind(row["kind"]),
        row["label"],
        row["created_at"],
        row["revoked_at"],
    )

"""Zones as an organisation draws, changes and deletes them, and what was seen of them. Every change is audited.

The zone watch hears of a change by NOTIFY; who is inside then leaves or enters with the reason `zone_changed`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from config.limits import ZONES_PER_ORG_MAX
from engine.core.database import Connection
from engine.core.errors import Conflict, InvalidInput, NotFound
from engine.core.ids import OrgId, PersonId, RegionId, ZoneId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import ZoneEventKind, ZoneKind, ZoneReason
from engine.geo.zone_geometry import Home, ZonePolygon, geojson_of
from engine.people.audit import append_audit

HOME: Final = "SELECT name, center_lat, center_lng FROM region WHERE region_id = $1 AND org_id = $2"
# The lock keeps two at once from both being the last ones allowed.
LOCK_ORG: Final = "SELECT 1 FROM org WHERE org_id = $1 FOR NO KEY UPDATE"
COUNT: Final = "SELECT count(*) FROM zone WHERE org_id = $1 AND deleted_at IS NULL"
ADD: Final = """
INSERT INTO zone (zone_id, org_id, region_id, kind, name, geometry, dwell_s, active, version, created_at, updated_at)
SELECT zone_id, $1, region_id, kind, name, geometry::jsonb, dwell_s, active, 1, $2, $2
  FROM unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::integer[], $9::boolean[])
       AS new (zone_id, region_id, kind, name, geometry, dwell_s, active)
"""
CHANGE: Final = """
UPDATE zone SET region_id = $3, kind = $4, name = $5, geometry = $6::text::jsonb, dwell_s = $7, active = $8,
       version = version + 1, updated_at = $9
 WHERE zone_id = $1 AND org_id = $2 AND deleted_at IS NULL
"""
DELETE: Final = """
UPDATE zone SET deleted_at = $3, version = version + 1, updated_at = $3
 WHERE zone_id = $1 AND org_id = $2 AND deleted_at IS NULL
RETURNING version
"""
_COLUMNS: Final = "zone_id, region_id, kind, name, dwell_s, active, version, created_at, updated_at"
FIND: Final = f"""
SELECT {_COLUMNS}, geometry::text AS geometry FROM zone WHERE zone_id = $1 AND org_id = $2 AND deleted_at IS NULL
"""  # noqa: S608 - our own columns
LOCK: Final = """
SELECT version FROM zone WHERE zone_id = $1 AND org_id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE
"""
PAGE: Final = f"""
SELECT {_COLUMNS}, NULL AS geometry FROM zone
 WHERE org_id = $1 AND deleted_at IS NULL AND ($2::timestamptz IS NULL OR (created_at, zone_id) < ($2, $3::uuid))
 ORDER BY created_at DESC, zone_id DESC
 LIMIT $4
"""  # noqa: S608 - our own columns
ALL: Final = f"""
SELECT {_COLUMNS}, geometry::text AS geometry FROM zone WHERE org_id = $1 AND deleted_at IS NULL
 ORDER BY created_at, zone_id
"""  # noqa: S608 - our own columns
# Also of a zone that was deleted since: its history stays.
IS_OURS: Final = "SELECT 1 FROM zone WHERE zone_id = $1 AND org_id = $2"
EVENTS: Final = """
SELECT event_id, worker_id, kind, reason, at, detected_at FROM zone_event
 WHERE zone_id = $1 AND ($2::bigint IS NULL OR event_id < $2)
 ORDER BY event_id DESC
 LIMIT $3
"""
WORKER: Final = "SELECT slot FROM worker JOIN person ON person_id = worker_id WHERE worker_id = $1 AND org_id = $2"
STAYS: Final = """
SELECT z.zone_id, z.kind, z.name, p.entered_at, p.dwell_told
  FROM zone_presence p JOIN zone z USING (zone_id)
 WHERE p.worker_id = $1
 ORDER BY p.entered_at, z.zone_id
"""


@dataclass(frozen=True, slots=True)
class ZonePlan:
    """What a zone is to be."""

    kind: ZoneKind
    name: str
    polygon: ZonePolygon
    region_id: RegionId | None
    dwell_s: int | None
    active: bool


@dataclass(frozen=True, slots=True)
class StoredZone:
    """A zone as it stands."""

    zone_id: ZoneId
    region_id: RegionId | None
    kind: ZoneKind
    name: str
    dwell_s: int | None
    active: bool
    version: int
    created_at: datetime
    updated_at: datetime
    geometry: bytes | None
    """GeoJSON; `None` in lists."""


@dataclass(frozen=True, slots=True)
class ZoneEventRow:
    """Something that happened between a worker and a zone."""

    event_id: int
    worker_id: PersonId
    kind: ZoneEventKind
    reason: ZoneReason
    at: datetime
    detected_at: datetime


@dataclass(frozen=True, slots=True)
class Stay:
    """A zone in which a worker is, and since when."""

    zone_id: ZoneId
    kind: ZoneKind
    name: str
    entered_at: datetime
    dwell_told: bool


async def find_home(conn: Connection, *, org_id: OrgId, region_id: RegionId) -> Home:
    """Return the centre of a region.

    Raises:
        InvalidInput: the organisation has no such region.
    """
    row = await conn.fetchrow(HOME, region_id, org_id)
    if row is None:
        raise InvalidInput("The organisation has no such region.", field="region_id")
    return Home(row["name"], row["center_lat"], row["center_lng"])


async def add_zones(
    conn: Connection,
    plans: Sequence[tuple[ZoneId, ZonePlan]],
    *,
    org_id: OrgId,
    actor_id: PersonId,
    now_ms: int,
) -> None:
    """Add zones, all or none. In a transaction.

    Raises:
        Conflict: the organisation would have more than `limits.ZONES_PER_ORG_MAX`.
    """
    await conn.execute(LOCK_ORG, org_id)
    if await conn.fetchval(COUNT, org_id) + len(plans) > ZONES_PER_ORG_MAX:
        raise Conflict(f"An organisation has at most {ZONES_PER_ORG_MAX} zones: delete some first.")
    rows = [
        (zone_id, plan.region_id, plan.kind.value, plan.name, _geometry(plan), plan.dwell_s, plan.active)
        for zone_id, plan in plans
    ]
    await conn.execute(ADD, org_id, utc_from_ms(now_ms), *map(list, zip(*rows, strict=True)))
    await append_audit(
        conn,
        org_id=org_id,
        actor_id=actor_id,
        action="zone.add",
        subject=f"org:{org_id}",
        detail={"zone_ids": [str(zone_id) for zone_id, _ in plans]},
        now_ms=now_ms,
    )


async def change_zone(
    conn: Connection,
    zone_id: ZoneId,
    plan: ZonePlan,
    *,
    version: int | None,
    org_id: OrgId,
    actor_id: PersonId,
    now_ms: int,
) -> None:
    """Make a zone what `plan` says. In a transaction.

    Raises:
        NotFound: the organisation has no such zone.
        Conflict: it is not at `version` any more.
    """
    found = await conn.fetchval(LOCK, zone_id, org_id)
    if found is None:
        raise NotFound
    if version is not None and version != found:
        raise Conflict(f"The zone is at version {found}: read it again.", field="version")
    await conn.execute(
        CHANGE,
        zone_id,
        org_id,
        plan.region_id,
        plan.kind.value,
        plan.name,
        _geometry(plan),
        plan.dwell_s,
        plan.active,
        utc_from_ms(now_ms),
    )
    await _audit(conn, "zone.change", zone_id, found + 1, org_id=org_id, actor_id=actor_id, now_ms=now_ms)


async def delete_zone(conn: Connection, zone_id: ZoneId, *, org_id: OrgId, actor_id: PersonId, now_ms: int) -> None:
    """Delete a zone; its events stay. In a transaction.

    Raises:
        NotFound: the organisation has no such zone.
    """
    version = await conn.fetchval(DELETE, zone_id, org_id, utc_from_ms(now_ms))
    if version is None:
        raise NotFound
    await _audit(conn, "zone.delete", zone_id, version, org_id=org_id, actor_id=actor_id, now_ms=now_ms)


async def find_zone(conn: Connection, zone_id: ZoneId, *, org_id: OrgId) -> StoredZone:
    """Return a zone with its geometry.

    Raises:
        NotFound: the organisation has no such zone.
    """
    row = await conn.fetchrow(FIND, zone_id, org_id)
    if row is None:
        raise NotFound
    return _zone(row)


async def list_zones(
    conn: Connection, *, org_id: OrgId, after: tuple[datetime, UUID] | None, limit: int
) -> list[StoredZone]:
    """Return zones without their geometry, the newest first."""
    created_at, zone_id = after or (None, None)
    return [_zone(row) for row in await conn.fetch(PAGE, org_id, created_at, zone_id, limit)]


async def all_zones(conn: Connection, *, org_id: OrgId) -> list[StoredZone]:
    """Return every zone with its geometry, the oldest first."""
    return [_zone(row) for row in await conn.fetch(ALL, org_id)]


async def list_events(
    conn: Connection, zone_id: ZoneId, *, org_id: OrgId, before: int | None, limit: int
) -> list[ZoneEventRow]:
    """Return what happened at a zone, the newest first, also of one that was deleted.

    Raises:
        NotFound: the organisation never had such a zone.
    """
    if not await conn.fetchval(IS_OURS, zone_id, org_id):
        raise NotFound
    return [
        ZoneEventRow(
            row["event_id"],
            PersonId(row["worker_id"]),
            ZoneEventKind(row["kind"]),
            ZoneReason(row["reason"]),
            row["at"],
            row["detected_at"],
        )
        for row in await conn.fetch(EVENTS, zone_id, before, limit)
    ]


async def list_stays(conn: Connection, worker_id: PersonId, *, org_id: OrgId) -> tuple[int, list[Stay]]:
    """Return a worker's slot and the zones in which they are.

    Raises:
        NotFound: the organisation has no such worker.
    """
    slot = await conn.fetchval(WORKER, worker_id, org_id)
    if slot is None:
        raise NotFound
    rows = await conn.fetch(STAYS, worker_id)
    stays = [
        Stay(ZoneId(row["zone_id"]), ZoneKind(row["kind"]), row["name"], row["entered_at"], row["dwell_told"])
        for row in rows
    ]
    return slot, stays


def _geometry(plan: ZonePlan) -> str:
    return orjson.dumps(geojson_of(plan.polygon)).decode()


def _zone(row: asyncpg.Record) -> StoredZone:
    return StoredZone(
        ZoneId(row["zone_id"]),
        None if row["region_id"] is None else RegionId(row["region_id"]),
        ZoneKind(row["kind"]),
        row["name"],
        row["dwell_s"],
        row["active"],
        row["version"],
        row["created_at"],
        row["updated_at"],
        None if row["geometry"] is None else row["geometry"].encode(),
    )


async def _audit(
    conn: Connection, action: str, zone_id: ZoneId, version: int, *, org_id: OrgId, actor_id: PersonId, now_ms: int
) -> None:
    await append_audit(
        conn,
        org_id=org_id,
        actor_id=actor_id,
        action=action,
        subject=f"zone:{zone_id}",
        detail={"version": version},
        now_ms=now_ms,
    )

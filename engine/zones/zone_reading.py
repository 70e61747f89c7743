"""Reads zones out of Postgres, as far as they have changed, and works out their cells."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Final

import asyncpg
import orjson

from config.limits import ZONES_PER_READ_MAX
from engine.core.database import Connection
from engine.core.ids import OrgId, ZoneId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import ZoneKind
from engine.geo.zone_geometry import stored_polygon
from engine.geo.zones import CoveredZone, Zone, ZoneMap

VERSIONS: Final = "SELECT zone_id, version FROM zone WHERE active AND deleted_at IS NULL"
ZONES: Final = """
SELECT zone_id, org_id, kind, name, geometry::text AS geometry, dwell_s, version
  FROM zone
 WHERE zone_id = ANY($1::uuid[])
"""


class ZoneShelf:
    """The zones that count, as far as they were read; one is read again only when its version has changed."""

    def __init__(self) -> None:
        self._covered: dict[ZoneId, CoveredZone] = {}

    async def refresh(self, conn: Connection) -> bool:
        """Read what has changed; return whether anything has."""
        versions = {ZoneId(row["zone_id"]): row["version"] for row in await conn.fetch(VERSIONS)}
        known = {zone_id: each.zone.version for zone_id, each in self._covered.items()}
        if versions == known:
            return False
        read = await _read(conn, [zone_id for zone_id, version in versions.items() if known.get(zone_id) != version])
        self._covered = {zone_id: each for zone_id, each in (self._covered | read).items() if zone_id in versions}
        return True

    def zones(self) -> ZoneMap:
        """Return the zones that count."""
        return _in_order(self._covered)

    async def zones_with(self, conn: Connection, zone_ids: Collection[ZoneId]) -> ZoneMap:
        """Return the zones that count and these, whether they still count or not."""
        others = await _read(conn, [zone_id for zone_id in zone_ids if zone_id not in self._covered])
        return _in_order(self._covered | others)


def _in_order(covered: Mapping[ZoneId, CoveredZone]) -> ZoneMap:
    return ZoneMap([covered[zone_id] for zone_id in sorted(covered)])


async def _read(conn: Connection, zone_ids: Collection[ZoneId]) -> dict[ZoneId, CoveredZone]:
    """Return zones with their cells, a few at a time: a connection that asks nothing for long is cut off."""
    wanted = list(zone_ids)
    found: dict[ZoneId, CoveredZone] = {}
    for first in range(0, len(wanted), ZONES_PER_READ_MAX):
        rows = await conn.fetch(ZONES, wanted[first : first + ZONES_PER_READ_MAX])
        # Half a second for a country, a millisecond for a block of houses: not on the event loop.
        found |= {each.zone.zone_id: each for each in await asyncio.to_thread(_covered, rows)}
    return found


def _covered(rows: list[asyncpg.Record]) -> list[CoveredZone]:
    return [CoveredZone.of(_zone(row)) for row in rows]


def _zone(row: asyncpg.Record) -> Zone:
    geometry: dict[str, Any] = orjson.loads(row["geometry"])
    return Zone(
        zone_id=ZoneId(row["zone_id"]),
        org_id=OrgId(row["org_id"]),
        kind=ZoneKind(row["kind"]),
        name=row["name"],
        dwell_ms=None if row["dwell_s"] is None else row["dwell_s"] * MS_PER_S,
        version=row["version"],
        polygon=stored_polygon(geometry),
    )

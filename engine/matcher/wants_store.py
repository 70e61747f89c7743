"""Reads what services need and customers wish, and where an organisation works."""

from typing import Final

import asyncpg
import numpy as np

from engine.core.database import Connection
from engine.core.ids import OrgId, PersonId
from engine.core.units import DEG_E7
from engine.core.vocabulary import ZoneKind
from engine.geo.cells import cells_of
from engine.geo.fixes import RECORD
from engine.matcher.ask import Wants
from engine.zones.zone_reading import ZoneShelf

# A customer's languages go before their service's. The kit as 'kind bit', because one list is one index lookup.
WANTS_COLUMNS: Final = """
       b.service_id, s.duration_min, s.level_wanted,
       ARRAY(SELECT k.kind || ' ' || k.bit
               FROM service_kit c JOIN kit_item k ON k.org_id = c.org_id AND k.code = c.code
              WHERE c.service_id = b.service_id) AS kit,
       ARRAY(SELECT k.bit
               FROM customer_language l JOIN kit_item k ON k.org_id = l.org_id AND k.code = l.code
              WHERE l.customer_id = b.customer_id AND k.kind = 'language') AS languages,
       ARRAY(SELECT c.worker_id FROM customer_worker c
              WHERE c.customer_id = b.customer_id AND c.wish = 'preferred') AS preferred,
       ARRAY(SELECT c.worker_id FROM customer_worker c
              WHERE c.customer_id = b.customer_id AND c.wish = 'blocked') AS blocked
"""
"""Of `booking b` and its `service s`, for `wants_of`."""


def wants_of(row: asyncpg.Record) -> Wants:
    """Return what a booking wants; where it lies is not judged here."""
    bits = dict.fromkeys(("certificate", "tool", "part", "vehicle", "language"), 0)
    for item in row["kit"]:
        kind, bit = item.split()
        bits[kind] |= 1 << int(bit)
    own = sum(1 << bit for bit in set(row["languages"]))
    return Wants(
        service_id=row["service_id"],
        certificates=bits["certificate"],
        tools=bits["tool"],
        vehicles=bits["vehicle"],
        parts=bits["part"],
        languages=own or bits["language"],
        level=row["level_wanted"],
        duration_min=row["duration_min"],
        preferred=frozenset(PersonId(each) for each in row["preferred"]),
        blocked=frozenset(PersonId(each) for each in row["blocked"]),
    )


class Areas:
    """Where organisations work: outside of no-go areas, and inside of a service area where they have any."""

    def __init__(self) -> None:
        self._shelf = ZoneShelf()
        self._zones = self._shelf.zones()
        self._with_service_areas: frozenset[OrgId] = frozenset()

    async def refresh(self, conn: Connection) -> None:
        """Read the zones that have changed."""
        if await self._shelf.refresh(conn):
            self._zones = self._shelf.zones()
            self._with_service_areas = frozenset(
                zone.org_id for zone in self._zones.zones if zone.kind is ZoneKind.SERVICE_AREA
            )

    def has(self, org_id: OrgId, lat_deg: float, lng_deg: float) -> bool:
        """Return whether an organisation works at this place."""
        if self._zones.org_number(org_id) < 0:
            return True
        pin = np.zeros(1, RECORD)
        pin["lat_e7"], pin["lng_e7"] = round(lat_deg * DEG_E7), round(lng_deg * DEG_E7)
        pin["cell"] = cells_of(pin["lat_e7"], pin["lng_e7"])
        if self._zones.mask(pin, org_id, {ZoneKind.NO_GO})[0]:
            return False
        return org_id not in self._with_service_areas or bool(self._zones.mask(pin, org_id, {ZoneKind.SERVICE_AREA})[0])

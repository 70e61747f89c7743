"""Which groups a trip belongs to: the coarse cells of its ends and its local hour of the week."""

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from engine.core.units import DEG_E7, MS_PER_S
from engine.eta.source import Floats
from engine.eta.trip_effects import HOURS, Keys, Trips
from engine.eta.trip_places import TripPlaces
from engine.geo.cells import cells_of, parents_of

TRIP_CELL_RESOLUTION: Final = 8
"""Hexagons of 0.7 km2: half of that tells no more on real taxis, and a city has trips for these."""


def trips_of(base_s: Floats, places: TripPlaces, hour_of_week: int) -> Trips:
    """Return the groups of all trips, which begin in the same hour."""
    begin, end = cells_of_ends(places)
    hours = np.full(len(base_s), hour_of_week, np.int64)
    return Trips(base_s, hours, begin[places.place], end[places.goal])


def cells_of_ends(places: TripPlaces) -> tuple[Keys, Keys]:
    """Return the coarse cell of each place, and of each goal."""
    return coarse_cells(places.lat_deg, places.lng_deg), coarse_cells(places.to_lat_deg, places.to_lng_deg)


def coarse_cells(lat_deg: Floats, lng_deg: Floats) -> Keys:
    """Return the coarse cell of each place."""
    fine = cells_of(np.round(lat_deg * DEG_E7).astype(np.int32), np.round(lng_deg * DEG_E7).astype(np.int32))
    return parents_of(fine, TRIP_CELL_RESOLUTION).astype(np.int64)


def hour_of_week(at_ms: int, zone: ZoneInfo) -> int:
    """Return the local hour, 0 on Monday from 00:00 to 167."""
    local = datetime.fromtimestamp(at_ms / MS_PER_S, zone)
    return local.weekday() * HOURS + local.hour

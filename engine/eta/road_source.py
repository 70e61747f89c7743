"""Travel times over our own road graph, as real trips have taught; the straight line where there is no road."""

from collections.abc import Callable
from typing import Final

import numpy as np

from engine.core.units import MS_PER_S
from engine.eta import road_times
from engine.eta.learned_times import LearnedTimes
from engine.eta.road_times import RoadTimes
from engine.eta.source import EtaMatrix, EtaOutcome, Floats, straight_arrivals
from engine.eta.trip_cells import trips_to_one

BASE_S_MIN: Final = 20.0
"""Nobody arrives sooner: getting out and in is part of every trip."""


class RoadSource:
    """One road index and what was learned on it; `hour_of_week` is asked the local hour (0-167) of Unix ms."""

    def __init__(self, times: RoadTimes, learned: LearnedTimes, hour_of_week: Callable[[int], int]) -> None:
        self._times = times
        self._learned = learned
        self._hour_of_week = hour_of_week

    async def arrivals(
        self, from_lat_deg: Floats, from_lng_deg: Floats, to_lat_deg: float, to_lng_deg: float, *, at_ms: int
    ) -> EtaMatrix:
        """Return the times; a place far from every road gets the straight line's and says so."""
        base_ms = self._times.milliseconds(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg)
        is_off = base_ms == road_times.OFF_GRAPH_MS
        base_s = np.maximum(base_ms / MS_PER_S, BASE_S_MIN)
        hour = self._hour_of_week(at_ms)
        trips = trips_to_one(base_s, from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg, hour)
        eta_s = self._learned.seconds(trips)
        low_s, high_s = self._learned.interval(trips, eta_s)
        outcome = np.where(is_off, EtaOutcome.OFF_GRAPH, EtaOutcome.ROADS).astype(np.uint8)
        if is_off.any():
            straight = straight_arrivals(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg)
            eta_s, low_s, high_s = (
                np.where(is_off, line, road)
                for line, road in ((straight.eta_s, eta_s), (straight.low_s, low_s), (straight.high_s, high_s))
            )
        return EtaMatrix(eta_s, low_s, high_s, outcome)


class MissingRoads:
    """Stands where a configured road file cannot be used: the straight line, under the name of why."""

    async def arrivals(
        self, from_lat_deg: Floats, from_lng_deg: Floats, to_lat_deg: float, to_lng_deg: float, *, at_ms: int
    ) -> EtaMatrix:
        """Return the straight line's times."""
        del at_ms
        return straight_arrivals(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg, EtaOutcome.GRAPH_MISSING)

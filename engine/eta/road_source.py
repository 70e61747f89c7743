"""Travel times over our own road graph, as real trips have taught; the straight line where there is no road."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from engine.core.units import MS_PER_S
from engine.eta import road_times
from engine.eta.learned_times import LearnedTimes
from engine.eta.road_times import RoadTimes
from engine.eta.source import EtaMatrix, EtaOutcome, Floats, Question, straight_answer, straight_arrivals
from engine.eta.trip_cells import cells_of_ends
from engine.eta.trip_places import places_of

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
        (found,) = await self.answers([Question(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg)], at_ms=at_ms)
        return found

    async def answers(self, questions: Sequence[Question], *, at_ms: int) -> list[EtaMatrix]:
        """Return the times of each question: each place and what was learned, once for all of them."""
        if not questions:
            return []
        places = places_of(questions)
        base_ms = self._times.of_trips(places)
        base_s = np.maximum(base_ms / MS_PER_S, BASE_S_MIN)
        hour = np.full(len(base_s), self._hour_of_week(at_ms), np.int64)
        begin, end = (self._learned.effects.ends(cells) for cells in cells_of_ends(places))
        eta_s, low_s, high_s = self._learned.times(base_s, hour, begin.chosen(places.place), end.chosen(places.goal))
        outcome = np.where(base_ms == road_times.OFF_GRAPH_MS, EtaOutcome.OFF_GRAPH, EtaOutcome.ROADS).astype(np.uint8)
        parts = [slice(*ends) for ends in pairwise(places.first.tolist())]
        found = [EtaMatrix(eta_s[part], low_s[part], high_s[part], outcome[part]) for part in parts]
        if not (outcome == EtaOutcome.OFF_GRAPH).any():
            return found
        return [_with_line(question, each) for question, each in zip(questions, found, strict=True)]


def _with_line(question: Question, roads: EtaMatrix) -> EtaMatrix:
    """Return the straight line's times for the places that are off the graph."""
    is_off = roads.outcome == EtaOutcome.OFF_GRAPH
    if not is_off.any():
        return roads
    line = straight_answer(question)
    return EtaMatrix(
        np.where(is_off, line.eta_s, roads.eta_s),
        np.where(is_off, line.low_s, roads.low_s),
        np.where(is_off, line.high_s, roads.high_s),
        roads.outcome,
    )


class MissingRoads:
    """Stands where a configured road file cannot be used: the straight line, under the name of why."""

    async def arrivals(
        self, from_lat_deg: Floats, from_lng_deg: Floats, to_lat_deg: float, to_lng_deg: float, *, at_ms: int
    ) -> EtaMatrix:
        """Return the straight line's times."""
        del at_ms
        return straight_arrivals(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg, EtaOutcome.GRAPH_MISSING)

    async def answers(self, questions: Sequence[Question], *, at_ms: int) -> list[EtaMatrix]:
        """Return the straight line's times of each question."""
        del at_ms
        return [straight_answer(each, EtaOutcome.GRAPH_MISSING) for each in questions]

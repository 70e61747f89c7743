"""Travel times over our own road graph, as real trips have taught; the straight line where there is no road."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.units import MS_PER_S
from engine.eta import road_times
from engine.eta.learned_times import LearnedTimes
from engine.eta.road_times import RoadTimes
from engine.eta.source import EtaMatrix, EtaOutcome, Floats, Question, straight_answer, straight_arrivals
from engine.eta.trip_cells import trips_of

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
        """Return the times of each question: the roads one by one, what was learned for all of them in one go."""
        if not questions:
            return []
        base_ms = [
            self._times.milliseconds(q.from_lat_deg, q.from_lng_deg, q.to_lat_deg, q.to_lng_deg) for q in questions
        ]
        ends = np.cumsum([len(each) for each in base_ms])[:-1]
        base_s = np.maximum(np.concatenate(base_ms) / MS_PER_S, BASE_S_MIN)
        trips = trips_of(base_s, questions, self._hour_of_week(at_ms))
        eta_s = self._learned.seconds(trips)
        low_s, high_s = self._learned.interval(trips, eta_s)
        split = zip(questions, base_ms, *(np.split(each, ends) for each in (eta_s, low_s, high_s)), strict=True)
        return [_answer(question, ms == road_times.OFF_GRAPH_MS, EtaTimes(*times)) for question, ms, *times in split]


class EtaTimes(NamedTuple):
    """Seconds of a question's trips over roads, and between which 8 of 10 lie."""

    eta_s: Floats
    low_s: Floats
    high_s: Floats


def _answer(question: Question, is_off: NDArray[np.bool_], times: EtaTimes) -> EtaMatrix:
    outcome = np.where(is_off, EtaOutcome.OFF_GRAPH, EtaOutcome.ROADS).astype(np.uint8)
    if not is_off.any():
        return EtaMatrix(times.eta_s, times.low_s, times.high_s, outcome)
    line = straight_answer(question)
    straight = (line.eta_s, line.low_s, line.high_s)
    eta_s, low_s, high_s = (np.where(is_off, line, road) for line, road in zip(straight, times, strict=True))
    return EtaMatrix(eta_s, low_s, high_s, outcome)


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

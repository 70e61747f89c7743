"""Where travel times come from: one seam in front of the straight line, our own road graph and somebody's router."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from engine.eta import straight_line

Floats: TypeAlias = NDArray[np.float64]
Outcomes: TypeAlias = NDArray[np.uint8]


class EtaOutcome(IntEnum):
    """How a time was found; stored in decision logs, so numbers never change their meaning."""

    STRAIGHT_LINE = 0
    """From the two ends alone, as configured."""
    ROADS = 1
    """Over the road graph."""
    ROUTER = 2
    """Asked of an OSRM or Valhalla server."""
    OFF_GRAPH = 3
    """Straight line: one end is further from any road than the limit."""
    NO_ROUTE = 4
    """Straight line: the roads or the router know no way."""
    GRAPH_MISSING = 5
    """Straight line: the configured road file is absent or damaged."""
    ROUTER_DOWN = 6
    """Straight line: the router failed, took too long, or is left alone after failing."""


@dataclass(frozen=True, slots=True)
class EtaMatrix:
    """Seconds from each of n places to one; 8 of 10 trips end between `low_s` and `high_s`."""

    eta_s: Floats
    low_s: Floats
    high_s: Floats
    outcome: Outcomes
    """`EtaOutcome` of each."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Question:
    """Many places, one goal; degrees."""

    from_lat_deg: Floats
    from_lng_deg: Floats
    to_lat_deg: float
    to_lng_deg: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Questions(Sequence[Question]):
    """Many questions as columns; degrees. Question i has the places `first[i]:first[i + 1]`."""

    from_lat_deg: Floats
    from_lng_deg: Floats
    first: NDArray[np.int32]
    to_lat_deg: Floats
    to_lng_deg: Floats

    @classmethod
    def of(cls, questions: Sequence[Question]) -> "Questions":
        """Return these questions as columns, as which they may have come."""
        if isinstance(questions, cls):
            return questions
        first = np.zeros(len(questions) + 1, np.int32)
        np.cumsum([len(each.from_lat_deg) for each in questions], out=first[1:])
        return cls(
            np.concatenate([each.from_lat_deg for each in questions], dtype=np.float64),
            np.concatenate([each.from_lng_deg for each in questions], dtype=np.float64),
            first,
            np.array([each.to_lat_deg for each in questions], np.float64),
            np.array([each.to_lng_deg for each in questions], np.float64),
        )

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.to_lat_deg)

    @overload
    def __getitem__(self, at: int) -> Question: ...
    @overload
    def __getitem__(self, at: slice) -> list[Question]: ...
    def __getitem__(self, at: int | slice) -> Question | list[Question]:
        """Return one of them, or some."""
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        number = range(len(self))[at]
        here = slice(self.first[number], self.first[number + 1])
        goal = float(self.to_lat_deg[number]), float(self.to_lng_deg[number])
        return Question(self.from_lat_deg[here], self.from_lng_deg[here], *goal)


class EtaSource(Protocol):
    """Travel times from many places to one. Never raises for a bad place or a lost server: it names the outcome."""

    async def arrivals(
        self, from_lat_deg: Floats, from_lng_deg: Floats, to_lat_deg: float, to_lng_deg: float, *, at_ms: int
    ) -> EtaMatrix:
        """Return the times of trips that begin at `at_ms` (Unix)."""
        ...

    async def answers(self, questions: Sequence[Question], *, at_ms: int) -> list[EtaMatrix]:
        """Return what `arrivals` would say to each question."""
        ...


class StraightLineSource:
    """The source that needs nothing: the square-root law of `engine.eta.straight_line`."""

    async def arrivals(
        self, from_lat_deg: Floats, from_lng_deg: Floats, to_lat_deg: float, to_lng_deg: float, *, at_ms: int
    ) -> EtaMatrix:
        """Return the times; they are the same at every hour."""
        del at_ms
        return straight_arrivals(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg)

    async def answers(self, questions: Sequence[Question], *, at_ms: int) -> list[EtaMatrix]:
        """Return the times of each question."""
        del at_ms
        return [straight_answer(each) for each in questions]


def straight_arrivals(
    from_lat_deg: Floats,
    from_lng_deg: Floats,
    to_lat_deg: float,
    to_lng_deg: float,
    outcome: EtaOutcome = EtaOutcome.STRAIGHT_LINE,
) -> EtaMatrix:
    """Return the straight line's times under the name of why it was asked."""
    seconds = straight_line.seconds_of(
        straight_line.straight_metres(from_lat_deg, from_lng_deg, to_lat_deg, to_lng_deg)
    )
    outcomes = np.full(len(seconds), outcome, np.uint8)
    return EtaMatrix(seconds, seconds * straight_line.LOW_RATIO, seconds * straight_line.HIGH_RATIO, outcomes)


def straight_answer(question: Question, outcome: EtaOutcome = EtaOutcome.STRAIGHT_LINE) -> EtaMatrix:
    """Return `straight_arrivals` of a question."""
    q = question
    return straight_arrivals(q.from_lat_deg, q.from_lng_deg, q.to_lat_deg, q.to_lng_deg, outcome)

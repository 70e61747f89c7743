"""When a worker will be at their customer's, by the installation's source of travel times.

A flush asks `of` and is answered at once: by the straight line, times what the source last said of this job in
proportion to it. `run` asks the source beside the flushes, a few jobs a turn, so that neither a road graph nor a router
that does not answer holds up a ping. Before its first answer, and where the source falls back, it is the straight line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from config.limits import CUSTOMER_ETA_KEPT_MS, CUSTOMER_ETA_TURN_MS, CUSTOMER_ETAS_A_TURN_MAX, CUSTOMER_ETAS_EVERY_MS
from engine.core.clock import Clock
from engine.eta.road_source import BASE_S_MIN
from engine.eta.source import EtaOutcome, EtaSource, Question
from engine.eta.straight_line import Eta, estimate
from gateway_ws.jobs import Job

EtaOf: TypeAlias = Callable[[int, Job, float, float], Eta]
"""Slot, job, and where the worker is in degrees."""

KNOWN_WAYS = (EtaOutcome.ROADS, EtaOutcome.ROUTER)
"""All other outcomes are the straight line itself, which nothing is to be rounded into twice."""
LINE_S_MIN = BASE_S_MIN
"""At the door a straight line of no seconds is in proportion to nothing, and no trip by road is shorter."""


@dataclass(frozen=True, slots=True)
class _Answer:
    booking_id: str
    asked_ms: int
    ratios: tuple[float, float, float] | None
    """Time, low and high over the straight line's seconds; `None`: the source had nothing better than that line."""


def straight_eta(slot: int, job: Job, lat_deg: float, lng_deg: float) -> Eta:
    """Return the straight line's time."""
    del slot
    return estimate(lat_deg, lng_deg, job.lat_deg, job.lng_deg)


class CustomerEtas:
    """The jobs of one gateway. `run` it in a task of the loop that asks `of`."""

    def __init__(self, source: EtaSource, *, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._answers: dict[int, _Answer] = {}
        self._wanted: dict[int, tuple[Job, float, float]] = {}

    def of(self, slot: int, job: Job, lat_deg: float, lng_deg: float) -> Eta:
        """Return the time from a place, and have the source asked where its last answer is old."""
        line = straight_eta(slot, job, lat_deg, lng_deg)
        answer = self._answers.get(slot)
        if answer is not None and answer.booking_id != job.booking_id:
            answer = None
        if answer is None or self._clock.now_ms() - answer.asked_ms >= CUSTOMER_ETAS_EVERY_MS:
            self._wanted[slot] = job, lat_deg, lng_deg
        if answer is None or answer.ratios is None:
            return line
        line_s = max(line.eta_s, LINE_S_MIN)
        eta, low, high = answer.ratios
        return Eta(round(line_s * eta), round(line_s * low), round(line_s * high))

    async def run(self) -> None:
        """Ask the source, for ever."""
        while True:
            await self._clock.sleep_ms(CUSTOMER_ETA_TURN_MS)
            await self.turn()

    async def turn(self) -> None:
        """Ask about those who wait longest, at most `limits.CUSTOMER_ETAS_A_TURN_MAX` of them."""
        now_ms = self._clock.now_ms()
        old = [slot for slot, each in self._answers.items() if now_ms - each.asked_ms > CUSTOMER_ETA_KEPT_MS]
        for slot in old:
            del self._answers[slot]
        slots = list(self._wanted)[:CUSTOMER_ETAS_A_TURN_MAX]
        if not slots:
            return
        asked = [self._wanted.pop(slot) for slot in slots]
        questions = [Question(np.array([lat]), np.array([lng]), job.lat_deg, job.lng_deg) for job, lat, lng in asked]
        found = await self._source.answers(questions, at_ms=now_ms)
        for slot, (job, lat_deg, lng_deg), times in zip(slots, asked, found, strict=True):
            ratios = None
            if times.outcome[0] in KNOWN_WAYS:
                line_s = max(straight_eta(slot, job, lat_deg, lng_deg).eta_s, LINE_S_MIN)
                eta, low, high = (float(each[0]) / line_s for each in (times.eta_s, times.low_s, times.high_s))
                ratios = eta, low, high
            self._answers[slot] = _Answer(job.booking_id, now_ms, ratios)

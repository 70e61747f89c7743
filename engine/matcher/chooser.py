"""Finds out what a decision is made from, and has it made: who is near, how long they need, who is soon free.

The shell around `decision` and `window_round`: it asks the frame (or Redis), the source of travel times and Postgres,
and changes nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from prometheus_client import Counter, Histogram

from config.limits import LOOK_AHEAD_MS
from engine.core.clock import Clock
from engine.core.units import MS_PER_MIN
from engine.eta.source import EtaMatrix, EtaOutcome, EtaSource, Question
from engine.matcher.ask import Ask, Wants
from engine.matcher.candidate_search import CandidateSearch, Found
from engine.matcher.decision import Circumstances, Decision, Shortlist, decide
from engine.matcher.dispatch_store import Claim
from engine.matcher.finishing import Soon
from engine.matcher.frame import places_deg
from engine.matcher.offers import OfferRound, PastOffer, workers_not_to_ask
from engine.matcher.window_round import Open, decisions_of, prices_of, problem_of
from engine.risk.score import booking_risk
from engine.risk.surface import RiskSurface

US_PER_NS: Final = 1e-3
S_PER_NS: Final = 1e-9

ETAS = Counter("clenzy_dispatch_eta_total", "Travel times that decisions were made by.", ["outcome"])
CANDIDATES = Histogram(
    "clenzy_dispatch_candidates",
    "Workers looked at for one decision.",
    buckets=(0, 1, 5, 20, 50, 100, 250, 500, 1000, 2000),
)
FIND_SECONDS = Histogram(
    "clenzy_dispatch_find_seconds",
    "From a claim to its shortlist: cells, positions and the kernel.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1),
)
SOLVE_SECONDS = Histogram(
    "clenzy_dispatch_solve_seconds",
    "The exact solver, for all bookings of a window.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One claimed booking, and what deciding about it needs."""

    claim: Claim
    past: Sequence[PastOffer]
    """Its earlier offers that say something about their worker."""
    asking: OfferRound
    wants: Wants
    search: CandidateSearch
    started_ns: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Seen:
    """Who could go to a booking of a window, before travel times are known."""

    free: Shortlist
    soon: Shortlist | None
    waited_min: float
    circumstances: Circumstances
    is_pinned: bool = False


class Chooser:
    """Turns jobs into decisions."""

    def __init__(self, *, eta: EtaSource, clock: Clock, surface: RiskSurface) -> None:
        self._eta = eta
        self._clock = clock
        self._surface = surface

    async def alone(self, job: Job) -> Decision:
        """Decide about one booking by itself.

        Raises:
            RedisError: Redis did not answer.
        """
        shortlist, _, circumstances = await self._listed(job)
        (arrivals,) = await self._arrivals([shortlist])
        return decide(shortlist, arrivals, circumstances)

    async def seen(self, job: Job, soon: Soon) -> Seen:
        """Return who could go to a booking of a window, now or soon.

        Raises:
            RedisError: Redis did not answer.
        """
        free, ask, circumstances = await self._listed(job)
        now_ms = self._clock.now_ms()
        waited_ms = now_ms - job.claim.created_at_ms
        ahead = None
        if len(soon.slots) and waited_ms < LOOK_AHEAD_MS:
            not_to_ask = workers_not_to_ask(job.past, ask_again=False, now_ms=now_ms)
            ahead = await job.search.soon_free(ask, soon, org_id=job.claim.org_id, not_to_ask=not_to_ask)
        is_pinned = job.claim.pinned_worker_id is not None
        return Seen(free, ahead, max(0.0, waited_ms / MS_PER_MIN), circumstances, is_pinned)

    async def together(
        self, bookings: Sequence[Seen], soon: Soon, *, window_ms: int, is_short: bool = False
    ) -> list[Decision]:
        """Decide about several bookings at the least cost for all; `is_short`: more is asked for than can be done."""
        free_times = await self._arrivals([each.free for each in bookings])
        ahead_times = await self._arrivals([each.soon for each in bookings])
        timed = [
            Open(each.free, free, each.soon, ahead, each.waited_min, each.circumstances, each.is_pinned)
            for each, free, ahead in zip(bookings, free_times, ahead_times, strict=True)
        ]
        prices = prices_of(timed)
        problem = problem_of(timed, prices, soon, now_ms=self._clock.now_ms(), is_short=is_short)
        began_ns = self._clock.steady_ns()
        plan = await asyncio.to_thread(problem.solve)
        took_ns = self._clock.steady_ns() - began_ns
        SOLVE_SECONDS.observe(took_ns * S_PER_NS)
        return decisions_of(timed, prices, problem, plan, window_ms=window_ms, solver_us=round(took_ns * US_PER_NS))

    async def _listed(self, job: Job) -> tuple[Shortlist, Ask, Circumstances]:
        claim, now_ms = job.claim, self._clock.now_ms()
        risk = booking_risk(self._surface, lat_deg=claim.lat_deg, lng_deg=claim.lng_deg, at_ms=now_ms, tz=claim.tz)
        ask = Ask(
            lat_deg=claim.lat_deg, lng_deg=claim.lng_deg, skill_bit=claim.skill_bit, risk=risk.score, wants=job.wants
        )
        found, asks_again = await self._found(job, ask, now_ms)
        CANDIDATES.observe(found.shortlist.looked_at)
        FIND_SECONDS.observe((self._clock.steady_ns() - job.started_ns) * S_PER_NS)
        policy = job.search.policy.label
        return found.shortlist, ask, Circumstances(policy, risk, found.searched_m, asks_again)

    async def _found(self, job: Job, ask: Ask, now_ms: int) -> tuple[Found, bool]:
        """Look within each of the round's radii until somebody is found; then once more for who said no long ago."""
        org_id, only = job.claim.org_id, job.claim.pinned_worker_id
        not_yet = workers_not_to_ask(job.past, ask_again=False, now_ms=now_ms)
        *nearer_m, radius_m = job.asking.radii_m
        for near_m in nearer_m:
            found = await job.search.find(ask, org_id=org_id, not_to_ask=not_yet, radius_m=near_m, only=only)
            if len(found.shortlist):
                return found, False
        found = await job.search.find(ask, org_id=org_id, not_to_ask=not_yet, radius_m=radius_m, only=only)
        not_even_again = workers_not_to_ask(job.past, ask_again=True, now_ms=now_ms)
        if len(found.shortlist) or not_even_again == not_yet:
            return found, False
        again = await job.search.find(ask, org_id=org_id, not_to_ask=not_even_again, radius_m=radius_m, only=only)
        return again, True

    async def _arrivals(self, shortlists: Sequence[Shortlist | None]) -> list[EtaMatrix | None]:
        """Return the travel times of each list that has anybody on it."""
        asked = [at for at, each in enumerate(shortlists) if each is not None and len(each)]
        questions = [_question(each) for each in shortlists if each is not None and len(each)]
        found: list[EtaMatrix | None] = [None] * len(shortlists)
        if not questions:
            return found
        for at, answer in zip(asked, await self._eta.answers(questions, at_ms=self._clock.now_ms()), strict=True):
            found[at] = answer
        for outcome, count in outcomes_of(*(each for each in found if each is not None)).items():
            ETAS.labels(outcome).inc(count)
        return found


def outcomes_of(*answers: EtaMatrix) -> Mapping[str, int]:
    """Return how many travel times were found which way, by the name of the way."""
    counts = np.bincount(np.concatenate([each.outcome for each in answers]))
    return {EtaOutcome(outcome).name.lower(): int(counts[outcome]) for outcome in np.flatnonzero(counts).tolist()}


def _question(shortlist: Shortlist) -> Question:
    lat_deg, lng_deg = places_deg(shortlist.frame)
    return Question(lat_deg, lng_deg, shortlist.ask.lat_deg, shortlist.ask.lng_deg)

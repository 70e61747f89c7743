"""Finds out what a decision is made from, and has it made: who is near, how long they need, who is soon free.

The shell around `decision` and `window_round`: it asks the frame (or Redis), the source of travel times and Postgres,
and changes nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import Counter, Histogram

from config.limits import LOOK_AHEAD_MS
from engine.core.clock import Clock
from engine.core.units import MS_PER_MIN
from engine.eta.source import EtaMatrix, EtaOutcome, EtaSource
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
        return decide(shortlist, await self._arrivals(shortlist), circumstances)

    async def opened(self, job: Job, soon: Soon) -> Open:
        """Return what a window needs to know of a booking.

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
        return Open(
            free=free,
            free_arrivals=await self._arrivals(free),
            soon=ahead,
            soon_arrivals=None if ahead is None else await self._arrivals(ahead),
            waited_min=max(0.0, waited_ms / MS_PER_MIN),
            circumstances=circumstances,
        )

    async def together(self, bookings: Sequence[Open], soon: Soon, *, window_ms: int) -> list[Decision]:
        """Decide about several bookings at the least cost for all."""
        now_ms = self._clock.now_ms()
        prices = prices_of(bookings)
        problem = problem_of(bookings, prices, soon, now_ms=now_ms)
        began_ns = self._clock.steady_ns()
        plan = await asyncio.to_thread(problem.solve)
        took_ns = self._clock.steady_ns() - began_ns
        SOLVE_SECONDS.observe(took_ns * S_PER_NS)
        return decisions_of(bookings, prices, problem, plan, window_ms=window_ms, solver_us=round(took_ns * US_PER_NS))

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

    async def _arrivals(self, shortlist: Shortlist) -> EtaMatrix | None:
        if len(shortlist) == 0:
            return None
        lat_deg, lng_deg = places_deg(shortlist.frame)
        ask, at_ms = shortlist.ask, self._clock.now_ms()
        found = await self._eta.arrivals(lat_deg, lng_deg, ask.lat_deg, ask.lng_deg, at_ms=at_ms)
        for outcome, count in outcomes_of(found).items():
            ETAS.labels(outcome).inc(count)
        return found


def outcomes_of(arrivals: EtaMatrix) -> Mapping[str, int]:
    """Return how many travel times were found which way, by the name of the way."""
    counts: dict[str, int] = {}
    for outcome in arrivals.outcome.tolist():
        name = EtaOutcome(outcome).name.lower()
        counts[name] = counts.get(name, 0) + 1
    return counts

"""Finds out what a decision is made from, and has it made: who is near, how long they need, who is soon free.

The shell around `decision` and `window_round`: it asks the frame (or Redis), the source of travel times and Postgres,
and changes nothing.
"""

import asyncio
import collections
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np
from prometheus_client import Counter, Histogram

from config.limits import LOOK_AHEAD_MS
from engine.core.clock import Clock
from engine.core.ids import PersonId
from engine.core.units import MS_PER_MIN
from engine.eta.source import EtaMatrix, EtaOutcome, EtaSource, Questions
from engine.matcher.ask import Ask, Wants
from engine.matcher.candidate_search import CandidateSearch, Found, Sought
from engine.matcher.decision import Circumstances, Decision, decide
from engine.matcher.dispatch_store import Claim
from engine.matcher.finishing import Soon
from engine.matcher.frame import degrees_of
from engine.matcher.offers import OfferRound, PastOffer, workers_not_to_ask
from engine.matcher.shortlist import Shortlist, columns_of
from engine.matcher.window_round import Open, decisions_of, prices_of, problem_of
from engine.risk.score import Risk, booking_risks
from engine.risk.surface import RiskSurface

US_PER_NS: Final = 1e-3
S_PER_NS: Final = 1e-9
NOBODY: Final[frozenset[PersonId]] = frozenset()

ETAS = Counter("clenzy_dispatch_eta_total", "Travel times that decisions were made by.", ["outcome"])
CANDIDATES = Histogram(
    "clenzy_dispatch_candidates",
    "Most workers looked at for a booking of a round.",
    buckets=(0, 1, 5, 20, 50, 100, 250, 500, 1000, 2000),
)
FIND_SECONDS = Histogram(
    "clenzy_dispatch_find_seconds",
    "From the first claim of a round to the shortlists of its bookings: cells, positions and the kernel.",
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
    crew_id: UUID | None = None


class _Asked(NamedTuple):
    """A booking as the ranking sees it, and where its risk comes from."""

    ask: Ask
    risk: Risk


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
        ((shortlist, circumstances),) = await self._listed([job], self._asked([job]))
        (arrivals,) = await self._arrivals([shortlist])
        return decide(shortlist, arrivals, circumstances)

    async def seen(self, jobs: Sequence[Job], soon: Soon) -> list[Seen]:
        """Return who could go to each booking of a window, now or soon.

        Raises:
            RedisError: Redis did not answer.
        """
        asked = self._asked(jobs)
        listed = await self._listed(jobs, asked)
        now_ms = self._clock.now_ms()
        waited_ms = [now_ms - job.claim.created_at_ms for job in jobs]
        ahead: dict[int, Shortlist] = {}
        if len(soon.slots):
            # Who is pinned is asked or waited for, and nobody else.
            young = [
                at
                for at, (job, waited) in enumerate(zip(jobs, waited_ms, strict=True))
                if waited < LOOK_AHEAD_MS and job.claim.pinned_worker_id is None
            ]
            ahead = dict(
                zip(young, await self._soon_free([(jobs[at], asked[at]) for at in young], soon, now_ms), strict=True)
            )
        return [
            Seen(
                free,
                ahead.get(at),
                max(0.0, waited / MS_PER_MIN),
                circumstances,
                job.claim.pinned_worker_id is not None,
                job.claim.crew_id,
            )
            for at, (job, (free, circumstances), waited) in enumerate(zip(jobs, listed, waited_ms, strict=True))
        ]

    async def together(
        self, bookings: Sequence[Seen], soon: Soon, *, window_ms: int, is_short: bool = False
    ) -> list[Decision]:
        """Decide about several bookings at the least cost for all; `is_short`: more is asked for than can be done."""
        free_times = await self._arrivals([each.free for each in bookings])
        ahead_times = await self._arrivals([each.soon for each in bookings])
        timed = [
            Open(each.free, free, each.soon, ahead, each.waited_min, each.circumstances, each.is_pinned, each.crew_id)
            for each, free, ahead in zip(bookings, free_times, ahead_times, strict=True)
        ]
        prices = prices_of(timed)
        problem = problem_of(timed, prices, soon, now_ms=self._clock.now_ms(), is_short=is_short)
        began_ns = self._clock.steady_ns()
        plan = await asyncio.to_thread(problem.solve)
        took_ns = self._clock.steady_ns() - began_ns
        SOLVE_SECONDS.observe(took_ns * S_PER_NS)
        return decisions_of(timed, prices, problem, plan, window_ms=window_ms, solver_us=round(took_ns * US_PER_NS))

    def _asked(self, jobs: Sequence[Job]) -> list[_Asked]:
        claims = [job.claim for job in jobs]
        places = [(claim.lat_deg, claim.lng_deg, claim.tz) for claim in claims]
        risks = booking_risks(self._surface, places, at_ms=self._clock.now_ms())
        return [
            _Asked(Ask(claim.lat_deg, claim.lng_deg, claim.skill_bit, risk.score, job.wants), risk)
            for job, claim, risk in zip(jobs, claims, risks, strict=True)
        ]

    async def _listed(self, jobs: Sequence[Job], asked: Sequence[_Asked]) -> list[tuple[Shortlist, Circumstances]]:
        found = await _found(jobs, asked, now_ms=self._clock.now_ms())
        if jobs:
            CANDIDATES.observe(max(each.shortlist.looked_at for each, _ in found))
            FIND_SECONDS.observe((self._clock.steady_ns() - min(job.started_ns for job in jobs)) * S_PER_NS)
        return [
            (each.shortlist, Circumstances(job.search.policy.label, risk, each.searched_m, asks_again))
            for job, (_, risk), (each, asks_again) in zip(jobs, asked, found, strict=True)
        ]

    async def _soon_free(self, asking: Sequence[tuple[Job, _Asked]], soon: Soon, now_ms: int) -> list[Shortlist]:
        sought = [
            Sought(asked.ask, job.claim.org_id, workers_not_to_ask(job.past, ask_again=False, now_ms=now_ms))
            for job, asked in asking
        ]
        return await asking[0][0].search.soon_free(sought, soon) if asking else []

    async def _arrivals(self, shortlists: Sequence[Shortlist | None]) -> list[EtaMatrix | None]:
        """Return the travel times of each list that has anybody on it."""
        asked = {at: each for at, each in enumerate(shortlists) if each is not None}
        found: list[EtaMatrix | None] = [None] * len(shortlists)
        if not any(map(len, asked.values())):
            return found
        answers = await self._eta.answers(_questions(list(asked.values())), at_ms=self._clock.now_ms())
        for (at, each), answer in zip(asked.items(), answers, strict=True):
            found[at] = answer if len(each) else None
        for outcome, times in outcomes_of(*answers).items():
            ETAS.labels(outcome).inc(times)
        return found


def outcomes_of(*answers: EtaMatrix) -> Mapping[str, int]:
    """Return how many travel times were found which way, by the name of the way."""
    counts = np.bincount(np.concatenate([each.outcome for each in answers]))
    return {EtaOutcome(outcome).name.lower(): int(counts[outcome]) for outcome in np.flatnonzero(counts).tolist()}


@dataclass(frozen=True, slots=True)
class _Step:
    """How one booking looks for workers once; `asks_again`: also among who said no long ago."""

    sought: Sought
    asks_again: bool


def _steps(job: Job, ask: Ask, needed: int, now_ms: int) -> Iterator[_Step]:
    """Yield how a booking looks until enough are found: within each of its radii, then among who said no long ago."""
    org_id, only = job.claim.org_id, job.claim.pinned_worker_id
    not_yet = not_even_again = NOBODY
    if job.past:
        not_yet = workers_not_to_ask(job.past, ask_again=False, now_ms=now_ms)
        not_even_again = workers_not_to_ask(job.past, ask_again=True, now_ms=now_ms)
    for radius_m in job.asking.radii_m:
        yield _Step(Sought(ask, org_id, not_yet, radius_m, only, needed), asks_again=False)
    if not_even_again != not_yet:
        yield _Step(Sought(ask, org_id, not_even_again, job.asking.radii_m[-1], only, needed), asks_again=True)


async def _found(jobs: Sequence[Job], asked: Sequence[_Asked], *, now_ms: int) -> list[tuple[Found, bool]]:
    """Look for all bookings at once, then a step further for those who found too few; a round has one search."""
    needed = _needed(jobs)
    found: dict[int, tuple[Found, bool]] = {}
    steps = [_steps(job, each.ask, count, now_ms) for job, each, count in zip(jobs, asked, needed, strict=True)]
    looking: Sequence[int] = range(len(jobs))
    while taken := [(at, step) for at in looking if (step := next(steps[at], None)) is not None]:
        answers = await jobs[0].search.find([step.sought for _, step in taken])
        found |= {at: (each, step.asks_again) for (at, step), each in zip(taken, answers, strict=True)}
        looking = [at for at, _ in taken if len(found[at][0].shortlist) < needed[at]]
    return [found[at] for at in range(len(jobs))]


def _needed(jobs: Sequence[Job]) -> list[int]:
    """Return how many workers each booking has to find: one, or as many as its crew has seats to fill in this round.

    With fewer, all seats could have found the same ones, and none of them would ever look further.
    """
    claims = [job.claim for job in jobs]
    seats = collections.Counter(claim.crew_id for claim in claims)
    return [1 if claim.crew_id is None or claim.pinned_worker_id else seats[claim.crew_id] for claim in claims]


def _questions(shortlists: Sequence[Shortlist]) -> Questions:
    columns = columns_of(shortlists)
    goals = np.array([(each.ask.lat_deg, each.ask.lng_deg) for each in shortlists], np.float64)
    places = degrees_of(columns.places_km, columns.origin_deg)
    return Questions(*places, columns.first, *np.ascontiguousarray(goals.T))

"""The matcher's durable loop: wake, claim what is due, decide, save the offer with its reasons, all over again.

It holds nothing that cannot be read again. Killed at any instant it leaves at most a lease that runs out and an offer
that expires; several matchers share the work through claims, and losing a race costs one of them a moment.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid4

import structlog
from prometheus_client import Counter, Histogram
from redis.exceptions import RedisError

from config.limits import (
    DISPATCH_BATCH_MAX,
    DISPATCH_PARALLEL_MAX,
    DISPATCH_POLL_MS,
    DISPATCH_RETRY_MS,
)
from engine.core.clock import Clock
from engine.core.database import CONNECTION_LOST, POSTGRES_ERRORS, Pool
from engine.core.errors import Conflict
from engine.core.ids import OfferId, PersonId
from engine.core.redis_store import RedisClient
from engine.core.units import MS_PER_S
from engine.core.vocabulary import OfferState
from engine.geo.cell_index import CellIndex
from engine.geo.followed_mirror import FollowedMirror
from engine.matcher.ask import Ask, Wants
from engine.matcher.candidate_search import CandidateSearch, Found
from engine.matcher.cost_policy import DEFAULT_POLICY, CostPolicy
from engine.matcher.decision import Ranked
from engine.matcher.dispatch_store import (
    Claim,
    LogEntry,
    Proposal,
    claim_due,
    postpone,
    save_offer,
    save_unserved,
)
from engine.matcher.live_frame import LiveFrames
from engine.matcher.offer_store import expire_offers, past_offers, withdraw_idle_offers
from engine.matcher.offers import PastOffer, is_exhausted, workers_not_to_ask
from engine.matcher.wants_store import read_wants
from engine.matcher.worker_feed import WorkerFeed
from engine.matcher.worker_table import WorkerTable
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Listener, OnNotify, Wake
from engine.risk.score import Risk, booking_risk
from engine.risk.surface import NEUTRAL, RiskSurface

log = structlog.get_logger(__name__)

STORE_ERRORS: Final = (*POSTGRES_ERRORS, RedisError)
AWAY_ERRORS: Final = (*CONNECTION_LOST, RedisError)
"""Errors that say nothing about the booking at hand: the round ends. Any other one is that booking's alone."""
LOST: Final = "lost"
"""Somebody else moved the booking or took everybody found."""
NEW_VERSION: Final = 1
"""A booking at this version was just created: nobody was asked for it yet."""
DECIMALS: Final = 4
US_PER_NS: Final = 1e-3
S_PER_NS: Final = 1e-9

DECISIONS = Counter("clenzy_dispatch_decisions_total", "Decisions about a claimed booking.", ["outcome"])
ENDED = Counter("clenzy_offers_ended_total", "Offers that the matcher ended.", ["how"])
CANDIDATES = Histogram(
    "clenzy_dispatch_candidates",
    "Workers looked at for one decision.",
    buckets=(0, 1, 5, 20, 50, 100, 250, 500, 1000, 2000),
)
FIND_SECONDS = Histogram(
    "clenzy_dispatch_find_seconds",
    "From a claim to its ranking: cells, positions and the kernel.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1),
)
OFFER_SECONDS = Histogram(
    "clenzy_booking_to_offer_seconds",
    "From a booking's creation to its first offer.",
    buckets=(0.005, 0.01, 0.015, 0.02, 0.03, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800),
)


@dataclass(frozen=True, slots=True)
class _Job:
    """One claimed booking, and what deciding about it needs."""

    claim: Claim
    past: list[PastOffer]
    """Its earlier offers that say something about their worker."""
    wants: Wants
    search: CandidateSearch
    started_ns: int


class Dispatcher:
    """Turns searching bookings into offers, and takes back offers that ended unanswered."""

    def __init__(  # noqa: PLR0913 - the stores, the clocks and the model: a matcher is made of them
        self,
        *,
        pool: Pool,
        redis: RedisClient,
        clock: Clock,
        fix_clock: Clock,
        surface: RiskSurface = NEUTRAL,
        policy: Callable[[], CostPolicy] = lambda: DEFAULT_POLICY,
        new_id: Callable[[], UUID] = uuid4,
        places: FollowedMirror | None = None,
    ) -> None:
        self._pool = pool
        self._cells = CellIndex(redis)
        self._clock = clock
        self._fix_clock = fix_clock
        self._surface = surface
        self._policy = policy
        self._new_id = new_id
        self._followed = places
        self._places = asyncio.Semaphore(DISPATCH_PARALLEL_MAX)
        self._due = Wake()
        self._idle = Wake()
        self.table = WorkerTable()
        self._frames: LiveFrames | None = None
        if places is not None:
            self._frames = LiveFrames(self.table, places.mirror)
            places.tell(self._frames)
        self.feed = WorkerFeed(pool=pool, redis=redis, table=self.table, clock=clock)

    async def run(self) -> None:
        """Dispatch until cancelled, through restarts of both stores."""
        handlers: dict[str, OnNotify] = {
            "clenzy_booking": self._due.set,
            "clenzy_worker": self.feed.notified,
            "clenzy_zone": self.feed.notified,
            "clenzy_hold": self._held,
        }
        listener = Listener(pool=self._pool, clock=self._clock, handlers=handlers)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listener.run())
            tasks.create_task(self.feed.run())
            if self._followed is not None:
                tasks.create_task(self._followed.run())
            for name, step in (("dispatch", self._dispatch_round), ("sweep", self._sweep_round)):
                tasks.create_task(keep_running(step, name=name, clock=self._clock, errors=STORE_ERRORS))

    async def dispatch_due(self) -> int:
        """Claim and decide one batch of due bookings; return how many were claimed."""
        if not self.feed.is_loaded:
            await self.feed.read()
        now_ms = self._clock.now_ms()
        async with self._pool.acquire() as conn:
            claims = await claim_due(conn, now_ms=now_ms, limit=DISPATCH_BATCH_MAX)
            asked_before = [claim.booking_id for claim in claims if claim.version > NEW_VERSION]
            past = await past_offers(conn, asked_before) if asked_before else {}
            wants = await read_wants(conn, [claim.booking_id for claim in claims]) if claims else {}
        search = CandidateSearch(
            self._cells,
            self.table,
            clock=self._clock,
            fix_clock=self._fix_clock,
            policy=self._policy(),
            frames=self._live_frames(),
        )
        decisions = (
            self._decide(claim, past.get(claim.booking_id, []), wants[claim.booking_id], search) for claim in claims
        )
        results = await asyncio.gather(*decisions, return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error
        return len(claims)

    async def sweep(self) -> int:
        """End offers that expired or must not ring on; return how many."""
        now_ms = self._clock.now_ms()
        async with self._pool.acquire() as conn:
            expired = await expire_offers(conn, now_ms=now_ms, limit=DISPATCH_BATCH_MAX)
            withdrawn = await withdraw_idle_offers(conn, now_ms=now_ms, limit=DISPATCH_BATCH_MAX)
        ENDED.labels(OfferState.EXPIRED).inc(expired)
        ENDED.labels(OfferState.WITHDRAWN).inc(withdrawn)
        return expired + withdrawn

    def _live_frames(self) -> LiveFrames | None:
        """The frames that are kept, while everything that was written is in them."""
        is_whole = self._followed is not None and self._followed.whole is not None
        return self._frames if is_whole else None

    async def _dispatch_round(self) -> None:
        while await self.dispatch_due() == DISPATCH_BATCH_MAX:
            pass
        await self._due.wait(DISPATCH_POLL_MS)

    async def _sweep_round(self) -> None:
        await self.sweep()
        await self._idle.wait(DISPATCH_POLL_MS)

    def _held(self, payload: str) -> None:
        self.feed.notified(payload)
        self._idle.set()

    async def _decide(self, claim: Claim, past: Sequence[PastOffer], wants: Wants, search: CandidateSearch) -> None:
        async with self._places:
            telling = [offer for offer in past if offer.state is not OfferState.WITHDRAWN]
            job = _Job(claim, telling, self._placed(claim, wants), search, self._clock.steady_ns())
            try:
                outcome = await self._outcome(job)
            except Conflict:
                outcome = LOST
            except AWAY_ERRORS:
                raise
            except Exception:
                # One booking that we cannot handle must not stop all others; its lease runs out and it is tried again.
                log.exception("dispatch.failed", booking_id=str(claim.booking_id))
                outcome = "failed"
        DECISIONS.labels(outcome).inc()

    def _placed(self, claim: Claim, wants: Wants) -> Wants:
        return replace(wants, is_in_area=self.feed.areas.has(claim.org_id, claim.lat_deg, claim.lng_deg))

    async def _outcome(self, job: _Job) -> str:
        if self._clock.now_ms() >= job.claim.search_until_ms:
            return await self._give_up(job, reason="nobody was found in time")
        if is_exhausted(len(job.past)):
            return await self._give_up(job, reason="too many workers said no")
        if job.claim.is_held:
            return await self._postpone(job, outcome="safety_hold", detail={})
        return await self._offer(job)

    async def _offer(self, job: _Job) -> str:
        claim, now_ms = job.claim, self._clock.now_ms()
        risk = booking_risk(self._surface, lat_deg=claim.lat_deg, lng_deg=claim.lng_deg, at_ms=now_ms, tz=claim.tz)
        found, asks_again = await self._find(job, risk=risk, now_ms=now_ms)
        CANDIDATES.observe(found.ranking.looked_at)
        FIND_SECONDS.observe((self._clock.steady_ns() - job.started_ns) * S_PER_NS)
        detail = _detail(found, risk, table=self.table, policy=job.search.policy, asks_again=asks_again)
        if not found.ranking.ranked:
            return await self._postpone(job, outcome="nobody", detail=detail)
        asked = await self._save(job, found.ranking.ranked, detail=detail)
        if asked is None:
            for each in found.ranking.ranked:
                self.feed.notified(str(self.table.worker_id(each.slot)))
            return await self._give_back(job)
        if not job.past:
            OFFER_SECONDS.observe(max(0, self._clock.now_ms() - claim.created_at_ms) / MS_PER_S)
        log.info("offer.sent", booking_id=str(claim.booking_id), worker_id=str(asked))
        return "offered"

    async def _find(self, job: _Job, *, risk: Risk, now_ms: int) -> tuple[Found, bool]:
        claim = job.claim
        ask = Ask(
            lat_deg=claim.lat_deg, lng_deg=claim.lng_deg, skill_bit=claim.skill_bit, risk=risk.score, wants=job.wants
        )
        not_yet = workers_not_to_ask(job.past, ask_again=False, now_ms=now_ms)
        found = await job.search.find(ask, org_id=claim.org_id, not_to_ask=not_yet)
        not_even_again = workers_not_to_ask(job.past, ask_again=True, now_ms=now_ms)
        if found.ranking.ranked or not_even_again == not_yet:
            return found, False
        return await job.search.find_again(found, ask, org_id=claim.org_id, not_to_ask=not_even_again), True

    async def _save(self, job: _Job, ranked: Sequence[Ranked], *, detail: dict[str, object]) -> PersonId | None:
        # Nothing was awaited since the ranking: no other booking of this process can have taken this worker.
        self.table.reserve(ranked[0].slot)
        proposals = [Proposal(self.table.worker_id(each.slot), each.cost_min, each.eta_s) for each in ranked]
        try:
            async with self._pool.acquire() as conn:
                return await save_offer(
                    conn,
                    job.claim,
                    proposals,
                    offer_id=OfferId(self._new_id()),
                    entry=LogEntry("offered", detail, self._took_us(job)),
                    now_ms=self._clock.now_ms(),
                )
        finally:
            self.table.settle(ranked[0].slot)
            self.feed.notified(str(proposals[0].worker_id))

    async def _give_up(self, job: _Job, *, reason: str) -> str:
        entry = LogEntry("unserved", {"reason": reason}, self._took_us(job))
        async with self._pool.acquire() as conn:
            saved = await save_unserved(conn, job.claim, reason=reason, entry=entry, now_ms=self._clock.now_ms())
        return "unserved" if saved else LOST

    async def _postpone(self, job: _Job, *, outcome: str, detail: dict[str, object]) -> str:
        entry = LogEntry(outcome, detail, self._took_us(job))
        now_ms = self._clock.now_ms()
        async with self._pool.acquire() as conn:
            await postpone(conn, job.claim, until_ms=now_ms + DISPATCH_RETRY_MS, entry=entry, now_ms=now_ms)
        return outcome

    async def _give_back(self, job: _Job) -> str:
        """Try again in a moment: the table will have caught up with whoever took everybody found."""
        now_ms = self._clock.now_ms()
        async with self._pool.acquire() as conn:
            await postpone(conn, job.claim, until_ms=now_ms + DISPATCH_POLL_MS, now_ms=now_ms)
        return LOST

    def _took_us(self, job: _Job) -> int:
        return int((self._clock.steady_ns() - job.started_ns) * US_PER_NS)


def _detail(found: Found, risk: Risk, *, table: WorkerTable, policy: CostPolicy, asks_again: bool) -> dict[str, object]:
    """Return what the dispatch log keeps and `GET /v1/bookings/{booking_id}/dispatch` shows. Costs are minutes."""
    return {
        "candidates": [
            {
                "worker_id": str(table.worker_id(each.slot)),
                "slot": each.slot,
                "cost": round(each.cost_min, DECIMALS),
                "eta_s": each.eta_s,
                "terms": {name: round(minutes, DECIMALS) for name, minutes in each.terms.items()},
            }
            for each in found.ranking.ranked
        ],
        "looked_at": found.ranking.looked_at,
        "ruled_out": found.ranking.ruled_out,
        "searched_m": found.searched_m,
        "policy": policy.label,
        "risk": {"score": round(risk.score, DECIMALS), "terms": {k: round(v, DECIMALS) for k, v in risk.terms.items()}},
        "asks_again": asks_again,
    }

"""The matcher's durable loop: wake, claim what is due, decide, save the offer with its reasons, all over again.

It holds nothing that cannot be read again. Killed at any instant it leaves at most a lease that runs out and an offer
that expires; several matchers share the work through claims, and losing a race costs one of them a moment.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final
from uuid import UUID, uuid4

import structlog
from prometheus_client import Counter, Histogram
from redis.exceptions import RedisError

from config.limits import (
    DISPATCH_BATCH_MAX,
    DISPATCH_PARALLEL_MAX,
    DISPATCH_POLL_MS,
    WINDOW_BOOKINGS_MAX,
)
from engine.core.clock import Clock
from engine.core.database import CONNECTION_LOST, POSTGRES_ERRORS, Pool
from engine.core.errors import Conflict
from engine.core.ids import OrgId, PersonId
from engine.core.redis_store import RedisClient
from engine.core.units import MS_PER_S
from engine.core.vocabulary import OfferState
from engine.eta.source import EtaSource, StraightLineSource
from engine.geo.cell_index import CellIndex
from engine.geo.followed_mirror import FollowedMirror
from engine.matcher.candidate_search import CandidateSearch
from engine.matcher.chooser import Chooser, Job, Seen
from engine.matcher.cost_policy import DEFAULT_POLICY, CostPolicy
from engine.matcher.decision import Decision
from engine.matcher.decision_detail import detail_of, waiting_detail_of
from engine.matcher.dispatch_store import (
    Claim,
    LogEntry,
    Proposal,
    claim_due,
    postpone,
    save_offers,
    save_unserved,
)
from engine.matcher.finish_store import Finishes
from engine.matcher.finishing import Soon
from engine.matcher.live_frame import LiveFrames
from engine.matcher.offer_store import expire_offers, past_offers, withdraw_idle_offers
from engine.matcher.offers import PastOffer, is_exhausted, next_round, retry_after_ms
from engine.matcher.plan import Mode
from engine.matcher.pressure import Demand, window_begin_ms
from engine.matcher.pricing import Choice
from engine.matcher.recorder import Recorder
from engine.matcher.region_cover import RegionCover
from engine.matcher.region_leases import RegionLeases
from engine.matcher.rematcher import Rematcher
from engine.matcher.worker_feed import WorkerFeed
from engine.matcher.worker_table import WorkerTable
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Listener, OnNotify, Wake
from engine.risk.surface import NEUTRAL, RiskSurface

log = structlog.get_logger(__name__)

STORE_ERRORS: Final = (*POSTGRES_ERRORS, RedisError)
AWAY_ERRORS: Final = (*CONNECTION_LOST, RedisError)
"""Errors that say nothing about the booking at hand: the round ends. Any other one is that booking's alone."""
LOST: Final = "lost"
"""Somebody else moved the booking or took everybody found."""
VANISHED: Final = "vanished"
"""Everybody found was taken, or went, while travel times were asked for."""
NEW_VERSION: Final = 1
"""A booking at this version was just created: nobody was asked for it yet."""
US_PER_NS: Final = 1e-3

DECISIONS = Counter("clenzy_dispatch_decisions_total", "Decisions about a claimed booking.", ["outcome"])
TOGETHER = Histogram(
    "clenzy_dispatch_window_bookings", "Bookings that were decided together.", buckets=(1, 2, 5, 10, 20, 50, 100, 500)
)
ENDED = Counter("clenzy_offers_ended_total", "Offers that the matcher ended.", ["how"])
OFFER_SECONDS = Histogram(
    "clenzy_booking_to_offer_seconds",
    "From a booking's creation to its first offer.",
    buckets=(0.005, 0.01, 0.015, 0.02, 0.03, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800),
)


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
        eta: EtaSource | None = None,
        regions: RegionLeases | None = None,
    ) -> None:
        self._pool = pool
        self._cells = CellIndex(redis)
        self._clock = clock
        self._fix_clock = fix_clock
        source = eta or StraightLineSource()
        self._chooser = Chooser(eta=source, clock=clock, surface=surface)
        self._demand = Demand()
        self._finishes = Finishes()
        self._collects_until_ms = 0
        self._policy = policy
        self._new_id = new_id
        self._followed = places
        self._places = asyncio.Semaphore(DISPATCH_PARALLEL_MAX)
        self._due = Wake()
        self._idle = Wake()
        self.table = WorkerTable()
        self._regions = regions
        self._cover = RegionCover()
        if regions is not None:
            self._cover, regions.moved = regions.cover, self._due.set
        self.frames: LiveFrames | None = None
        if places is not None:
            self.frames = LiveFrames(self.table, places.mirror, self._cover)
            places.tell(self._cover)
            places.tell(self.frames)
        self.feed = WorkerFeed(pool=pool, redis=redis, table=self.table, clock=clock)
        self.recorder = Recorder(clock=clock, worker_id=self.table.worker_id)
        self.rematcher = Rematcher(
            pool=pool,
            cells=self._cells,
            clock=clock,
            fix_clock=fix_clock,
            eta=source,
            chooser=self._chooser,
            table=self.table,
            feed=self.feed,
            recorder=self.recorder,
            search=self._search,
            policy=policy,
            new_id=new_id,
            regions=None if regions is None else regions.store,
        )

    async def run(self) -> None:
        """Dispatch until cancelled, through restarts of both stores."""
        handlers: dict[str, OnNotify] = {
            "clenzy_booking": self._due.set,
            "clenzy_worker": self.feed.notified,
            "clenzy_zone": self.feed.notified,
            "clenzy_hold": self._held,
        }
        if self._regions is not None:
            handlers["clenzy_region"] = self._regions.notified
        listener = Listener(pool=self._pool, clock=self._clock, handlers=handlers)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listener.run())
            tasks.create_task(self.feed.run())
            if self._followed is not None:
                tasks.create_task(self._followed.run())
            if self._regions is not None:
                tasks.create_task(self._regions.run())
            steps = {"dispatch": self._dispatch_round, "sweep": self._sweep_round, "rematch": self.rematcher.round}
            for name, step in steps.items():
                tasks.create_task(keep_running(step, name=name, clock=self._clock, errors=STORE_ERRORS))

    async def dispatch_due(self) -> int:
        """Claim and decide one batch of due bookings; return how many were claimed."""
        if not self.feed.is_loaded:
            await self.feed.read()
        jobs = await self._claimed()
        self._collects_until_ms = 0
        of_org: dict[OrgId, list[Job]] = {}
        for job in jobs:
            of_org.setdefault(job.claim.org_id, []).append(job)
        rounds = [self._round_of(org_id, its) for org_id, its in of_org.items()]
        results = await asyncio.gather(*rounds, return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error
        return len(jobs)

    async def sweep(self) -> int:
        """End offers that expired or must not ring on; return how many."""
        now_ms = self._clock.now_ms()
        async with self._pool.acquire() as conn:
            expired = await expire_offers(conn, now_ms=now_ms, limit=DISPATCH_BATCH_MAX)
            withdrawn = await withdraw_idle_offers(conn, now_ms=now_ms, limit=DISPATCH_BATCH_MAX)
        ENDED.labels(OfferState.EXPIRED).inc(expired)
        ENDED.labels(OfferState.WITHDRAWN).inc(withdrawn)
        return expired + withdrawn

    def _search(self, policy: CostPolicy) -> CandidateSearch:
        return CandidateSearch(
            self._cells,
            self.table,
            clock=self._clock,
            fix_clock=self._fix_clock,
            policy=policy,
            frames=self._live_frames(),
        )

    def _live_frames(self) -> LiveFrames | None:
        """The frames that are kept, while everything that was written is in them."""
        is_whole = self._followed is not None and self._followed.whole is not None
        return self.frames if is_whole else None

    async def _dispatch_round(self) -> None:
        while await self.dispatch_due() >= DISPATCH_BATCH_MAX:
            pass
        collects_ms = self._collects_until_ms - self._clock.now_ms()
        await self._due.wait(DISPATCH_POLL_MS if collects_ms <= 0 else min(DISPATCH_POLL_MS, collects_ms))

    async def _sweep_round(self) -> None:
        await self.sweep()
        await self._idle.wait(DISPATCH_POLL_MS)

    def _held(self, payload: str) -> None:
        self.feed.notified(payload)
        self._idle.set()

    async def _claimed(self) -> list[Job]:
        now_ms = self._clock.now_ms()
        limit = WINDOW_BOOKINGS_MAX if self._demand.collects else DISPATCH_BATCH_MAX
        async with self._pool.acquire() as conn:
            regions = None if self._regions is None else self._regions.store
            claims = await claim_due(conn, now_ms=now_ms, limit=limit, regions=regions)
            # Of a crew somebody may have had, or have left, another seat.
            asked_before = [each.booking_id for each in claims if each.version > NEW_VERSION or each.crew_id]
            past = await past_offers(conn, asked_before) if asked_before else {}
            policy = self._policy()
            if self.frames is not None:
                self.frames.keep_only(policy)
            if claims:
                await self.recorder.begin(conn, policy, now_ms=now_ms)
        search = self._search(policy)
        jobs = [self._job(claim, past.get(claim.booking_id, []), search) for claim in claims]
        for job in jobs:
            claim = job.claim
            if claim.version == NEW_VERSION:
                self._demand.came(
                    claim.booking_id,
                    claim.org_id,
                    at_ms=claim.created_at_ms,
                    job_min=job.wants.duration_min,
                    now_ms=now_ms,
                )
        return jobs

    def _job(self, claim: Claim, past: Sequence[PastOffer], search: CandidateSearch) -> Job:
        telling = [offer for offer in past if offer.state is not OfferState.WITHDRAWN]
        placed = replace(claim.wants, is_in_area=self.feed.areas.has(claim.org_id, claim.lat_deg, claim.lng_deg))
        asking = next_round(search.policy.offers, past)
        return Job(claim, telling, asking, placed, search, self._clock.steady_ns())

    async def _round_of(self, org_id: OrgId, jobs: Sequence[Job]) -> None:
        """Decide an organisation's due bookings: at once, or those that were collected together."""
        now_ms = self._clock.now_ms()
        staff = self.table.staff_of(org_id, self._cover)
        window_ms = self._demand.window_ms(org_id, staff, waiting=len(jobs), now_ms=now_ms)
        ripe, work = list(jobs), []
        if window_ms:
            began_ms = window_begin_ms(now_ms, window_ms)
            ripe = [job for job in jobs if job.claim.created_at_ms < began_ms]
            self._collects_until_ms = began_ms + window_ms
            early = [job for job in jobs if job.claim.created_at_ms >= began_ms]
            work = [self._guarded(job, self._collected(job, began_ms + window_ms)) for job in early]
        if window_ms or len(ripe) > 1:
            work.append(self._together(org_id, ripe, window_ms))
        else:
            work += [self._guarded(job, self._outcome(job)) for job in ripe]
        await asyncio.gather(*work)

    async def _guarded(self, job: Job, deciding: Coroutine[None, None, str]) -> None:
        """See one booking's decision through; one that we cannot handle must not stop all others."""
        async with self._places:
            try:
                outcome = await deciding
            except Conflict:
                outcome = LOST
            except AWAY_ERRORS:
                raise
            except Exception:
                # Its lease runs out and it is tried again.
                log.exception("dispatch.failed", booking_id=str(job.claim.booking_id))
                outcome = "failed"
        DECISIONS.labels(outcome).inc()

    async def _together(self, org_id: OrgId, jobs: Sequence[Job], window_ms: int) -> None:
        """Decide several bookings at the least cost for all."""
        open_jobs: list[Job] = []
        closed: list[Job] = []
        for job in jobs:
            (closed if job.claim.is_held or self._reason_to_end(job) is not None else open_jobs).append(job)
        soon = await self._soon(org_id) if window_ms else Soon.nobody()
        whole = await self._seen(open_jobs, soon)
        decisions = await self._planned(org_id, whole, soon, window_ms) if whole else []
        work = [self._guarded(job, self._outcome(job)) for job in closed]
        if decisions:
            names = [job.claim.booking_id for job, _ in whole]
            window_id = self._new_id()
            work.append(self.recorder.keep_window(self._pool, window_id, decisions[0].share))
            # Nothing is awaited between here and the last reservation: nobody of the plan is given away twice.
            pairs = [(job, decision) for (job, _), decision in zip(whole, decisions, strict=True)]
            gone = {job.claim.crew_id for job, decision in pairs if decision.to_ask and not self._free(decision)}
            for job, decision in pairs:
                is_left = job.claim.crew_id is not None and job.claim.crew_id in gone
                to_ask = () if is_left else self._taken(job, decision)
                work.append(self._guarded(job, self._carried_out(job, decision, to_ask, names, window_id)))
        else:  # a crew is asked for together or not at all: it is left to its leases
            work += [self._guarded(job, self._outcome(job)) for job, _ in whole if job.claim.crew_id is None]
        await asyncio.gather(*work)

    async def _planned(
        self, org_id: OrgId, whole: Sequence[tuple[Job, Seen]], soon: Soon, window_ms: int
    ) -> list[Decision]:
        """Decide about all at once; nothing if that cannot be done: one of them must not stop all others."""
        TOGETHER.observe(len(whole))
        try:
            return await self._chooser.together(
                [found for _, found in whole], soon, window_ms=window_ms, is_short=self._demand.is_short(org_id)
            )
        except AWAY_ERRORS:
            raise
        except Exception:
            log.exception("dispatch.window_failed", bookings=len(whole))
            return []

    async def _seen(self, jobs: Sequence[Job], soon: Soon) -> list[tuple[Job, Seen]]:
        """Look for all at once; if one cannot be looked for, each by itself: the others go on."""
        try:
            return list(zip(jobs, await self._chooser.seen(jobs, soon), strict=True))
        except AWAY_ERRORS:
            raise
        except Exception:
            if len(jobs) > 1:
                return [each for job in jobs for each in await self._seen([job], soon)]
            # As in `_guarded`: this booking is left to its lease.
            log.exception("dispatch.failed", booking_id=str(jobs[0].claim.booking_id))
            DECISIONS.labels("failed").inc()
            return []

    async def _soon(self, org_id: OrgId) -> Soon:
        async with self._pool.acquire() as conn:
            return await self._finishes.read(conn, org_id, now_ms=self._clock.now_ms())

    async def _outcome(self, job: Job) -> str:
        reason = self._reason_to_end(job)
        if reason is not None:
            return await self._give_up(job, reason=reason)
        if job.claim.is_held:
            return await self._postpone(job, LogEntry("safety_hold", {}, self._took_us(job)))
        decision = await self._chooser.alone(job)
        return await self._carried_out(job, decision, self._taken(job, decision), [job.claim.booking_id])

    def _reason_to_end(self, job: Job) -> str | None:
        if self._clock.now_ms() >= job.claim.search_until_ms:
            return "nobody was found in time"
        is_over = is_exhausted(job.past, since_ms=job.claim.search_began_ms)
        return "too many workers said no" if is_over else None

    def _taken(self, job: Job, decision: Decision) -> tuple[Choice, ...]:
        """Reserve whom to ask first, of those who are still free, and return all of these."""
        free = self._free(decision)
        for each in free[: job.asking.at_once]:
            self.table.reserve(each.slot)
        return free

    def _free(self, decision: Decision) -> tuple[Choice, ...]:
        return tuple(each for each in decision.to_ask if self.table.is_free(each.slot))

    async def _carried_out(
        self,
        job: Job,
        decision: Decision,
        to_ask: tuple[Choice, ...],
        together: Sequence[UUID],
        window_id: UUID | None = None,
    ) -> str:
        worker_id = self.table.worker_id
        if decision.to_ask and not to_ask:
            return await self._give_back(job, VANISHED)
        with self._reserved(job, to_ask) as asked:
            kept = self.recorder.made(decision, window_id=window_id)
            is_for_somebody = bool(decision.ranking.ranked) or decision.share.reserved_slot is not None
            if not to_ask and decision.share.mode is Mode.WINDOW and is_for_somebody:
                outcome, detail = str(decision.share.outcome), waiting_detail_of(decision, worker_id=worker_id)
                return await self._postpone(job, LogEntry(outcome, detail, self._took_us(job), kept))
            detail = detail_of(decision, worker_id=worker_id, bookings=together)
            if not to_ask:
                return await self._postpone(job, LogEntry("nobody", detail, self._took_us(job), kept))
            asked.extend(await self._save(job, to_ask, LogEntry("offered", detail, self._took_us(job), kept)))
        if not asked:
            for each in to_ask:
                self.feed.notified(str(worker_id(each.slot)))
            return await self._give_back(job, LOST)
        if not job.past:
            OFFER_SECONDS.observe(max(0, self._clock.now_ms() - job.claim.created_at_ms) / MS_PER_S)
        log.info("offer.sent", booking_id=str(job.claim.booking_id), worker_ids=[str(each) for each in asked])
        return "offered"

    @contextmanager
    def _reserved(self, job: Job, to_ask: Sequence[Choice]) -> Iterator[list[PersonId]]:
        """End the reservations of `_taken`, whatever becomes of them; who is asked is put on the list that is given."""
        asked: list[PersonId] = []
        try:
            yield asked
        finally:
            for each in to_ask[: job.asking.at_once]:
                self.table.settle(each.slot)
                worker_id = self.table.worker_id(each.slot)
                if worker_id not in asked:  # of who is asked Postgres tells
                    self.feed.notified(str(worker_id))

    async def _save(self, job: Job, to_ask: Sequence[Choice], entry: LogEntry) -> list[PersonId]:
        proposals = [Proposal(self.table.worker_id(each.slot), each.cost_min, each.eta_s) for each in to_ask]
        async with self._pool.acquire() as conn:
            return await save_offers(
                conn,
                job.claim,
                proposals,
                asking=job.asking,
                new_id=self._new_id,
                entry=entry,
                now_ms=self._clock.now_ms(),
            )

    async def _collected(self, job: Job, until_ms: int) -> str:
        """Leave a booking to the end of its window; in Postgres, so that nothing is lost with this process."""
        async with self._pool.acquire() as conn:
            await postpone(conn, job.claim, until_ms=until_ms, now_ms=self._clock.now_ms())
        return "collected"

    async def _give_up(self, job: Job, *, reason: str) -> str:
        entry = LogEntry("unserved", {"reason": reason}, self._took_us(job))
        async with self._pool.acquire() as conn:
            saved = await save_unserved(conn, job.claim, reason=reason, entry=entry, now_ms=self._clock.now_ms())
        return "unserved" if saved else LOST

    async def _postpone(self, job: Job, entry: LogEntry) -> str:
        now_ms = self._clock.now_ms()
        until_ms = self._demand.aligned_ms(job.claim.org_id, now_ms + retry_after_ms(job.claim.searched_ms(now_ms)))
        async with self._pool.acquire() as conn:
            await postpone(conn, job.claim, until_ms=until_ms, entry=entry, now_ms=now_ms)
        return entry.outcome

    async def _give_back(self, job: Job, outcome: str) -> str:
        """Try again in a moment: the table will have caught up with whoever took everybody found."""
        now_ms = self._clock.now_ms()
        async with self._pool.acquire() as conn:
            await postpone(conn, job.claim, until_ms=now_ms + DISPATCH_POLL_MS, now_ms=now_ms)
        return outcome

    def _took_us(self, job: Job) -> int:
        return int((self._clock.steady_ns() - job.started_ns) * US_PER_NS)

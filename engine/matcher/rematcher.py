"""Looks at jobs on the way, and offers one to somebody who is there sooner where the policy says so.

The shell around `rematch`: it reads the way and the places, has the candidates weighed as for any booking, and saves an
offer beside the assignment. It holds nothing; killed at any instant it leaves at most an offer that expires.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

import numpy as np
import structlog
from prometheus_client import Counter
from redis.exceptions import RedisError

from config.limits import REMATCH_BATCH_MAX, REMATCH_POLL_MS, WORKER_SILENT_MS
from engine.core.clock import Clock
from engine.core.database import CONNECTION_LOST, Pool
from engine.core.units import DEG_E7, MS_PER_S
from engine.core.vocabulary import OfferState
from engine.eta.source import EtaSource, Question
from engine.geo.cell_index import CellIndex
from engine.matcher.candidate_search import CandidateSearch
from engine.matcher.chooser import Chooser, Job
from engine.matcher.cost_policy import CostPolicy
from engine.matcher.decision import Decision
from engine.matcher.decision_detail import detail_of
from engine.matcher.dispatch_store import LogEntry, Proposal
from engine.matcher.offer_store import past_offers
from engine.matcher.offers import next_round
from engine.matcher.pricing import Choice
from engine.matcher.recorder import Recorder
from engine.matcher.region_store import RegionStore
from engine.matcher.rematch import Cause, Stay, Way, nearness_of, sooner, verdict_of
from engine.matcher.rematch_store import (
    Looked,
    due_ways,
    forget_ended,
    note_nearness,
    save_no_rematch,
    save_rematch,
    stop_asking,
)
from engine.matcher.worker_feed import WorkerFeed
from engine.matcher.worker_table import WorkerTable

log = structlog.get_logger(__name__)

AWAY_ERRORS: Final = (*CONNECTION_LOST, RedisError)
ASKED: Final = "rematch_asked"
NOBODY: Final = "rematch_nobody"
US_PER_NS: Final = 1e-3

LOOKS = Counter("clenzy_rematch_looks_total", "Jobs on the way that were looked at.", ["outcome"])


class Rematcher:
    """Of one matcher; it does nothing while the policy says `times_max = 0`."""

    def __init__(  # noqa: PLR0913 - the stores, the clocks and the model: a matcher is made of them
        self,
        *,
        pool: Pool,
        cells: CellIndex,
        clock: Clock,
        fix_clock: Clock,
        eta: EtaSource,
        chooser: Chooser,
        table: WorkerTable,
        feed: WorkerFeed,
        recorder: Recorder,
        search: Callable[[CostPolicy], CandidateSearch],
        policy: Callable[[], CostPolicy],
        new_id: Callable[[], UUID],
        regions: RegionStore | None,
    ) -> None:
        self._pool = pool
        self._cells = cells
        self._clock = clock
        self._fix_clock = fix_clock
        self._eta = eta
        self._chooser = chooser
        self._table = table
        self._feed = feed
        self._recorder = recorder
        self._search = search
        self._policy = policy
        self._new_id = new_id
        self._regions = regions

    async def round(self) -> None:
        """Look at what is due, then wait a little."""
        if self._feed.is_loaded:
            while await self.look_around() >= REMATCH_BATCH_MAX:
                pass
        await self._clock.sleep_ms(REMATCH_POLL_MS)

    async def look_around(self) -> int:
        """Look at the jobs on the way that are due; return how many were."""
        policy, now_ms = self._policy(), self._clock.now_ms()
        if policy.rematch.times_max == 0:
            return 0
        async with self._pool.acquire() as conn:
            looks = await due_ways(conn, now_ms=now_ms, limit=REMATCH_BATCH_MAX, regions=self._regions)
            await forget_ended(conn)
        ways = await self._ways(looks, now_ms)
        for look, way in zip(looks, ways, strict=True):
            LOOKS.labels(await self._guarded(look, way, policy)).inc()
        return len(looks)

    async def _ways(self, looks: Sequence[Looked], now_ms: int) -> list[Way]:
        etas = await self._etas(looks)
        nearness = [
            look.nearness if eta_s is None else nearness_of(look.nearness, eta_s, now_ms=now_ms)
            for look, eta_s in zip(looks, etas, strict=True)
        ]
        changed = [
            (look, now) for look, now in zip(looks, nearness, strict=True) if now is not None and now != look.nearness
        ]
        if changed:
            async with self._pool.acquire() as conn:
                await note_nearness(conn, changed)
        return [
            Way(look.promised_at_ms, eta_s, near, look.rematches, look.is_left_alone, look.is_asked)
            for look, eta_s, near in zip(looks, etas, nearness, strict=True)
        ]

    async def _etas(self, looks: Sequence[Looked]) -> list[int | None]:
        """Return the seconds that are left of each way; `None` for whose place is not known by now."""
        if not looks:
            return []
        records = await self._cells.records([look.slot for look in looks])
        heard_ms = self._fix_clock.now_ms() - WORKER_SILENT_MS
        heard = [at for at, record in enumerate(records) if record["cell"] and int(record["ts_ms"]) >= heard_ms]
        questions = [
            Question(
                records["lat_e7"][at : at + 1] / DEG_E7,
                records["lng_e7"][at : at + 1] / DEG_E7,
                looks[at].claim.lat_deg,
                looks[at].claim.lng_deg,
            )
            for at in heard
        ]
        etas: list[int | None] = [None] * len(looks)
        answers = await self._eta.answers(questions, at_ms=self._clock.now_ms()) if questions else []
        for at, answer in zip(heard, answers, strict=True):
            etas[at] = int(np.rint(answer.eta_s[0]))
        return etas

    async def _guarded(self, look: Looked, way: Way, policy: CostPolicy) -> str:
        try:
            return await self._outcome(look, way, policy)
        except AWAY_ERRORS:
            raise
        except Exception:
            # It is looked at again; the others go on.
            log.exception("rematch.failed", booking_id=str(look.claim.booking_id))
            return "failed"

    async def _outcome(self, look: Looked, way: Way, policy: CostPolicy) -> str:
        now_ms, answer_s = self._clock.now_ms(), policy.offers.answer_s
        verdict = verdict_of(policy.rematch, way, answer_s=answer_s, now_ms=now_ms)
        if isinstance(verdict, Cause):
            return await self._asked(look, way, verdict, policy)
        if way.is_asked and verdict is not Stay.ASKED:
            async with self._pool.acquire() as conn:
                await stop_asking(conn, look, now_ms=now_ms)
        return verdict.value

    async def _asked(self, look: Looked, way: Way, cause: Cause, policy: CostPolicy) -> str:
        """Have the candidates weighed, and offer the job to the first who is there enough sooner."""
        job = await self._job(look, policy)
        decision = await self._chooser.alone(job)
        chosen = self._chosen(decision, way, cause, policy)
        told = {"rematch": _told(look, way, cause, now_ms=self._clock.now_ms())}
        if not chosen:
            if cause is not Cause.BETTER:
                entry = LogEntry(NOBODY, {"rematch": {"cause": cause.value}}, self._took_us(job))
                async with self._pool.acquire() as conn:
                    await save_no_rematch(conn, look, entry, now_ms=self._clock.now_ms())
            return Stay.NOBODY_SOONER.value
        kept = self._recorder.made(decision, window_id=None)
        detail = detail_of(decision, worker_id=self._table.worker_id) | told
        return await self._saved(look, job, chosen, LogEntry(ASKED, detail, self._took_us(job), kept))

    async def _saved(self, look: Looked, job: Job, chosen: Sequence[Choice], entry: LogEntry) -> str:
        first = chosen[0]
        self._table.reserve(first.slot)
        proposals = [Proposal(self._table.worker_id(each.slot), each.cost_min, each.eta_s) for each in chosen]
        try:
            async with self._pool.acquire() as conn:
                asked = await save_rematch(
                    conn,
                    look,
                    proposals,
                    asking=job.asking,
                    new_id=self._new_id,
                    entry=entry,
                    now_ms=self._clock.now_ms(),
                )
        finally:
            self._table.settle(first.slot)
            self._feed.notified(str(proposals[0].worker_id))
        if asked is None:
            return "lost"
        log.info("rematch.asked", booking_id=str(look.claim.booking_id), worker_id=str(asked))
        return "offered"

    async def _job(self, look: Looked, policy: CostPolicy) -> Job:
        claim = look.claim
        async with self._pool.acquire() as conn:
            past = (await past_offers(conn, [claim.booking_id]))[claim.booking_id]
            await self._recorder.begin(conn, policy, now_ms=self._clock.now_ms())
        placed = replace(claim.wants, is_in_area=self._feed.areas.has(claim.org_id, claim.lat_deg, claim.lng_deg))
        asking = replace(next_round(policy.offers, past), at_once=1)
        telling = [offer for offer in past if offer.state is not OfferState.WITHDRAWN]
        return Job(claim, telling, asking, placed, self._search(policy), self._clock.steady_ns())

    def _chosen(self, decision: Decision, way: Way, cause: Cause, policy: CostPolicy) -> list[Choice]:
        # Who has said no to this job is asked again only for one that nobody has.
        if decision.circumstances.asks_again:
            return []
        free = [each for each in decision.to_ask if self._table.is_free(each.slot)]
        return sooner(policy.rematch, way, cause, free, answer_s=policy.offers.answer_s)

    def _took_us(self, job: Job) -> int:
        return int((self._clock.steady_ns() - job.started_ns) * US_PER_NS)


def _told(look: Looked, way: Way, cause: Cause, *, now_ms: int) -> dict[str, object]:
    """Return why somebody else was looked for, for the log."""
    promised_ms = way.promised_at_ms
    return {
        "cause": cause.value,
        "held_by": str(look.worker_id),
        "eta_s": way.eta_s,
        "promised_in_s": None if promised_ms is None else round((promised_ms - now_ms) / MS_PER_S),
        "nearer_before_s": None if way.nearness is None else round((now_ms - way.nearness.since_ms) / MS_PER_S),
        "times_before": way.rematches,
    }

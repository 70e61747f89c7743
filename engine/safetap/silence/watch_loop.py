"""Looks at the watches that are due. Any number of these loops may run: none leads, none is needed.

A cycle reads the database's clock once, claims what is due (lease and fence, SKIP LOCKED), decides (pure), and writes
the question or the alarm, the history and the next look in one transaction. A loop that is killed in between has
changed nothing but a lease; an answer or a move of the job voids its claim by moving the fence. Needs Postgres alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Never, assert_never
from uuid import UUID

from config.limits import OUTAGE_MEASURE_MS, SILENCE_BATCH_MAX, SILENCE_POLL_MS
from engine.core.clock import Clock
from engine.core.crash_point import crash_point
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.ids import IncidentId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import WatchStage
from engine.outbox.durable_loop import keep_running, together_or_alone
from engine.safetap.escalation_loop import ReadClock
from engine.safetap.incident_store import read_clock
from engine.safetap.silence import watch_store
from engine.safetap.silence.asking import ask, tell_desks
from engine.safetap.silence.climbing import climb
from engine.safetap.silence.decision import Ask, Calm, Climb, Decision, End, Join, Rest, decide, next_check_in_ms
from engine.safetap.silence.metrics import DECISIONS, LATENESS, WATCHES
from engine.safetap.silence.outage_store import measure
from engine.safetap.silence.usual_store import History
from engine.safetap.silence.watch import Watch
from engine.safetap.silence.watch_store import Advance, Claim, Due, WatchEvent

EVENT_OF: Final[dict[type[Decision], str]] = {Ask: "asked", Climb: "climbed", Calm: "calmed", Join: "climbed"}


class WatchLoop:
    """One watcher."""

    def __init__(self, *, pool: Pool, new_id: Callable[[], UUID], read_clock: ReadClock = read_clock) -> None:
        self._pool = pool
        self._new_id = new_id
        self._read_clock = read_clock
        self._history = History()
        self._measured_ms = 0

    async def run(self, clock: Clock) -> Never:
        """Look at what is due until cancelled, through restarts of Postgres."""

        async def step() -> None:
            await self.round()
            await clock.sleep_ms(SILENCE_POLL_MS)

        await keep_running(step, name="silence", clock=clock, errors=POSTGRES_ERRORS)

    async def round(self) -> None:
        """Look at everything that is due."""
        async with self._pool.acquire() as conn:
            while await self.cycle(conn, await self._read_clock(conn)) == SILENCE_BATCH_MAX:
                pass
            WATCHES.set(await watch_store.count(conn))

    async def cycle(self, conn: Connection, now_ms: int) -> int:
        """Claim and advance one batch; return how many were claimed."""
        claims = await watch_store.claim(conn, now_ms)
        if not claims:
            return 0
        crash_point("silence_after_claim")
        await self._history.learn(conn, {one.org_id for one in claims}, now_ms=now_ms)
        await self._look_for_outages(conn, claims, now_ms)
        await together_or_alone(
            lambda some: self.take(conn, some, now_ms),
            claims,
            batch_failed="silence.batch_failed",
            claim_failed="silence.watch_failed",
            named=lambda claim: {"booking_id": str(claim.booking_id)},
        )
        return len(claims)

    async def take(self, conn: Connection, claims: Sequence[Claim], now_ms: int) -> int:
        """Advance the claimed watches in one transaction; return how many claims still held."""
        async with conn.transaction():
            every = await watch_store.load(conn, claims, self._history, now_ms=now_ms)
            decisions = [(due, decide(due.watch, due.facts, now_ms, due.policy)) for due in every]
            await self._act(conn, decisions, now_ms)
            crash_point("silence_before_commit")
        for claim in claims:
            LATENESS.observe(max(0, now_ms - claim.due_ms) / MS_PER_S)
        for due, decision in decisions:
            signal = getattr(decision, "signal", None) or due.watch.signal
            DECISIONS.labels(type(decision).__name__.lower(), signal or "").inc()
        return len(every)

    async def _look_for_outages(self, conn: Connection, claims: Sequence[Claim], now_ms: int) -> None:
        if now_ms - self._measured_ms < OUTAGE_MEASURE_MS:
            return
        async with conn.transaction():
            await measure(conn, await watch_store.regions_of(conn, claims), new_id=self._new_id, now_ms=now_ms)
        self._measured_ms = now_ms

    async def _act(self, conn: Connection, decisions: Sequence[tuple[Due, Decision]], now_ms: int) -> None:
        after = [(due, decision, advanced(due.watch, decision, now_ms)) for due, decision in decisions]
        await watch_store.end(conn, [due.watch for due, decision, _ in after if isinstance(decision, End)])
        await watch_store.advance(conn, [_advance(*one, now_ms) for one in after if not isinstance(one[1], End)])
        events = [
            WatchEvent(due.watch, EVENT_OF[type(decision)], watch.signal or due.watch.signal)
            for due, decision, watch in after
            if type(decision) in EVENT_OF
        ]
        await watch_store.add_events(conn, events, now_ms=now_ms)
        await ask(conn, [(due, watch) for due, decision, watch in after if isinstance(decision, Ask)], now_ms=now_ms)
        await tell_desks(conn, [watch for _, decision, watch in after if type(decision) in EVENT_OF], now_ms=now_ms)
        alarms = [watch for _, decision, watch in after if isinstance(decision, Climb)]
        await climb(conn, alarms, new_id=lambda: IncidentId(self._new_id()), now_ms=now_ms)


def advanced(watch: Watch, decision: Decision, now_ms: int) -> Watch:
    """Return the watch after a decision."""
    match decision:
        case Rest() | End():
            return watch
        case Ask(signal, _):
            return replace(watch, stage=WatchStage.ASKED, signal=signal, asked_at_ms=now_ms)
        case Climb(signal, _):
            return replace(watch, stage=WatchStage.CLIMBED, signal=signal)
        case Join():
            return replace(watch, stage=WatchStage.CLIMBED)
        case Calm(is_answer):
            calm_at_ms = now_ms if is_answer else watch.calm_at_ms
            return calmed(watch, calm_at_ms=calm_at_ms)
        case _:
            assert_never(decision)


def calmed(watch: Watch, *, calm_at_ms: int) -> Watch:
    """Return the watch back to calm: the next alarm will be another one."""
    return replace(
        watch, stage=WatchStage.CALM, signal=None, asked_at_ms=None, round=watch.round + 1, calm_at_ms=calm_at_ms
    )


def _advance(due: Due, decision: Decision, watch: Watch, now_ms: int) -> Advance:
    due_ms = now_ms if isinstance(decision, Calm | End) else decision.due_ms
    return Advance(due, watch, due_ms, next_check_in_ms(watch, due.policy))

"""A worker who is heard by a stock tracker: the same ingest as a socket's, beside a socket or without one.

Follows duty and job as a session does, so that fixes off duty are discarded and customers see who comes; but a tracker
takes no socket's place: the worker's own app stays connected.
"""

import asyncio
from collections import Counter

from redis.exceptions import RedisError

from config.limits import DEVICE_RETRY_MS, SESSION_STATE_TIMEOUT_MS, TRACKER_ANSWER_MS, TRACKER_IDLE_MS
from engine.core.errors import TooMany, Unavailable
from engine.core.vocabulary import Duty, FixRefusal
from engine.geo.fixes import FIX_BYTES
from engine.people.devices import DeviceSpeaker
from gateway_ws.budget import FixBudget
from gateway_ws.fan_out.message import Message
from gateway_ws.services import Services


class TrackedWorker:
    """One worker, whatever the number of their trackers. Lives until all of them have been silent for a while."""

    def __init__(self, speaker: DeviceSpeaker, services: Services) -> None:
        self._services = services
        self._slot: int = speaker.slot
        self._person_id = speaker.person_id
        self._org_id = speaker.org_id
        self._topic = f"user:{speaker.person_id}"
        self._budget = FixBudget(services.clock.now_ms())
        self._duty: Duty | None = None
        self._is_subscribed = False
        self._is_current = False
        self._ask_again_ms = 0
        self._events = 0
        self._opening = asyncio.Lock()
        self._seq = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._heard_ms = services.clock.now_ms()

    @property
    def slot(self) -> int:
        """The worker's slot."""
        return self._slot

    @property
    def is_idle(self) -> bool:
        """Whether nothing has been heard for long and nothing is under way."""
        silent_ms = self._services.clock.now_ms() - self._heard_ms
        return not self._waiting and not self._opening.locked() and silent_ms > TRACKER_IDLE_MS

    async def take(self, payload: bytes) -> None:
        """Judge fixes and return when Redis has what was accepted of them.

        Raises:
            TooMany: the worker's budget is spent; send it again later.
            Unavailable: Redis does not answer, or nobody can tell whether the worker is on duty; send it again.
        """
        self._heard_ms = self._services.clock.now_ms()
        await self._open()
        if not self._budget.spend(len(payload) // FIX_BYTES, self._services.clock.now_ms()):
            raise TooMany("too many fixes a second")
        self._seq += 1
        seq = self._seq
        self._waiting[seq] = asyncio.get_running_loop().create_future()
        try:
            self._services.ingest.add(self, seq, payload)
            async with asyncio.timeout(TRACKER_ANSWER_MS / 1000):
                await self._waiting[seq]
        except TimeoutError:
            raise Unavailable from None
        finally:
            del self._waiting[seq]

    def acknowledge(self, seq: int) -> None:
        """Let every request up to `seq` be answered."""
        for each, future in self._waiting.items():
            if each <= seq and not future.done():
                future.set_result(None)

    def count_refused(self, reasons: Counter[FixRefusal]) -> None:
        """Nothing to tell the phone: a stock app knows no reasons. The process' counters have them."""

    def outdated(self) -> None:
        """Events may have been missed: read the state again before the next fix."""
        self._is_current = False
        self._ask_again_ms = 0

    async def close(self) -> None:
        """Let go of everything."""
        services = self._services
        services.ingest.close(self)
        if self._is_subscribed:
            services.counting.let_go(self._person_id)
        await services.fan_out.unsubscribe(self._topic, self._hear)
        if not services.ingest.has_source(self._slot):
            services.jobs.remove(self._slot)

    async def _open(self) -> None:
        """Be ready to judge: listening, primed, with a duty that is current or at least was."""
        async with self._opening:
            services = self._services
            if not services.ingest.has_source(self._slot):
                # The first of all, or after a socket that closed and let go of the job that both followed.
                services.ingest.open(self)
                self._is_current = False
            if not self._is_subscribed:
                self._is_subscribed = True
                await services.fan_out.subscribe(self._topic, self._hear, timeout_ms=SESSION_STATE_TIMEOUT_MS)
                await services.counting.follow(self._slot, self._person_id, self._org_id)
                await self._prime()
            if not self._is_current and services.clock.now_ms() >= self._ask_again_ms:
                await self._load()
            if self._duty is None:
                self._believe_redis()

    async def _prime(self) -> None:
        """Know what another gateway, or this one before a restart, has accepted last."""
        try:
            records = await self._services.index.records([self._slot])
        except (RedisError, OSError, TimeoutError):
            return
        self._services.table.prime(self._slot, records[0])

    async def _load(self) -> None:
        """Read duty and job; an event that comes meanwhile may be newer, so it is read again with the next request."""
        events, news = self._events, self._services.counting.news(self._person_id)
        try:
            state = await self._services.calls.state_of_worker(self._person_id)
        except Unavailable:
            self._ask_again_ms = self._services.clock.now_ms() + DEVICE_RETRY_MS
            return
        self._is_current = self._events == events
        if self._is_current:
            self._services.jobs.replace(self._slot, state["booking"])
            self._duty = Duty(state["duty"])
            self._services.counting.loaded(self._person_id, state["tracking"], news)

    def _believe_redis(self) -> None:
        """Without Postgres: who is in a cell is on duty."""
        if not self._services.counting.believe_redis(self._slot):
            raise Unavailable
        self._duty = Duty.ON

    def _hear(self, message: Message) -> None:
        event = message.json()
        if event["kind"] == "duty":
            self._events += 1
            self._duty = Duty(event["body"]["duty"])
            self._services.counting.set_duty(self._slot, self._duty, since=event["body"].get("since"))
        elif event["kind"] == "booking":
            self._events += 1
            if self._services.jobs.update(self._slot, event["body"]):
                look = self._services.counting.look(self._person_id)
                self._services.background.start(look, name="tracker.look")


class TrackedWorkers:
    """The workers that trackers speak for on this gateway, by slot."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._by_slot: dict[int, TrackedWorker] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_slot)

    async def take(self, speaker: DeviceSpeaker, payload: bytes) -> None:
        """Take fixes of a worker; see `TrackedWorker.take`."""
        worker = self._by_slot.get(speaker.slot)
        if worker is None:
            worker = self._by_slot[speaker.slot] = TrackedWorker(speaker, self._services)
        await worker.take(payload)

    def all_outdated(self) -> None:
        """After a gap in the fan-out every worker's state may have changed."""
        for worker in self._by_slot.values():
            worker.outdated()

    async def forget_idle(self) -> None:
        """Let go of workers whose trackers have been silent for long."""
        for slot in [slot for slot, worker in self._by_slot.items() if worker.is_idle]:
            await self._by_slot.pop(slot).close()

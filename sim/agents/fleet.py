"""All workers' phones and cars: connects them, moves them, sends their fixes when they are due.

One loop serves everybody: an array holds when each worker's next fix is due, and those who are due together are
moved, measured and packed together. There is no task and no timer per worker for this.
"""

import asyncio
import random
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import aiohttp
import numpy as np

from sim.agents.habits import WorkerHabits
from sim.agents.metrics import Tally
from sim.agents.worker import Worker
from sim.city.gps import Receivers
from sim.city.routes import Routes
from sim.city.streets import Streets
from sim.city.traffic import Index, Traffic
from sim.client.clock import FixClock, wall_ms
from sim.client.errors import ClientFailure
from sim.client.rest import Account
from sim.client.wire import FIX_BYTES
from sim.client.worker_socket import WorkerSocket

TICK_S: Final = 0.05
CONNECTING_AT_ONCE: Final = 48
ATTRACTIONS: Final = 28
"""Places of the city that idle workers drift to: stations, markets, malls."""
TOKEN_SWEEP_S: Final = 5.0


class Fleet:
    """The workers of the city. Worker numbers are 0, 1, 2, ... in the order of `add`."""

    def __init__(  # noqa: PLR0913 - the parts of a fleet, by keyword
        self,
        *,
        http: aiohttp.ClientSession,
        gateway_url: str,
        streets: Streets,
        size: int,
        seed: int,
        clock: FixClock,
        habits: WorkerHabits,
        tally: Tally,
        durations_min: Mapping[str, float],
        group: asyncio.TaskGroup,
    ) -> None:
        self._http = http
        self._gateway_url = gateway_url
        self._streets = streets
        self._clock = clock
        self._habits = habits
        self._tally = tally
        self._durations_min = durations_min
        self._group = group
        self._rng = random.Random(seed)
        numbers = np.random.default_rng(seed)
        routes = Routes(streets)
        self._traffic = Traffic(streets, routes, movers=size, rng=numbers)
        self._receivers = Receivers(movers=size, rng=numbers)
        self._attractions = numbers.choice(streets.junctions, ATTRACTIONS, replace=False).tolist()
        self._attraction_weights = (1 / (1 + np.arange(ATTRACTIONS))).tolist()
        self._due_s = np.full(size, np.inf)
        self._moved_s = np.zeros(size)
        self._roams_at_s = np.full(size, np.inf)
        self._arrivals: dict[int, asyncio.Event] = {}
        self._gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        # A phone's frame numbers grow over its lifetime; the seconds since 1970 outgrow those of any earlier start.
        self._first_seq = wall_ms() // 1000
        self.workers: list[Worker] = []

    @property
    def sockets(self) -> list[WorkerSocket]:
        """The phones, by worker number."""
        return [worker.socket for worker in self.workers]

    @property
    def live(self) -> int:
        """How many phones are connected."""
        return sum(socket.connected.is_set() for socket in self.sockets)

    def add(self, account: Account, *, place: tuple[float, float] | None = None) -> None:
        """Give one more worker a phone and let it connect; `place` is where it was seen last (degrees)."""
        if place is not None:
            self._traffic.put(len(self.workers), *place)
        worker = Worker(
            len(self.workers),
            surroundings=self,
            habits=self._habits,
            tally=self._tally,
            durations_min=self._durations_min,
            rng=random.Random(self._rng.random()),
        )
        worker.socket = WorkerSocket(
            http=self._http,
            gateway_url=self._gateway_url,
            account=account,
            listener=worker,
            first_seq=self._first_seq,
            gate=self._gate,
            gathers=True,
            fix_time_scale=self._clock.scale,
        )
        self.workers.append(worker)
        self.spawn(worker.socket.run())

    async def run(self) -> None:
        """Move everybody and send their fixes until cancelled."""
        while True:
            started_s = time.monotonic()
            self._tick(started_s)
            await asyncio.sleep(max(0.005, TICK_S - (time.monotonic() - started_s)))

    async def keep_tokens_fresh(self) -> None:
        """Look over everybody's access tokens until cancelled."""
        while True:
            await asyncio.sleep(TOKEN_SWEEP_S)
            for socket in self.sockets:
                try:
                    await socket.keep_token_fresh()
                except ClientFailure as failure:
                    self._tally.commands_refused[f"token: {type(failure).__name__}"] += 1

    # What a worker needs (`sim.agents.worker.Surroundings`)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside everything else, owned by the city's task group."""
        self._group.create_task(work)

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run `work` beside everything else; it may be cancelled."""
        return self._group.create_task(work)

    def went_live(self, number: int) -> None:
        """Let the fixes of worker `number` flow, at an instant of its own so that the load is even."""
        if np.isfinite(self._due_s[number]):
            return
        now_s = time.monotonic()
        self._moved_s[number] = now_s
        self._due_s[number] = now_s + self._rng.uniform(0, self.workers[number].socket.cadence_ms / 1000)
        if not self.workers[number].is_busy:
            self.roam(number)

    async def drive(self, number: int, lat_deg: float, lng_deg: float) -> None:
        """Return once worker `number` is at the junction nearest to a place."""
        arrival = self._arrivals[number] = asyncio.Event()
        self._roams_at_s[number] = np.inf
        self._traffic.send(number, self._streets.nearest_junction(lat_deg, lng_deg))
        try:
            await arrival.wait()
        finally:
            self._arrivals.pop(number, None)

    def roam(self, number: int) -> None:
        """Let worker `number` drift to an attractive place."""
        self._roams_at_s[number] = np.inf
        [place] = self._rng.choices(self._attractions, self._attraction_weights)
        self._traffic.send(number, place)

    def places(self) -> list[tuple[float, float]]:
        """Return where everybody is, `(lat_deg, lng_deg)` by worker number."""
        where = self._traffic.whereabouts(np.arange(len(self.workers)))
        return list(zip(where.lat_deg.round(6).tolist(), where.lng_deg.round(6).tolist(), strict=True))

    def fix_of(self, number: int) -> bytes:
        """Return the record of a fix that worker `number` takes now."""
        one = np.array([number])
        record = self._receivers.fixes(one, self._traffic.whereabouts(one), np.ones(1), ts_ms=self._clock.now_ms())
        return record.tobytes()

    def _tick(self, now_s: float) -> None:
        for number in np.flatnonzero(self._roams_at_s <= now_s).tolist():
            if not self.workers[number].is_busy:
                self.roam(number)
        due = np.flatnonzero(self._due_s <= now_s)
        if len(due):
            self._move(due, now_s)

    def _move(self, due: Index, now_s: float) -> None:
        elapsed_s = now_s - self._moved_s[due]
        self._moved_s[due] = now_s
        for number in self._traffic.step(due, elapsed_s).tolist():
            self._arrived(number, now_s)
        records = self._receivers.fixes(
            due, self._traffic.whereabouts(due), elapsed_s, ts_ms=self._clock.now_ms()
        ).tobytes()
        for place, number in enumerate(due.tolist()):
            socket = self.workers[number].socket
            socket.post(records[place * FIX_BYTES : (place + 1) * FIX_BYTES])
            self._due_s[number] = max(now_s, self._due_s[number] + socket.cadence_ms / 1000)

    def _arrived(self, number: int, now_s: float) -> None:
        arrival = self._arrivals.get(number)
        if arrival is not None:
            arrival.set()
        else:
            self._roams_at_s[number] = now_s + self._rng.uniform(*self._habits.pause_s)

"""Drives a recording through the public protocol and returns the report."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import aiohttp
import numpy as np
import structlog

from sim.client.clock import FixClock, wall_ms
from sim.client.errors import ClientFailure
from sim.client.rest import Account, Rest, sign_in
from sim.client.roster import Person, Roster, TokenCache
from sim.client.worker_socket import WorkerSocket
from sim.replay.as_is import Pace, on_duty_first_ms, shift_to_now_ms
from sim.replay.cells import CellCheck, check_expected, read_present
from sim.replay.desk import Desk
from sim.replay.recording import Recording, Trip
from sim.replay.report import Run, build_report
from sim.replay.taxi import Taxi

log = structlog.get_logger(__name__)

TICK_S: Final = 0.02
CUSTOMERS: Final = 24
CONNECTING_AT_ONCE: Final = 32
CONNECT_TIMEOUT_S: Final = 60.0
SETTLE_TIMEOUT_S: Final = 15.0
REFUSALS_QUIET_MS: Final = 2_500
"""`fixes.refused` comes at most once a second: after this silence the last one has come."""
JOBS_TIMEOUT_S: Final = 10.0
TOKEN_SWEEP_S: Final = 5.0

Progress = Callable[[int, int], None]
"""Called with fixes sent and fixes in all."""


class SpeedMismatch(ClientFailure):
    """The server's clock of fixes does not run at the speed that was asked for."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay."""

    api_url: str
    admin_email: str
    admin_password: str
    speed: float | None = None
    """None: whatever the server's clock of fixes runs at."""
    accept_share: float = 0.9
    seed: int = 7
    redis_url: str | None = None
    """Where given, the cells are checked against H3 at the end."""


async def replay(
    recording: Recording, options: ReplayOptions, stop: asyncio.Event, *, progress: Progress = lambda _sent, _all: None
) -> dict[str, Any]:
    """Return the report of one replay; `stop` ends it early and orderly.

    Raises:
        SpeedMismatch: `options.speed` is not the server's.
        ClientFailure: sign-in or bringing the workers into being failed.
    """
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        rest = Rest(http, options.api_url)
        admin = await sign_in(rest, options.admin_email, options.admin_password)
        config = await rest.get("/v1/config")
        clock = FixClock.from_config(config)
        _check_speed(clock, options.speed)
        services = (await rest.get("/v1/services", account=admin))["items"]
        run = _Replay(recording, options, http, rest, admin, config["gateway_url"], clock, services[0]["code"])
        return await run.run(stop, progress)


def _check_speed(clock: FixClock, speed: float | None) -> None:
    if speed is not None and speed != clock.scale:
        raise SpeedMismatch(
            f"the server's time of fixes runs at {clock.scale:g}x, asked for {speed:g}x: start it with "
            f"CLENZY_FIX_CLOCK_SCALE={speed:g} and CLENZY_FIX_CLOCK_EPOCH_MS set to its start, as `clenzy replay` does"
        )


class _Replay:
    """The parts of one replay and the order in which they run."""

    def __init__(  # noqa: PLR0913, PLR0917 - what the first answers of the server gave
        self,
        recording: Recording,
        options: ReplayOptions,
        http: aiohttp.ClientSession,
        rest: Rest,
        admin: Account,
        gateway_url: str,
        clock: FixClock,
        service_code: str,
    ) -> None:
        self.recording = recording
        self.options = options
        self.http = http
        self.rest = rest
        self.gateway_url = gateway_url
        self.clock = clock
        self.service_code = service_code
        self.roster = Roster(rest, admin, TokenCache(None, server=options.api_url))
        self.taxis: dict[int, Taxi] = {}
        self.group: asyncio.TaskGroup
        self.desk: Desk
        self.rng = random.Random(options.seed)
        # Fixes of an earlier replay may be newer than ours in the server's tables: each replay has workers of its own.
        self.run_name = f"replay-{wall_ms():x}"

    async def run(self, stop: asyncio.Event, progress: Progress) -> dict[str, Any]:
        async with asyncio.TaskGroup() as group:
            self.group = group
            background = [group.create_task(self._keep_tokens_fresh())]
            self.desk = Desk(rest=self.rest, spawn=self._spawn, service_code=self.service_code, shift_ms=0)
            background += await self._connect()
            report = await self._drive_and_report(stop, progress)
            for task in background:
                task.cancel()
        return report

    async def _drive_and_report(self, stop: asyncio.Event, progress: Progress) -> dict[str, Any]:
        started_s = time.monotonic()
        taxis = [self.taxis[number] for number in sorted(self.taxis)]
        is_complete = await self._drive(stop, progress)
        self.desk.is_booking = False
        wall_s = time.monotonic() - started_s
        await self._settle(taxis)
        cells = await self._check_cells(taxis)
        await self._finish_jobs(taxis)
        run = Run(self.recording, self.clock.scale, wall_s, is_complete)
        return build_report(run, taxis, self.desk, cells)

    async def _connect(self) -> list["asyncio.Task[None]"]:
        """Bring everybody into being, connect them, and wait until all workers are on duty."""
        started_s = time.monotonic()
        gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        tasks: list[asyncio.Task[None]] = []
        people = [
            Person(f"{self.run_name}-worker-{number}", "worker", f"Taxi {name}", (self.service_code,), 4.5)
            for number, name in enumerate(self.recording.workers)
        ]
        people += [Person(f"{self.run_name}-customer-{n}", "customer", f"Passenger {n}") for n in range(CUSTOMERS)]
        await self.roster.bring(people, partial(self._arrive, gate, tasks))
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            for taxi in self.taxis.values():
                await taxi.on_duty.wait()
        self.desk.slot_of_worker = {
            n: taxi.socket.slot for n, taxi in self.taxis.items() if taxi.socket.slot is not None
        }
        log.info("replay.connected", workers=len(self.taxis), after_s=round(time.monotonic() - started_s, 1))
        return tasks

    def _arrive(
        self, gate: asyncio.Semaphore, tasks: list["asyncio.Task[None]"], person: Person, account: Account
    ) -> None:
        number = int(person.external_ref.rpartition("-")[2])
        if person.role == "customer":
            phone = self.desk.add_customer(account, http=self.http, gateway_url=self.gateway_url)
            tasks.append(self.group.create_task(phone.run()))
            return
        taxi = Taxi(
            number,
            bookings=self.desk,
            clock=self.clock,
            accept_share=self.options.accept_share,
            rng=random.Random(self.rng.random()),
            spawn=self._spawn,
        )
        taxi.socket = WorkerSocket(
            http=self.http,
            gateway_url=self.gateway_url,
            account=account,
            listener=taxi,
            gate=gate,
            fix_time_scale=self.clock.scale,
        )
        self.taxis[number] = taxi
        tasks.append(self.group.create_task(taxi.socket.run()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.group.create_task(work)

    async def _drive(self, stop: asyncio.Event, progress: Progress) -> bool:
        """Send every row when its moment has come; return whether all were sent."""
        if self.recording.is_as_it_stands:
            return await self._drive_as_is(stop, progress)
        rows = self.recording.rows
        shift_ms = self.clock.now_ms() - self.recording.first_ms
        self.desk.shift_ms = shift_ms
        times_ms = rows["ts_ms"] + shift_ms
        beginnings = self._beginnings()
        sent = 0
        while sent < len(rows) and not stop.is_set():
            due = int(np.searchsorted(times_ms, self.clock.now_ms(), side="right"))
            if due > sent:
                self._send(rows[sent:due], shift_ms, beginnings)
                sent = due
                progress(sent, len(rows))
            await asyncio.sleep(TICK_S)
        return sent == len(rows)

    async def _drive_as_is(self, stop: asyncio.Event, progress: Progress) -> bool:
        """Send every row in the file's order, as fast as the gateway takes it; return whether all were sent."""
        pace = Pace(self.recording.rows)
        on_duty_first_s = on_duty_first_ms(self.recording) / 1000 / self.clock.scale
        log.info("replay.on_duty_first", for_s=round(on_duty_first_s, 1))
        with suppress(TimeoutError):
            async with asyncio.timeout(on_duty_first_s):
                await stop.wait()
        shift_ms = shift_to_now_ms(self.recording, self.clock.now_ms())
        self.desk.shift_ms = shift_ms
        # Where a trip begins is told when it is long over: nobody would book it.
        self.desk.is_booking = False
        started_s = time.monotonic()
        while not (pace.is_done or stop.is_set()):
            for rows in pace.due(time.monotonic() - started_s):
                self._send(rows, shift_ms, {})
            progress(pace.sent, len(self.recording.rows))
            await asyncio.sleep(TICK_S)
        return pace.is_done

    def _send(self, rows: np.ndarray, shift_ms: int, beginnings: dict[tuple[int, int], list[Trip]]) -> None:
        for number in np.unique(rows["worker"]).tolist():
            own = rows[rows["worker"] == number]
            beginning = [trip for ts_ms in own["ts_ms"].tolist() for trip in beginnings.pop((number, ts_ms), ())]
            self.taxis[number].drive(own, shift_ms=shift_ms, beginning=beginning)

    def _beginnings(self) -> dict[tuple[int, int], list[Trip]]:
        beginnings: dict[tuple[int, int], list[Trip]] = {}
        for trip in self.recording.trips:
            beginnings.setdefault((trip.worker, trip.start_ms), []).append(trip)
        return beginnings

    async def _settle(self, taxis: list[Taxi]) -> None:
        """Wait until every fix is acknowledged and the last refusals have been told."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                for taxi in taxis:
                    await taxi.socket.settled()
        began_ms = wall_ms()
        while True:
            quiet_ms = wall_ms() - max(began_ms, *(taxi.last_refusal_at_ms for taxi in taxis))
            if quiet_ms >= REFUSALS_QUIET_MS:
                return
            await asyncio.sleep((REFUSALS_QUIET_MS - quiet_ms) / 1000)

    async def _check_cells(self, taxis: list[Taxi]) -> CellCheck | None:
        if self.options.redis_url is None:
            return None
        expected = {
            taxi.socket.slot: taxi.oracle.newest
            for taxi in taxis
            if taxi.socket.slot is not None and taxi.oracle.newest is not None
        }
        return check_expected(await read_present(self.options.redis_url), expected)

    async def _finish_jobs(self, taxis: list[Taxi]) -> None:
        """Let jobs end, cancel what nobody took, go off duty: nothing of the replay stays on the map."""
        with suppress(TimeoutError):
            async with asyncio.timeout(JOBS_TIMEOUT_S):
                for taxi in taxis:
                    await taxi.free.wait()
        await self.desk.cancel_open()
        await asyncio.gather(*(self._off_duty(taxi) for taxi in taxis))

    async def _off_duty(self, taxi: Taxi) -> None:
        try:
            await taxi.socket.command("duty", {"duty": "off"})
        except ClientFailure as failure:
            taxi.faults[f"duty off: {failure}"] += 1

    async def _keep_tokens_fresh(self) -> None:
        while True:
            await asyncio.sleep(TOKEN_SWEEP_S)
            for taxi in list(self.taxis.values()):
                with suppress(ClientFailure):
                    await taxi.socket.keep_token_fresh()

"""One gateway: its parts wired together, its loops, its one HTTP application."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from uuid import uuid4

import numpy as np
import structlog
from aiohttp import web
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from config.limits import ARRIVALS_MAX, CLOSE_TIMEOUT_MS, HOUSEKEEPING_MS, OUTBOX_RETRY_MS, SESSIONS_PER_TURN_MAX
from config.settings import Settings
from engine.core.clock import Clock
from engine.core.redis_store import RedisClient
from engine.core.units import MS_PER_S
from engine.eta.source import EtaSource, StraightLineSource
from engine.geo import acceptance
from engine.geo.cell_index import CellIndex
from engine.geo.ingest import Ingest
from engine.geo.trail_store import TrailWriter
from engine.geo.worker_table import WorkerTable
from engine.people.tokens import AccessTokens
from engine.wiring import acceptance_rules
from gateway_ws.admission import Admission
from gateway_ws.arrivals import Arrivals
from gateway_ws.background import Background
from gateway_ws.batched import Batched
from gateway_ws.cadence import Cadences
from gateway_ws.closing import Close
from gateway_ws.counting import Counting
from gateway_ws.customer_etas import CustomerEtas
from gateway_ws.drain import Drain
from gateway_ws.engine_calls import EngineCalls
from gateway_ws.engineio.server import EngineOptions, EngineServer
from gateway_ws.fan_out.message import Encodings
from gateway_ws.fan_out.recovery import Recovery
from gateway_ws.fan_out.stalled import StalledConnections
from gateway_ws.fan_out.subscriptions import FanOut
from gateway_ws.figures import Figures
from gateway_ws.jobs import Jobs
from gateway_ws.live_map.hub import MapHub
from gateway_ws.metrics import FAULTS, IngestMetrics
from gateway_ws.positions import publications
from gateway_ws.raw.lane import has_lane
from gateway_ws.raw.ping_socket import PingSocket
from gateway_ws.registry import Registry
from gateway_ws.revocations import Revocations
from gateway_ws.safetap_client import SafeTapClient
from gateway_ws.services import Services
from gateway_ws.socketio.console_ns import ConsoleNamespace
from gateway_ws.socketio.customer_ns import CustomerNamespace
from gateway_ws.socketio.server import GatewayServer
from gateway_ws.socketio.worker_ns import WorkerNamespace
from gateway_ws.speakers import Speakers
from gateway_ws.trackers.door import TrackerDoor
from gateway_ws.worker_session import WorkerSession
from ops.http import add_guards, add_ops_routes
from ops.readiness import Readiness

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    """What a gateway is given: clocks, clients and keys, opened by who closes them."""

    settings: Settings
    redis: RedisClient
    calls: EngineCalls
    tokens: AccessTokens
    clock: Clock
    fix_clock: Clock
    """The time by which fixes are judged; a replay's runs faster."""
    eta: EtaSource = field(default_factory=StraightLineSource)
    """Asked for the times that customers are told."""


class Gateway:
    """The parts of one process. `running` starts its loops; `app` serves its routes.

    `lane=False`: sockets keep to aiohttp's public interface, as they do where its private one has changed.
    """

    def __init__(
        self,
        stores: Stores,
        safetap: SafeTapClient,
        tasks: asyncio.TaskGroup,
        readiness: Readiness,
        *,
        lane: bool = True,
    ) -> None:
        # A retry of the client's own would hold a flush for seconds: every loop here has its own.
        stores.redis.set_retry(Retry(NoBackoff(), 0))
        clock, fix_clock, redis = stores.clock, stores.fix_clock, stores.redis
        self._clock, self._redis, self._readiness, self._tasks = clock, redis, readiness, tasks
        self._metrics, self._etas = IngestMetrics(), CustomerEtas(stores.eta, clock=clock)
        arrivals = Arrivals(clock, random.Random())  # noqa: S311 - spreads load, keeps no secret
        self._admission = Admission(arrivals)
        registry, jobs, table, index = Registry(), Jobs(), WorkerTable(), CellIndex(redis)
        speakers = Speakers(stores.tokens)
        self.trail = TrailWriter(stores.calls.connection, clock=clock)
        self.ingest = Ingest(
            index,
            table,
            clock=clock,
            fix_clock=fix_clock,
            publisher=lambda moves: publications(moves, jobs, self._etas.of),
            observer=self._metrics,
            keep=self.trail.keep,
            rules=acceptance_rules(stores.settings),
        )
        self.fan_out = FanOut(redis, clock=clock, on_break=registry.interrupt_all, on_gap=self._after_gap)
        self._counting = Counting(self.ingest, table, jobs, self.fan_out, stores.calls, fix_clock=fix_clock)
        self.services = Services(
            gateway_id=str(uuid4()),
            clock=clock,
            tokens=speakers,
            table=table,
            index=index,
            ingest=self.ingest,
            counting=self._counting,
            cadences=Cadences(table),
            jobs=jobs,
            calls=stores.calls,
            fan_out=self.fan_out,
            safetap=safetap,
            background=Background(tasks),
            registry=registry,
            arrivals=arrivals,
            newest=Batched(partial(_newest, index), keys_max=ARRIVALS_MAX),
        )
        self._recovery = Recovery(registry, self.fan_out, stores.calls, clock=clock)
        self._revocations = Revocations(registry, speakers, self.fan_out, stores.calls, clock=clock)
        self._figures = Figures(
            self.services.gateway_id,
            redis,
            registry=registry,
            table=table,
            metrics=self._metrics,
            calls=stores.calls,
            clock=clock,
            fix_clock=fix_clock,
        )
        self._hub = MapHub(index, self.fan_out, stores.calls, clock=clock, fix_clock=fix_clock)
        self._stalled = StalledConnections(clock)
        can_lane, origins = lane and has_lane(), stores.settings.origins
        engine = _engine_options(stores.settings, has_lane=can_lane)
        self._engineio = EngineServer(clock, self.services.background, self._stalled, engine)
        self._sio = GatewayServer(self._engineio, clock)
        self._ping_socket = PingSocket(self.services, self._stalled, self._admission, origins, has_lane=can_lane)
        self._trackers = TrackerDoor(self.services)
        self._is_tls = stores.settings.tls_cert_file is not None

    def app(self) -> web.Application:
        """Return the application with all routes."""
        app = web.Application(middlewares=[self._admission.middleware])
        add_ops_routes(app, self._readiness)
        add_guards(app, is_tls=self._is_tls)
        app.router.add_get("/ws/ping", self._ping_socket.handle)
        self._trackers.add_routes(app)
        self._sio.register_namespace(WorkerNamespace("/worker", self.services))
        self._sio.register_namespace(CustomerNamespace("/customer", self.services))
        self._sio.register_namespace(ConsoleNamespace("/console", self.services, self._hub))
        self._sio.attach(app)
        return app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the loops while the block runs; at its end flush, acknowledge and send everybody away."""
        self._readiness.set("kernels", ok=False, detail="compiling")
        await asyncio.to_thread(acceptance.warm_up)
        self._readiness.set("kernels", ok=True)
        self._readiness.set("redis", ok=False, detail="connecting")
        loops = [
            self._tasks.create_task(_forever(work, name), name=name)
            for name, work in (
                ("ingest", self.ingest.run),
                ("trail", self.trail.run),
                ("fan_out", self.fan_out.run),
                ("map", self._hub.run),
                ("stalled", self._stalled.run),
                ("heartbeat", self._engineio.run),
                ("raw_heartbeat", self._ping_socket.run),
                ("housekeeping", self._housekeeping),
                ("revocations", self._revocations.run),
                ("etas", self._etas.run),
                ("recovery", self._recovery.run),
            )
        ]
        try:
            yield
        finally:
            self._shut()
            await self._stop(loops)

    async def drain(self, within_ms: int, at_once: asyncio.Event) -> None:
        """Send the clients away while all loops go on, so that each leaves with what it brought acknowledged."""
        self._shut()
        await Drain(self.services.registry, clock=self._clock, rng=random.Random()).run(within_ms, at_once)  # noqa: S311 - spreads load, keeps no secret

    def _shut(self) -> None:
        self._readiness.set("serving", ok=False, detail="stopping")
        self._admission.shut()

    async def _stop(self, loops: list["asyncio.Task[None]"]) -> None:
        while not all(loop.done() for loop in loops):
            # More than once: a client of a store may drop a cancellation that comes together with its answer.
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops, timeout=OUTBOX_RETRY_MS / MS_PER_S)
        await self.ingest.drain()
        registry = self.services.registry
        registry.close_all(Close.GOING_AWAY)
        # Each ends with its peer's answer or is cut off; only then may the server end what is left of it.
        deadline_ms = self._clock.now_ms() + 2 * CLOSE_TIMEOUT_MS
        await self.trail.drain()
        while len(registry) and self._clock.now_ms() < deadline_ms:
            await self._clock.sleep_ms(OUTBOX_RETRY_MS)

    def _after_gap(self) -> None:
        """Nobody knows what the fan-out missed: it is read from the stores."""
        self._hub.reload()
        self._revocations.check_all()
        self.ingest.restore_absent()
        self._counting.interrupt()
        self._trackers.workers.all_outdated()
        self._recovery.after_gap()

    async def _housekeeping(self) -> None:
        while True:
            await self._clock.sleep_ms(HOUSEKEEPING_MS)
            self._readiness.set("redis", ok=self.fan_out.is_connected)
            registry = self.services.registry
            registry.close_expired(self._clock.now_ms())
            await self._report_refused()
            self._tune_cadences()
            await self._sio.close_silent()
            await self._trackers.workers.forget_idle()
            await self._counting.refresh()
            try:
                await self._tell_figures()
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("figures.redis_away", error=type(error).__name__)

    async def _report_refused(self) -> None:
        """Tell phones of their refused fixes; many at once would hold up everybody's pings."""
        for number, session in enumerate(self.services.registry, 1):
            if isinstance(session, WorkerSession):
                session.report_refused()
            if number % SESSIONS_PER_TURN_MAX == 0:
                await self._clock.sleep_ms(0)

    def _tune_cadences(self) -> None:
        services = self.services
        sessions = {each.slot: each for each in services.registry if isinstance(each, WorkerSession) and each.is_open}
        slots = np.fromiter(sessions, np.int64, len(sessions))
        has_job = np.fromiter((slot in services.jobs for slot in sessions), np.bool_, len(sessions))
        for slot in services.cadences.tune(slots, has_job).tolist():
            sessions[slot].tell_cadence()

    async def _tell_figures(self) -> None:
        await self._figures.tell_rates()
        consoles = self._hub.consoles
        if not consoles:
            return
        fixes_per_s, live = await self._figures.read_rates()
        for org_id in {console.principal.org_id for console in consoles}:
            figures, shared = await self._figures.of_desk(org_id, fixes_per_s, live), Encodings()
            for console in consoles:
                if console.principal.org_id == org_id:
                    console.tell_figures(figures, shared)


def _engine_options(settings: Settings, *, has_lane: bool) -> EngineOptions:
    # Gateways that share a port share its clients' requests: a poll would meet a process without its session.
    may_poll = settings.gateway_polling and settings.gateway_processes == 1
    return EngineOptions(
        origins=settings.origins,
        transports=("polling", "websocket") if may_poll else ("websocket",),
        has_lane=has_lane,
    )


async def _newest(index: CellIndex, slots: Sequence[int]) -> list[np.void]:
    return list(await index.records(slots))


async def _forever(work: Callable[[], Awaitable[None]], name: str) -> None:
    """Run a loop of the gateway; a fault is logged and counted, and the loop starts again."""
    while True:
        try:
            await work()
        except Exception:
            FAULTS.labels(name).inc()
            log.exception("loop.failed", loop=name)

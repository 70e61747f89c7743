"""The API's composition root: `python -m api_rest`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from functools import partial

import structlog
from aiohttp import web

from api_rest.app import build_app
from api_rest.context import Services
from api_rest.drills import run_planned_drills
from api_rest.pages import pages_folder
from api_rest.problems import STORE_AWAY
from config.jurisdictions import load_jurisdictions
from config.limits import STOP_TIMEOUT_MS
from engine.core.clock import SystemClock
from engine.core.database import Pool
from engine.core.vocabulary import Door
from engine.eta.arrivals import Arrivals
from engine.eta.choice import open_eta_source
from engine.outbox.durable_loop import keep_running
from engine.people.passwords import Passwords
from engine.safetap.forwarding import Forwarder
from engine.wiring import open_access_tokens, open_database, open_redis
from ops.http import app_runner, tls_context
from ops.probe import keep_checked
from ops.process import Process, run

log = structlog.get_logger(__name__)


async def root(process: Process) -> None:
    """Serve until the process is told to stop.

    Health is answered from the first moment on. The pool connects when it is first used, so that a database that is
    away at the start, or goes away later, is the same case: `503`, not ready, and well again by itself.
    """
    settings, clock = process.settings, SystemClock()
    tokens = open_access_tokens(settings)
    async with AsyncExitStack() as stack:
        pool = await open_database(settings, pool_min=0)
        stack.push_async_callback(_close_pool, pool)
        services = Services(
            settings=settings,
            clock=clock,
            pool=pool,
            redis=await stack.enter_async_context(aclosing(open_redis(settings))),
            tokens=tokens,
            passwords=stack.enter_context(closing(Passwords())),
            safetap=await stack.enter_async_context(
                Forwarder(socket_path=settings.safetap_socket_path, url=settings.safetap_url, door=Door.API)
            ),
            arrivals=Arrivals(await stack.enter_async_context(open_eta_source(settings, clock)), clock=clock),
            pages_dir=pages_folder(),
            jurisdictions=load_jurisdictions(own=settings.jurisdictions_dir),
        )
        await stack.enter_async_context(_serving(process, services))
        async with asyncio.TaskGroup() as tasks:
            ask = partial(pool.fetchval, "SELECT 1")
            checking = tasks.create_task(
                keep_checked(process.readiness, "database", ask, errors=STORE_AWAY, sleep_ms=clock.sleep_ms)
            )
            practising = tasks.create_task(
                keep_running(partial(run_planned_drills, services), name="drills", clock=clock, errors=STORE_AWAY)
            )
            await process.until_stopped()
            checking.cancel()
            practising.cancel()


@asynccontextmanager
async def _serving(process: Process, services: Services) -> AsyncIterator[None]:
    settings = process.settings
    app = build_app(services, process.readiness)
    runner = app_runner(app, stop_ms=STOP_TIMEOUT_MS // 2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.api_port, ssl_context=tls_context(settings))
        await site.start()
        log.info("api.serving", url=settings.api_url)
        yield
    finally:
        await runner.cleanup()


async def _close_pool(pool: Pool) -> None:
    try:
        async with asyncio.timeout(STOP_TIMEOUT_MS / 4000):
            await pool.close()
    except TimeoutError:
        pool.terminate()


if __name__ == "__main__":
    run("api_rest", root)

"""The API's composition root: `python -m api_rest`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing, suppress

import structlog
from aiohttp import web

from api_rest.app import build_app
from api_rest.context import Services
from api_rest.pages import pages_folder
from api_rest.problems import STORE_AWAY
from api_rest.safetap_doors import SafetapDoors
from config.limits import READY_PROBE_MS, STATEMENT_TIMEOUT_MS, STOP_TIMEOUT_MS
from engine.core.clock import SystemClock
from engine.core.database import Pool
from engine.people.passwords import Passwords
from engine.wiring import open_access_tokens, open_database, open_redis
from ops.http import tls_context
from ops.process import Process, run

log = structlog.get_logger(__name__)


async def root(process: Process) -> None:
    """Serve until the process is told to stop.

    Health is answered from the first moment on. The pool connects when it is first used, so that a database that is
    away at the start, or goes away later, is the same case: `503`, not ready, and well again by itself.
    """
    settings = process.settings
    tokens = open_access_tokens(settings)
    async with AsyncExitStack() as stack:
        pool = await open_database(settings, pool_min=0)
        stack.push_async_callback(_close_pool, pool)
        services = Services(
            settings=settings,
            clock=SystemClock(),
            pool=pool,
            redis=await stack.enter_async_context(aclosing(open_redis(settings))),
            tokens=tokens,
            passwords=stack.enter_context(closing(Passwords())),
            safetap=await stack.enter_async_context(
                SafetapDoors(socket_path=settings.safetap_socket_path, url=settings.safetap_url)
            ),
            pages_dir=pages_folder(),
        )
        await stack.enter_async_context(_serving(process, services))
        await _probe_until_stopped(process, pool)


@asynccontextmanager
async def _serving(process: Process, services: Services) -> AsyncIterator[None]:
    settings = process.settings
    app = build_app(services, process.readiness)
    # Compressed bodies are refused, so nothing may unpack them first.
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=STOP_TIMEOUT_MS / 2000)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.api_port, ssl_context=tls_context(settings))
        await site.start()
        log.info("api.serving", url=settings.api_url)
        yield
    finally:
        await runner.cleanup()


async def _probe_until_stopped(process: Process, pool: Pool) -> None:
    """Keep readiness true to whether the database answers."""
    while not process.stop.is_set():
        try:
            await pool.fetchval("SELECT 1", timeout=STATEMENT_TIMEOUT_MS / 1000)
        except STORE_AWAY as error:
            process.readiness.set("database", ok=False, detail=type(error).__name__)
        else:
            process.readiness.set("database", ok=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_PROBE_MS / 1000):
                await process.stop.wait()


async def _close_pool(pool: Pool) -> None:
    try:
        async with asyncio.timeout(STOP_TIMEOUT_MS / 4000):
            await pool.close()
    except TimeoutError:
        pool.terminate()


if __name__ == "__main__":
    run("api_rest", root)

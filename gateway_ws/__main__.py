"""The gateway's composition root: opens what it needs, serves, and closes in reverse order."""

import asyncio
from contextlib import AsyncExitStack

from aiohttp import web

from config.limits import ACCEPT_BACKLOG, CLOSE_TIMEOUT_MS
from engine.core.clock import SystemClock
from engine.core.vocabulary import Door
from engine.eta.choice import open_eta_source
from engine.safetap.forwarding import Forwarder
from engine.wiring import open_access_tokens, open_fix_clock, open_redis
from gateway_ws.engine_calls import EngineCalls
from gateway_ws.gateway import Gateway, Stores
from gateway_ws.safetap_client import SafeTapClient
from ops.http import app_runner, ops_server, tls_context
from ops.process import Process, run


async def root(process: Process) -> None:
    """Serve until `process.stop`: phones, customers and consoles on one port."""
    settings, clock = process.settings, SystemClock()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ops_server(process.readiness, settings.host, settings.ops_port))
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose)
        calls = EngineCalls(clock)
        stack.push_async_callback(calls.close)
        forwarder = await stack.enter_async_context(
            Forwarder(socket_path=settings.safetap_socket_path, url=settings.safetap_url, door=Door.SOCKET)
        )
        eta = await stack.enter_async_context(open_eta_source(settings, clock))
        stores = Stores(settings, redis, calls, open_access_tokens(settings), clock, open_fix_clock(settings), eta)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        connecting = tasks.create_task(calls.connect(settings))
        gateway = Gateway(stores, SafeTapClient(forwarder), tasks, process.readiness)
        runner = app_runner(gateway.app(), stop_ms=CLOSE_TIMEOUT_MS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        async with gateway.running():
            site = web.TCPSite(
                runner,
                settings.host,
                settings.gateway_port,
                backlog=ACCEPT_BACKLOG,
                reuse_port=settings.gateway_processes > 1,
                ssl_context=tls_context(settings),
            )
            await site.start()
            await process.until_stopped()
            await site.stop()
            await gateway.drain(settings.drain_within_ms, process.hurry)
        connecting.cancel()


if __name__ == "__main__":
    run("gateway_ws", root)

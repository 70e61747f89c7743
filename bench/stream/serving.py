"""How the aiohttp servers of the benchmark serve: on a free port, which they print, until they are ended."""

import asyncio

from aiohttp import web


async def site(app: web.Application) -> None:
    """Serve `app` for ever."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4_096).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()

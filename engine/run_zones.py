"""Composition root of the zone watch: who enters, leaves and stays in which zone."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from redis.exceptions import RedisError

from config.limits import ZONES_POOL_MAX
from engine.core.clock import SystemClock
from engine.core.database import POSTGRES_ERRORS
from engine.geo.cell_index import CellIndex
from engine.geo.feed_follower import FeedFollower, FeedListener
from engine.wiring import open_database, open_redis
from engine.zones.zone_watch import ZoneWatch
from ops.http import ops_server
from ops.probe import keep_checked
from ops.process import Process, run

NAME: Final = "zones"


async def root(process: Process) -> None:
    """Watch zones until told to stop."""
    settings, readiness, clock = process.settings, process.readiness, SystemClock()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ops_server(readiness, settings.host, settings.ops_port))
        pool = await open_database(settings, pool_max=ZONES_POOL_MAX, pool_min=0)
        stack.callback(pool.terminate)  # every write is one transaction: there is nothing to wait for
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose)

        def follow(listener: FeedListener) -> FeedFollower:
            return FeedFollower(redis, CellIndex(redis), clock=clock, listener=listener)

        watch = ZoneWatch(pool=pool, clock=clock, follow=follow)
        check = partial(keep_checked, readiness, sleep_ms=clock.sleep_ms)
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(watch.run()),
                tasks.create_task(check("database", partial(pool.execute, "SELECT"), errors=POSTGRES_ERRORS)),
                tasks.create_task(check("redis", redis.ping, errors=(RedisError, OSError))),
            ]
            await process.until_stopped()
            for task in work:
                task.cancel()


if __name__ == "__main__":
    run(NAME, root)

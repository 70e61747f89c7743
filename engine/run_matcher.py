"""Composition root of the matcher: bookings in, offers out."""

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from socket import gethostname
from typing import Final
from uuid import uuid4

from redis.exceptions import RedisError

from config.limits import READY_PROBE_MS
from engine.core.clock import Clock, SystemClock
from engine.core.database import POSTGRES_ERRORS
from engine.core.ids import MatcherId
from engine.eta.choice import open_eta_source
from engine.geo import mirror
from engine.geo.cell_index import CellIndex
from engine.geo.followed_mirror import FollowedMirror
from engine.matcher import decision
from engine.matcher.assignment import sparse
from engine.matcher.dispatch import Dispatcher
from engine.matcher.policy_watch import PolicyWatch
from engine.matcher.region_leases import RegionLeases
from engine.matcher.region_store import RegionStore
from engine.wiring import open_database, open_fix_clock, open_redis
from ops.http import ops_server
from ops.probe import keep_checked
from ops.process import Process, run
from ops.readiness import Readiness

NAME: Final = "matcher"


async def root(process: Process) -> None:
    """Dispatch until told to stop; ready when both stores answer and the kernels are compiled."""
    settings, readiness, clock = process.settings, process.readiness, SystemClock()
    readiness.set("kernels", ok=False, detail="compiling")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(ops_server(readiness, settings.host, settings.ops_port))
        pool = await open_database(settings, pool_min=0, is_quick=True)
        stack.callback(pool.terminate)  # every write is one transaction: there is nothing to wait for
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose)
        places = FollowedMirror(redis, CellIndex(redis), clock=clock)
        policies = PolicyWatch(clock=clock)
        policies.load()
        seat = f"{gethostname()}:{settings.ops_port or os.getpid()}"
        store = RegionStore(MatcherId(uuid4()), seat, resolution=settings.matcher_region_resolution)
        regions = RegionLeases(pool=pool, clock=clock, store=store)
        dispatcher = Dispatcher(
            pool=pool,
            redis=redis,
            clock=clock,
            fix_clock=open_fix_clock(settings),
            policy=lambda: policies.policy,
            places=places,
            regions=regions,
            eta=await stack.enter_async_context(open_eta_source(settings, clock)),
        )
        await asyncio.to_thread(decision.warm_up)
        await asyncio.to_thread(mirror.warm_up)
        await asyncio.to_thread(sparse.warm_up)
        readiness.set("kernels", ok=True)
        check = partial(keep_checked, readiness, sleep_ms=clock.sleep_ms)
        async with asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(dispatcher.run()),
                tasks.create_task(policies.run()),
                tasks.create_task(check("database", partial(pool.execute, "SELECT"), errors=POSTGRES_ERRORS)),
                tasks.create_task(check("redis", redis.ping, errors=(RedisError, OSError))),
                tasks.create_task(_keep_told(regions, readiness, clock)),
            ]
            await process.until_stopped()
            for task in work:
                task.cancel()
        await regions.leave()


async def _keep_told(regions: RegionLeases, readiness: Readiness, clock: Clock) -> None:
    while True:
        detail = str(regions.share) if regions.is_held else "the lease has run out"
        readiness.set("regions", ok=regions.is_held, detail=detail)
        await clock.sleep_ms(READY_PROBE_MS)


if __name__ == "__main__":
    run(NAME, root)

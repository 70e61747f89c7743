"""A relay in a process of its own that goes as far as it is told, says so, and waits to be killed."""

import asyncio
import os
import sys

import asyncpg
from redis.asyncio import Redis

from engine.core.clock import SystemClock
from engine.outbox.relay import Relay

STEPS = ("turn", "numbers", "publish", "mark")


async def main(last_step: str) -> None:
    """Do the steps of a round up to `last_step`."""
    steps = STEPS[: STEPS.index(last_step) + 1]
    redis = Redis.from_url(os.environ["REDIS_URL"], protocol=2)
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=2) as pool:
        relay = Relay(pool=pool, redis=redis, clock=SystemClock())
        async with relay.turn() as turn:
            assert turn is not None
            rows = await turn.number_batch() if "numbers" in steps else []
            if "publish" in steps:
                await turn.publish(rows)
            if "mark" in steps:
                await turn.number_batch()
            print(last_step, flush=True)  # noqa: T201 - the test waits for it
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

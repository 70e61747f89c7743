import asyncpg
import pytest
from redis.asyncio import Redis

from engine.matcher.dispatch import Dispatcher
from tests.fakes import ManualClock
from tests.integration.matcher.town import Town


@pytest.fixture
async def town(pool: asyncpg.Pool, redis: Redis, clock: ManualClock) -> Town:
    return await Town(pool, redis, clock).found()


@pytest.fixture
def dispatcher(pool: asyncpg.Pool, redis: Redis, clock: ManualClock) -> Dispatcher:
    """A matcher that does what it is told, round by round."""
    return Dispatcher(pool=pool, redis=redis, clock=clock, fix_clock=clock)

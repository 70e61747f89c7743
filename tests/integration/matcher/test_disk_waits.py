"""Between a booking and the phone that rings Postgres waits for the disk once, and for what nobody may forget."""

from collections import Counter
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from redis.asyncio import Redis

from config.limits import CLAIM_LEASE_MS
from engine.core.database import Connection
from engine.core.vocabulary import BookingState
from engine.matcher.dispatch import Dispatcher
from engine.matcher.dispatch_store import Claim, LogEntry, Proposal, claim_due, save_offers
from engine.matcher.offer_policy import DEFAULT_OFFER_POLICY
from engine.matcher.offers import next_round
from engine.outbox.relay import Turn
from engine.people.tokens import Principal
from tests.fakes import ManualClock
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration

WAYS_MAX = 9
"""To Postgres and back, from the claim of a booking to its saved offer."""


@pytest.fixture
async def conn(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """As on a server that forgets nothing; the tests' own one does."""
    async with pool.acquire() as conn:
        await conn.execute("SET synchronous_commit = on")
        yield conn


async def waits(conn: Connection) -> bool:
    """Return whether the commit of what is under way on this connection will wait for the disk."""
    return await conn.fetchval("SHOW synchronous_commit") == "on"


async def save(conn: Connection, claim: Claim, worker: Principal, clock: ManualClock) -> list:
    return await save_offers(
        conn,
        claim,
        [Proposal(worker.person_id, 1.0, 60)],
        asking=next_round(DEFAULT_OFFER_POLICY, []),
        new_id=uuid4,
        entry=LogEntry("offered", {}, 1),
        now_ms=clock.now_ms(),
    )


async def test_neither_claim_nor_offer_waits_for_the_disk(town: Town, conn: Connection, clock: ManualClock):
    worker = await town.add_worker(1.0)
    await town.book()
    async with conn.transaction():
        (claim,) = await claim_due(conn, now_ms=clock.now_ms(), limit=1)
        assert not await waits(conn)
    assert await waits(conn)
    async with conn.transaction():
        assert await save(conn, claim, worker, clock) == [worker.person_id]
        assert not await waits(conn)
    assert await waits(conn)


async def test_numbers_wait_for_the_disk_and_marks_do_not(
    town: Town, redis: Redis, conn: Connection, clock: ManualClock
):
    await town.book()
    turn = Turn(conn, redis, clock)
    async with conn.transaction():
        rows = await turn.number_batch()
        assert await waits(conn)
    await turn.publish(rows)
    async with conn.transaction():
        assert await turn.number_batch() == []
        assert not await waits(conn)
    assert await conn.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL") == 0
    await town.book()
    rows = await turn.number_batch()
    await turn.publish(rows)
    await town.book()
    async with conn.transaction():
        assert await turn.number_batch() != []
        assert await waits(conn), "marks along with numbers"


async def test_a_claim_that_postgres_forgot_saves_nothing_once_the_booking_has_moved(
    town: Town, conn: Connection, clock: ManualClock
):
    """Its fence was given to the next claim, too."""
    early, late = await town.add_worker(1.0), await town.add_worker(2.0)
    booking_id = await town.book()
    (forgotten,) = await claim_due(conn, now_ms=clock.now_ms(), limit=1)
    await conn.execute("UPDATE booking SET fence = fence - 1, lease_until = NULL")
    (claim,) = await claim_due(conn, now_ms=clock.now_ms(), limit=1)
    assert claim.fence == forgotten.fence
    assert await save(conn, claim, early, clock) == [early.person_id]
    clock.step_ms(DEFAULT_OFFER_POLICY.answer_s * 1_000)
    dispatcher = Dispatcher(pool=town.pool, redis=town.redis, clock=clock, fix_clock=clock)
    assert await dispatcher.sweep() == 1
    assert await town.state(booking_id) is BookingState.SEARCHING
    assert await save(conn, forgotten, late, clock) == []


async def test_a_booking_costs_postgres_few_ways(town: Town, dispatcher: Dispatcher, clock: ManualClock):
    for km in range(1, 9):
        await town.add_worker(km / 2)
    asked: Counter[str] = Counter()

    def note(record: asyncpg.connection.LoggedQuery) -> None:
        asked[" ".join(record.query.split())[:60]] += 1

    await town.book()
    assert await dispatcher.dispatch_due() == 1
    clock.step_ms(CLAIM_LEASE_MS)
    booking_id = await town.book()
    held = [await town.pool.acquire() for _ in range(town.pool.get_size())]
    for conn in held:
        conn.add_query_logger(note)
    for conn in held:
        await town.pool.release(conn)
    asked.clear()
    assert await dispatcher.dispatch_due() == 1
    ways = Counter({query: count for query, count in asked.items() if "pg_advisory_unlock_all" not in query})
    assert 0 < ways.total() <= WAYS_MAX, ways
    assert await town.open_offer(booking_id), "nobody was asked"

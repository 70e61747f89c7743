"""The zone watch on real stores: every enter, exit and dwell once, in order, with the reason."""

import asyncio

import asyncpg
import pytest
from redis.asyncio import Redis

from tests.integration.zones.yard import STREET, Yard, watch_of, watching

pytestmark = pytest.mark.integration

SHOP, PARK = 0.0, 0.02
INSIDE_SHOP, INSIDE_PARK = 0.005, 0.025
JUST_OUTSIDE_SHOP = 0.0101
"""About 8 m beyond the shop's eastern edge."""


@pytest.fixture
async def yard(pool: asyncpg.Pool, redis: Redis) -> Yard:
    return await Yard(pool, redis).found(3)


async def test_who_walks_through_zones_is_told_step_by_step(yard: Yard) -> None:
    await yard.draw("shop", SHOP)
    await yard.draw("park", PARK)
    async with watching(yard.pool, yard.redis):
        for east in (STREET, INSIDE_SHOP, JUST_OUTSIDE_SHOP, STREET, INSIDE_PARK, INSIDE_SHOP):
            await yard.move(east)
        told = await yard.until_told(5)
    assert told == [
        (0, "enter", "shop", "moved"),
        (0, "exit", "shop", "moved"),
        (0, "enter", "park", "moved"),
        (0, "exit", "park", "moved"),
        (0, "enter", "shop", "moved"),
    ]
    await yard.check_books()


async def test_a_stay_is_told_once_its_time_is_full_and_only_once(yard: Yard) -> None:
    await yard.draw("shop", SHOP, dwell_s=60)
    async with watching(yard.pool, yard.redis):
        await yard.move(INSIDE_SHOP)
        for _ in range(14):
            await yard.move(INSIDE_SHOP)
        await yard.move(STREET)
        assert [kind for _, kind, _, _ in await yard.until_told(3)] == ["enter", "dwell", "exit"]
    at = [row["at"] for row in await yard.pool.fetch("SELECT at FROM zone_event ORDER BY event_id")]
    assert (at[1] - at[0]).total_seconds() == 60
    await yard.check_books()


async def test_going_off_duty_leaves_every_zone(yard: Yard) -> None:
    await yard.draw("shop", SHOP)
    await yard.draw("quarter", -0.005, size_deg=0.0125)
    async with watching(yard.pool, yard.redis):
        await yard.move(INSIDE_SHOP)
        await yard.until_told(2)
        await yard.index.remove([yard.slots[0]])
        told = await yard.until_told(4)
    assert {row[1:] for row in told[2:]} == {("exit", "shop", "off_duty"), ("exit", "quarter", "off_duty")}
    await yard.check_books()


async def test_going_off_duty_unseen_is_noticed_by_postgres(yard: Yard) -> None:
    await yard.draw("shop", SHOP)
    async with watching(yard.pool, yard.redis):
        await yard.move(INSIDE_SHOP)
        await yard.until_told(1)
        await yard.pool.execute("UPDATE worker SET duty = 'off'")
        assert (await yard.until_told(2))[1] == (0, "exit", "shop", "off_duty")
    await yard.check_books()


@pytest.mark.parametrize("assignment", ["active = false", "deleted_at = '2024-01-01T00:00:00Z'"])
async def test_a_zone_that_is_gone_lets_everybody_leave_for_that_reason(yard: Yard, assignment: str) -> None:
    shop = await yard.draw("shop", SHOP)
    await yard.draw("park", PARK)
    async with watching(yard.pool, yard.redis):
        await yard.move(INSIDE_SHOP, INSIDE_PARK)
        await yard.until_present({(0, "shop"), (1, "park")})
        await yard.change(shop, assignment)
        assert (await yard.until_told(3))[2:] == [(0, "exit", "shop", "zone_changed")]
        assert await yard.present() == {(1, "park")}
    await yard.check_books()


async def test_a_zone_that_is_drawn_around_a_standing_worker_is_entered(yard: Yard) -> None:
    async with watching(yard.pool, yard.redis):
        await yard.move(INSIDE_SHOP)
        await yard.draw("park", PARK)
        await yard.draw("shop", SHOP)
        assert [row[:3] for row in await yard.until_told(1)] == [(0, "enter", "shop")]
    await yard.check_books()


async def test_what_happened_while_nobody_watched_is_recovered(yard: Yard) -> None:
    shop = await yard.draw("shop", SHOP)
    await yard.draw("park", PARK)
    async with watching(yard.pool, yard.redis):
        await yard.move(INSIDE_SHOP, INSIDE_SHOP, INSIDE_PARK)
        await yard.until_present({(0, "shop"), (1, "shop"), (2, "park")})
    await yard.move(INSIDE_PARK, INSIDE_SHOP, STREET)
    await yard.change(shop, "active = false")
    async with watching(yard.pool, yard.redis):
        await yard.until_present({(0, "park")})
        told = await yard.told()
    assert sorted(told[3:]) == [
        (0, "enter", "park", "recovered"),
        (0, "exit", "shop", "zone_changed"),
        (1, "exit", "shop", "zone_changed"),
        (2, "exit", "park", "recovered"),
    ]
    await yard.check_books()


async def test_silence_is_no_exit_even_when_redis_has_forgotten_everybody(yard: Yard) -> None:
    await yard.draw("shop", SHOP)
    async with watching(yard.pool, yard.redis):
        await yard.move(INSIDE_SHOP, STREET)
        await yard.until_present({(0, "shop")})
    await yard.redis.flushall()
    async with watching(yard.pool, yard.redis):
        await yard.move(INSIDE_SHOP, INSIDE_SHOP)
        await yard.until_present({(0, "shop"), (1, "shop")})
    assert [row[:2] for row in await yard.told()] == [(0, "enter"), (1, "enter")]
    await yard.check_books()


async def test_of_two_watches_one_is_active_and_the_other_takes_over(yard: Yard, database_url: str) -> None:
    await yard.draw("shop", SHOP)
    own = await asyncpg.create_pool(database_url, min_size=0, max_size=3)
    rival, _ = watch_of(yard.pool, yard.redis)
    async with watching(own, yard.redis):
        await yard.move(INSIDE_SHOP)
        await yard.until_told(1)
        standing_by = asyncio.create_task(rival.run())
        await yard.move(STREET)
        await yard.until_told(2)
        assert await yard.pool.fetchval("SELECT generation FROM zone_watch") == 1
        own.terminate()
        await yard.move(INSIDE_SHOP)
        told = await yard.until_told(3)
        assert await yard.pool.fetchval("SELECT generation FROM zone_watch") == 2
    standing_by.cancel()
    await asyncio.gather(standing_by, return_exceptions=True)
    assert [row[1] for row in told] == ["enter", "exit", "enter"]
    await yard.check_books()

"""What regions cost a claim: the same bookings claimed with and without them, in turns, on a durable Postgres."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final
from uuid import uuid4

import asyncpg
import h3.api.basic_int as h3

from bench.escalation import Server
from bench.report import Row, less_is_better
from clenzy.migrations import migrate
from config.limits import DISPATCH_BATCH_MAX, REGION_RESOLUTION_MAX
from engine.core.clock import SystemClock
from engine.core.ids import MatcherId
from engine.core.units import utc_from_ms
from engine.geo.cells import cell_of, parent_of
from engine.matcher.dispatch_store import claim_due
from engine.matcher.region_leases import RegionLeases
from engine.matcher.region_store import RegionStore

RESOLUTION: Final = 4
ROUNDS: Final = 150
CENTER_DEG: Final = (50.0, 9.0)

FOUND: Final = """
WITH o AS (INSERT INTO org VALUES ($1, 'Bench', $2)),
     r AS (INSERT INTO region VALUES ($1, $1, 'Bench', 'DE', 'Europe/Berlin', 50, 9)),
     p AS (INSERT INTO person (person_id, org_id, region_id, role, full_name, tokens_valid_after, tz, created_at)
           VALUES ($1, $1, $1, 'customer', 'Somebody', $2, 'Europe/Berlin', $2))
INSERT INTO service VALUES ($1, $1, 'cleaning', 'Cleaning', 0, 60, 4800, 'EUR')
"""
BOOK: Final = """
WITH places AS (SELECT gen_random_uuid() AS id, cell FROM unnest($3::bigint[]) AS cell),
     doors AS (INSERT INTO address (address_id, org_id, region_id, customer_id, line, lat, lng, tz)
               SELECT id, $1, $1, $1, 'Street 1', 50, 9, 'Europe/Berlin' FROM places)
INSERT INTO booking (booking_id, org_id, region_id, customer_id, service_id, address_id, state, version, tz,
                     created_at, updated_at, search_until, next_attempt_at, cell)
SELECT id, $1, $1, $1, $1, id, 'searching', 1, 'Europe/Berlin', $2, $2, $2, $2, cell FROM places
"""


def claim_rows() -> list[Row]:
    """Return what a claim takes alone, and as one of three matchers in a country."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        server.start()
        try:
            migrate(server.postgres.url)
            return asyncio.run(_measured(server.postgres.url))
        finally:
            server.stop()


async def _measured(url: str) -> list[Row]:
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        now_ms = SystemClock().now_ms()
        org_id = uuid4()
        await pool.execute(FOUND, org_id, utc_from_ms(now_ms))
        one, *others = (_leases(pool) for _ in range(3))
        await _book(pool, org_id, [CENTER_DEG], now_ms)
        await one.settle()
        rows = [await _row(pool, one, "claim of a booking by a lone matcher")]
        country = [h3.cell_to_latlng(cell) for cell in h3.grid_disk(h3.latlng_to_cell(*CENTER_DEG, RESOLUTION), 9)]
        await _book(pool, org_id, country, now_ms)
        await one.settle()
        rows.append(await _row(pool, one, f"claim of {DISPATCH_BATCH_MAX} by a lone matcher, {len(country)} regions"))
        for _ in range(2):
            for matcher in (one, *others):
                await matcher.settle()
        rows.append(await _row(pool, one, f"the same by one of three, {one.share.regions} regions"))
        return rows


def _leases(pool: asyncpg.Pool) -> RegionLeases:
    store = RegionStore(MatcherId(uuid4()), str(uuid4()), resolution=RESOLUTION)
    return RegionLeases(pool=pool, clock=SystemClock(), store=store)


async def _book(pool: asyncpg.Pool, org_id: object, places: Sequence[tuple[float, float]], now_ms: int) -> None:
    cells = [parent_of(cell_of(*place), REGION_RESOLUTION_MAX) for place in places]
    await pool.execute(BOOK, org_id, utc_from_ms(now_ms), cells)


async def _row(pool: asyncpg.Pool, leases: RegionLeases, name: str) -> Row:
    """Claim in turns with regions and without, each time taking it back."""
    took_us: dict[bool, list[float]] = {True: [], False: []}
    claimed: dict[bool, int] = {}
    await pool.execute("ANALYZE")  # as autovacuum does within a minute
    async with pool.acquire() as conn:
        for turn in range(2 * ROUNDS):
            has_regions = turn % 2 == 0
            transaction = conn.transaction()
            await transaction.start()
            began_ns = time.perf_counter_ns()
            claims = await claim_due(
                conn,
                now_ms=SystemClock().now_ms(),
                limit=DISPATCH_BATCH_MAX,
                regions=leases.store if has_regions else None,
            )
            took_us[has_regions].append((time.perf_counter_ns() - began_ns) / 1_000)
            await transaction.rollback()
            claimed[has_regions] = len(claims)
    return less_is_better(
        name,
        median(took_us[True]),
        median(took_us[False]),
        anchor_name="the same claim without regions, in turns",
        unit="us",
        gate=claimed[True] == claimed[False] > 0,
    )

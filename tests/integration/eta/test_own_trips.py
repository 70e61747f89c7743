"""Trips of our own workers: which count, what they teach, and how often arrivals fell into what was told."""

from zoneinfo import ZoneInfo

import asyncpg
import numpy as np
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from config.limits import OWN_TRIP_FIX_MS
from engine.core.units import DEG_E7, utc_from_ms
from engine.eta.calibration_keeper import CalibrationKeeper
from engine.eta.calibration_store import read_calibration
from engine.eta.own_trips import read_own_trips
from engine.eta.source import EtaMatrix, EtaOutcome, StraightLineSource
from engine.eta.trip_table import TripTable
from engine.geo.trail_buffer import COLUMNS
from engine.geo.trail_partitions import make_days
from engine.people.tokens import Principal
from tests.fakes import ManualClock
from tests.integration.matcher.town import KM_IN_DEG, LAT_DEG, LNG_DEG, Town

pytestmark = pytest.mark.integration
BEGIN_MS = 1_700_000_000_000  # Tuesday, 22:13 in Lisbon
MINUTE_MS = 60_000
LISBON = ZoneInfo("Europe/Lisbon")


@pytest.fixture
async def town(pool: asyncpg.Pool, redis: Redis) -> Town:
    return await Town(pool, redis, ManualClock(BEGIN_MS)).found()


async def drive(
    town: Town, worker: Principal, *, began_ms: int, minutes: float, from_km: float = 3, fix_after_ms: int = 4_000
) -> None:
    """Let a worker go to a new customer in the centre, with a trail that begins so late."""
    booking_id = await town.book()
    ways = [(2, "assigned", "en_route", began_ms), (3, "en_route", "arrived", began_ms + round(minutes * MINUTE_MS))]
    await town.pool.executemany(
        "INSERT INTO booking_event (booking_id, version, state_from, state_to, actor_role, actor_id, at)"
        " VALUES ($1, $2, $3, $4, 'worker', $5, $6)",
        [(booking_id, version, a, b, worker.person_id, utc_from_ms(at)) for version, a, b, at in ways],
    )
    at_ms = began_ms + fix_after_ms
    north_e7 = round((LAT_DEG + from_km * KM_IN_DEG) * DEG_E7)
    rows = [
        (utc_from_ms(at_ms + n), town.org_id, worker.slot, north_e7 - 9 * n, round(LNG_DEG * DEG_E7), 50, -1, 0)
        for n in (0, 15_000)
    ]
    async with town.pool.acquire() as conn:
        await make_days(conn, {row[0].date() for row in rows})
        await conn.copy_records_to_table("trail", records=rows, columns=COLUMNS)


async def trips(town: Town, limit: int = 100) -> TripTable:
    async with town.pool.acquire() as conn:
        until_ms = BEGIN_MS + 86_400_000
        return (await read_own_trips(conn, since_ms=BEGIN_MS - 1, until_ms=until_ms, limit=limit)).table


async def test_a_trip_goes_from_the_first_fix_of_the_way_to_the_door(town: Town) -> None:
    worker = await town.add_worker(1)
    await drive(town, worker, began_ms=BEGIN_MS + 3_600_000, minutes=9)
    await drive(town, worker, began_ms=BEGIN_MS, minutes=7.5)
    found = await trips(town)
    assert found.begin_ms.tolist() == [BEGIN_MS, BEGIN_MS + 3_600_000]
    assert found.seconds.tolist() == [450, 540]
    np.testing.assert_allclose(found.from_lat_deg, LAT_DEG + 3 * KM_IN_DEG, atol=1e-6)
    np.testing.assert_allclose(found.to_lat_deg, LAT_DEG)
    assert (await trips(town, limit=1)).seconds.tolist() == [540], "of too many the newest"


async def test_what_is_no_way_teaches_nothing(town: Town) -> None:
    worker = await town.add_worker(1)
    await drive(town, worker, began_ms=BEGIN_MS, minutes=0.5)
    await drive(town, worker, began_ms=BEGIN_MS + 3_600_000, minutes=121)
    await drive(town, worker, began_ms=BEGIN_MS + 12_000_000, minutes=9, fix_after_ms=OWN_TRIP_FIX_MS + 1)
    assert len(await trips(town)) == 0


class Exactly(StraightLineSource):
    """Says of every way 8 to 12 minutes."""

    async def answers(self, questions, *, at_ms) -> list[EtaMatrix]:
        del at_ms
        ones = np.ones(1)
        return [EtaMatrix(600 * ones, 480 * ones, 720 * ones, np.array([EtaOutcome.ROADS], np.uint8))] * len(questions)


async def test_how_often_arrivals_fall_into_the_interval_is_kept_by_hour_and_area(town: Town) -> None:
    worker = await town.add_worker(1)
    for number in range(24):
        minutes = 9 if number < 18 else (7, 13)[number % 2]
        await drive(town, worker, began_ms=BEGIN_MS + number * 20 * MINUTE_MS, minutes=minutes)
    clock = ManualClock(BEGIN_MS + 86_400_000)
    keeper = CalibrationKeeper(pool=town.pool, redis=town.redis, source=Exactly(), zone=LISBON, clock=clock)
    found = await keeper.run_once()
    assert (found.city.early, found.city.inside, found.city.late) == (3, 18, 3)
    assert sum(held.trips for held in found.by_hour.values()) == 24
    assert found.by_hour[22].trips == 3
    (area,) = found.by_area.values()
    assert area == found.city
    told = await read_calibration(town.redis, town.org_id, tz="Europe/Lisbon")
    assert (told["early"], told["inside"], told["late"], told["coverage"]) == (3, 18, 3, 0.75)
    assert (told["at"], told["since"]) == ("2023-11-15T22:13:20.000Z", "2023-11-14T22:13:20.000Z")
    assert {"hour": 22, "trips": 3, "early": 0, "inside": 3, "late": 0, "coverage": 1.0} in told["by_hour"]
    assert REGISTRY.get_sample_value("clenzy_eta_interval_coverage", {"hour": "all"}) == 0.75
    assert REGISTRY.get_sample_value("clenzy_eta_interval_coverage", {"hour": "22"}) is None, "three tell nothing"
    assert REGISTRY.get_sample_value("clenzy_eta_trips", {"end": "late"}) == 3


async def test_each_organisation_is_told_of_its_own_trips(town: Town, pool: asyncpg.Pool, redis: Redis) -> None:
    other = await Town(pool, redis, town.clock).found()
    for one, minutes, trips in ((town, 9, 2), (other, 13, 1)):
        worker = await one.add_worker(1)
        for number in range(trips):
            await drive(one, worker, began_ms=BEGIN_MS + number * 20 * MINUTE_MS, minutes=minutes)
    clock = ManualClock(BEGIN_MS + 86_400_000)
    await CalibrationKeeper(pool=pool, redis=redis, source=Exactly(), zone=LISBON, clock=clock).run_once()
    own, others = [await read_calibration(redis, one.org_id, tz="UTC") for one in (town, other)]
    assert (own["trips"], own["coverage"], own["median_error"]) == (2, 1.0, 0.1111)
    assert (others["trips"], others["coverage"], others["median_error"]) == (1, 0.0, 0.2308)


async def test_before_the_first_trip_nothing_is_told(town: Town) -> None:
    source = StraightLineSource()
    keeper = CalibrationKeeper(pool=town.pool, redis=town.redis, source=source, zone=LISBON, clock=town.clock)
    assert (await keeper.run_once()).city.trips == 0
    told = await read_calibration(town.redis, town.org_id, tz="UTC")
    assert (told["at"], told["trips"], told["coverage"], told["by_hour"]) == (None, 0, None, [])

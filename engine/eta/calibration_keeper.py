"""Keeps how often arrivals fall into the told interval: gauges of all trips, and each organisation's own figures."""

from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from prometheus_client import Gauge

from config.limits import CALIBRATION_DAYS, CALIBRATION_EVERY_MS, CALIBRATION_TRIPS_MAX, CALIBRATION_TRIPS_MIN
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.ids import OrgId
from engine.core.redis_store import REDIS_ERRORS, RedisClient
from engine.core.units import MS_PER_DAY
from engine.eta.calibration import Calibration, Told, calibration_of, told_of
from engine.eta.calibration_store import save_calibrations
from engine.eta.learned_times import COVERED
from engine.eta.own_trips import read_own_trips
from engine.eta.source import EtaSource
from engine.eta.trip_cells import hour_of_week
from engine.eta.trip_table import TripTable
from engine.outbox.durable_loop import keep_running

TRIPS: Final = Gauge("clenzy_eta_trips", "Finished trips that intervals are held against, by how they ended", ["end"])
COVERAGE: Final = Gauge(
    "clenzy_eta_interval_coverage", "Share of arrivals inside the interval, by local hour", ["hour"]
)
AREAS_OFF: Final = Gauge(
    "clenzy_eta_areas_off", "Areas with enough trips whose share inside the interval is 10 points or more from its own"
)
MEDIAN_ERROR: Final = Gauge("clenzy_eta_median_error", "Median of |told - real| / real over those trips")
OFF: Final = 0.1
WHOLE_DAY: Final = "all"


class CalibrationKeeper:
    """Reads finished trips, holds the source against them, and says how it did; several at once do no harm."""

    NAME: Final = "eta_calibration"

    def __init__(self, *, pool: Pool, redis: RedisClient, source: EtaSource, zone: ZoneInfo, clock: Clock) -> None:
        self._pool = pool
        self._redis = redis
        self._source = source
        self._zone = zone
        self._clock = clock

    async def run(self) -> None:
        """Keep it up to date until cancelled, through restarts of its stores."""
        await keep_running(self._step, name=self.NAME, clock=self._clock, errors=(*POSTGRES_ERRORS, *REDIS_ERRORS))

    async def run_once(self) -> Calibration:
        """Do it for the trips of the last `limits.CALIBRATION_DAYS` days; return how the installation did."""
        now_ms = self._clock.now_ms()
        since_ms = now_ms - CALIBRATION_DAYS * MS_PER_DAY
        async with self._pool.acquire() as conn:
            trips = await read_own_trips(conn, since_ms=since_ms, until_ms=now_ms, limit=CALIBRATION_TRIPS_MAX)
        told = await told_of(trips.table, self._source, clock=self._clock)
        whole = self._of(trips.table, told)
        _show(whole)
        of_orgs: dict[OrgId, Calibration] = {}
        for org_id in dict.fromkeys(trips.org_ids):
            rows = trips.org_ids == org_id
            of_orgs[org_id] = self._of(trips.table.chosen(rows), told.chosen(rows))
        await save_calibrations(self._redis, of_orgs, tz=self._zone.key, now_ms=now_ms)
        return whole

    def _of(self, trips: TripTable, told: Told) -> Calibration:
        return calibration_of(trips, told, partial(hour_of_week, zone=self._zone))

    async def _step(self) -> None:
        await self.run_once()
        await self._clock.sleep_ms(CALIBRATION_EVERY_MS)


def _show(found: Calibration) -> None:
    for end in ("early", "inside", "late"):
        TRIPS.labels(end).set(getattr(found.city, end))
    MEDIAN_ERROR.set(found.median_error)
    COVERAGE.clear()
    for name, held in [(WHOLE_DAY, found.city), *((str(hour), held) for hour, held in found.by_hour.items())]:
        if held.trips >= CALIBRATION_TRIPS_MIN:
            COVERAGE.labels(name).set(held.share)
    areas = [held for held in found.by_area.values() if held.trips >= CALIBRATION_TRIPS_MIN]
    AREAS_OFF.set(sum(abs(held.share - COVERED) >= OFF for held in areas))

"""Keeps how often arrivals fall into the told interval: gauges for Prometheus, and a file by hour and by area."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson
from prometheus_client import Gauge

from config.limits import CALIBRATION_DAYS, CALIBRATION_EVERY_MS, CALIBRATION_TRIPS_MAX, CALIBRATION_TRIPS_MIN
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.units import MS_PER_DAY
from engine.eta.calibration import Calibration, Held, calibrated
from engine.eta.learned_times import COVERED
from engine.eta.own_trips import read_own_trips
from engine.eta.source import EtaSource
from engine.outbox.durable_loop import keep_running

FILE: Final = "eta_calibration.json"

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

    def __init__(
        self, *, pool: Pool, source: EtaSource, hour_of_week: Callable[[int], int], folder: Path, clock: Clock
    ) -> None:
        self._pool = pool
        self._source = source
        self._hour_of_week = hour_of_week
        self._path = folder / FILE
        self._clock = clock

    async def run(self) -> None:
        """Keep it up to date until cancelled, through restarts of Postgres."""
        await keep_running(self._step, name=self.NAME, clock=self._clock, errors=(*POSTGRES_ERRORS, OSError))

    async def run_once(self) -> Calibration:
        """Do it for the trips of the last `limits.CALIBRATION_DAYS` days."""
        now_ms = self._clock.now_ms()
        since_ms = now_ms - CALIBRATION_DAYS * MS_PER_DAY
        async with self._pool.acquire() as conn:
            trips = await read_own_trips(conn, since_ms=since_ms, until_ms=now_ms, limit=CALIBRATION_TRIPS_MAX)
        found = await calibrated(trips, self._source, self._hour_of_week, clock=self._clock)
        _show(found)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{FILE}.partial")
        partial.write_bytes(orjson.dumps(_told(found, now_ms=now_ms), option=orjson.OPT_INDENT_2))
        partial.replace(self._path)
        return found

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


def _told(found: Calibration, *, now_ms: int) -> dict[str, Any]:
    return {
        "at_ms": now_ms,
        "days": CALIBRATION_DAYS,
        "meant": COVERED,
        "median_error": round(found.median_error, 4),
        "city": _row(found.city),
        "by_hour": {str(hour): _row(held) for hour, held in found.by_hour.items()},
        "by_area": {area: _row(held) for area, held in found.by_area.items()},
    }


def _row(held: Held) -> dict[str, Any]:
    return asdict(held) | {"share_inside": round(held.share, 4)}

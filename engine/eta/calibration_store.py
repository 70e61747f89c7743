"""How often arrivals fell into the told interval, for each organisation: JSON in Redis, which may lose it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import orjson

from config.limits import CALIBRATION_KEPT_MS
from engine.core.ids import OrgId
from engine.core.redis_store import RedisClient
from engine.core.units import rfc3339, utc_from_ms
from engine.eta.calibration import Calibration, Held
from engine.eta.learned_times import COVERED

KEY: Final = "eta:calibration:"


async def save_calibrations(redis: RedisClient, found: Mapping[OrgId, Calibration], *, tz: str, now_ms: int) -> None:
    """Keep what was found of each organisation's trips, by the hours of `tz`, for `limits.CALIBRATION_KEPT_MS`."""
    for org_id, calibration in found.items():
        figures = orjson.dumps(_shown(calibration, tz=tz, at=rfc3339(utc_from_ms(now_ms))))
        await redis.set(f"{KEY}{org_id}", figures, px=CALIBRATION_KEPT_MS)


async def read_calibration(redis: RedisClient, org_id: OrgId, *, tz: str) -> dict[str, Any]:
    """Return what is kept; without any trip, or before the first look, the figures of none."""
    kept = await redis.get(f"{KEY}{org_id}")
    if kept is None:
        return _shown(Calibration(None, Held(0, 0, 0), {}, {}, 0.0), tz=tz, at=None)
    figures: dict[str, Any] = orjson.loads(kept)
    return figures


def _shown(found: Calibration, *, tz: str, at: str | None) -> dict[str, Any]:
    return {
        "at": at,
        "since": None if found.since_ms is None else rfc3339(utc_from_ms(found.since_ms)),
        "promised": COVERED,
        "median_error": round(found.median_error, 4) if found.city.trips else None,
        **_row(found.city),
        "tz": tz,
        "by_hour": [{"hour": hour} | _row(held) for hour, held in found.by_hour.items()],
        "by_area": [{"cell": cell} | _row(held) for cell, held in found.by_area.items()],
    }


def _row(held: Held) -> dict[str, Any]:
    return asdict(held) | {"trips": held.trips, "coverage": round(held.share, 4) if held.trips else None}

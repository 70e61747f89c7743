"""What a phone makes of a true position: an error that wanders, a stated accuracy, a record ready for the wire."""

import math
from typing import Final

import numpy as np

from sim.city.projection import METRES_PER_DEG, Floats
from sim.city.traffic import Index, Whereabouts
from sim.client.wire import FIX_DTYPE, UNKNOWN_U16

ERROR_M: Final = 3.5
"""Standard deviation of the error on each axis."""
ERROR_MEMORY_S: Final = 40.0
"""The error of two fixes this far apart is correlated by 1/e: GPS error drifts, it does not jump about."""


class Receivers:
    """The receivers of all movers: an Ornstein-Uhlenbeck error on each axis (exact discretisation)."""

    def __init__(self, *, movers: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._error_m = rng.normal(0, ERROR_M, (movers, 2))
        self._accuracy_dm = rng.integers(35, 120, movers).astype(np.uint16)
        self._battery_pct = rng.integers(35, 100, movers).astype(np.uint8)

    def fixes(self, movers: Index, true: Whereabouts, elapsed_s: Floats, *, ts_ms: int) -> np.ndarray:
        """Return one record of `FIX_DTYPE` a mover."""
        keep = np.exp(-elapsed_s / ERROR_MEMORY_S)[:, None]
        noise = self._rng.standard_normal((len(movers), 2)) * ERROR_M
        error_m = self._error_m[movers] = self._error_m[movers] * keep + noise * np.sqrt(1 - keep**2)
        lat_deg = true.lat_deg + error_m[:, 1] / METRES_PER_DEG
        metres_per_lng_deg = METRES_PER_DEG * math.cos(math.radians(float(true.lat_deg.mean()))) if len(movers) else 1.0
        moves = true.speed_mps > 0.5  # noqa: PLR2004 - below this a receiver has no heading
        records = np.zeros(len(movers), FIX_DTYPE)
        records["ts_ms"] = ts_ms
        records["lat_e7"] = np.rint(lat_deg * 1e7)
        records["lng_e7"] = np.rint((true.lng_deg + error_m[:, 0] / metres_per_lng_deg) * 1e7)
        records["accuracy_dm"] = self._accuracy_dm[movers]
        records["speed_cm_s"] = np.rint(true.speed_mps * 100)
        records["heading_cdeg"] = np.where(moves, np.rint(true.heading_deg * 100) % 36_000, UNKNOWN_U16)
        records["battery_pct"] = self._battery_pct[movers]
        return records

"""Metres around a centre to degrees and back: flat over a city, which is all that is needed here."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

METRES_PER_DEG: Final = 111_319.49079327358
"""Metres in a degree of latitude on a sphere of the WGS84 equatorial radius (6,378,137 m)."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Projection:
    """Local east/north metres around `(lat_deg, lng_deg)`."""

    lat_deg: float
    lng_deg: float

    @property
    def metres_per_lng_deg(self) -> float:
        """Metres in a degree of longitude at the centre."""
        return METRES_PER_DEG * math.cos(math.radians(self.lat_deg))

    def to_degrees(self, east_m: Floats, north_m: Floats) -> tuple[Floats, Floats]:
        """Return `(lat_deg, lng_deg)`."""
        return self.lat_deg + north_m / METRES_PER_DEG, self.lng_deg + east_m / self.metres_per_lng_deg

    def to_metres(self, lat_deg: float, lng_deg: float) -> tuple[float, float]:
        """Return `(east_m, north_m)`."""
        return (lng_deg - self.lng_deg) * self.metres_per_lng_deg, (lat_deg - self.lat_deg) * METRES_PER_DEG


def distance_m(lat_a_deg: float, lng_a_deg: float, lat_b_deg: float, lng_b_deg: float) -> float:
    """Return the great-circle distance in metres (haversine, mean earth radius 6,371,008.8 m)."""
    a, b = math.radians(lat_a_deg), math.radians(lat_b_deg)
    half = (
        math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(lng_b_deg - lng_a_deg) / 2) ** 2
    )
    return 2 * 6_371_008.8 * math.asin(math.sqrt(half))

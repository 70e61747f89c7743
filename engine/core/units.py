"""Unit conversions of the wire and the map. Names end in their unit."""

from datetime import UTC, datetime, timedelta
from typing import Final

DEG_E7: Final = 10_000_000
"""Latitude and longitude travel as degrees x 1e7 in a signed 32-bit integer (about 1 cm)."""

METRES_PER_DEG: Final = 111_319.49079327358
"""Metres in a degree of latitude on the WGS84 equatorial radius (6,378,137 m)."""

MS_PER_S: Final = 1000
NS_PER_MS: Final = 1_000_000
MS_PER_MIN: Final = 60_000
MS_PER_DAY: Final = 86_400_000

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def deg_to_e7(value_deg: float) -> int:
    """Return `value_deg` in 1e-7 degrees, rounded to the nearest."""
    return round(value_deg * DEG_E7)


def e7_to_deg(value_e7: int) -> float:
    """Return degrees of a 1e-7 degree integer."""
    return value_e7 / DEG_E7


def utc_from_ms(at_ms: int) -> datetime:
    """Return the aware UTC datetime of Unix milliseconds, as Postgres wants it."""
    return EPOCH + timedelta(milliseconds=at_ms)


def ms_from_utc(at: datetime) -> int:
    """Return Unix milliseconds of an aware datetime."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def rfc3339(at: datetime | None) -> str | None:
    """Return the protocol's text of an aware datetime, milliseconds and `Z`."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

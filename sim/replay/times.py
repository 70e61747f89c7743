"""Reads the times that recorded traces carry. Pure."""

import math
from datetime import UTC, datetime
from typing import Final

MS_FROM: Final = 100_000_000_000
"""A numeric time from here on is in milliseconds, below in seconds: the year 5138 and the year 1973."""


def parse_time_ms(text: str) -> int:
    """Return Unix milliseconds of seconds, milliseconds or an ISO 8601 time; without a zone it is UTC.

    Raises:
        ValueError: it is none of these.
    """
    try:
        number = float(text)
    except ValueError:
        at = datetime.fromisoformat(text.strip())
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    if not math.isfinite(number):
        raise ValueError(f"not a time: {text}")
    return round(number if abs(number) >= MS_FROM else number * 1000)

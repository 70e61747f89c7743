"""Wall time, and the time of fixes, which runs faster while a recorded trace is replayed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


def wall_ms() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


CLOCK_ERROR_MS_MIN: Final = 5_000
"""Less than this is no wrong clock: the server takes fixes of so little a future, and the past is late anyhow."""


@dataclass(frozen=True, slots=True)
class ClockCheck:
    """What one question to the server tells of our clock, however long the answer took.

    Source: the interval that RFC 5905 (NTP) reasons with; here its middle is good enough.
    """

    asked_ms: int
    """When we asked, by our clock."""

    def behind_ms(self, server_ms: int, answered_ms: int) -> int:
        """Return how far our clock is behind the server's (negative: ahead); 0 where it need not be wrong.

        `server_ms`: the server's clock at some moment between question and answer. `answered_ms`: ours at the answer.
        """
        least_ms, most_ms = server_ms - answered_ms, server_ms - self.asked_ms
        if least_ms > CLOCK_ERROR_MS_MIN or most_ms < -CLOCK_ERROR_MS_MIN:
            return (least_ms + most_ms) // 2
        return 0


@dataclass(frozen=True, slots=True)
class FixClock:
    """The clock that `ts_ms` of a fix is read from: `epoch_ms + (wall_ms - epoch_ms) * scale`."""

    scale: float = 1.0
    epoch_ms: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "FixClock":
        """Return the clock that `GET /v1/config` announces: the wall's own where it says nothing."""
        clock = config.get("clock")
        if not isinstance(clock, Mapping):
            return cls()
        return cls(scale=float(clock["scale"]), epoch_ms=int(clock["epoch_ms"]))

    def at(self, at_wall_ms: int) -> int:
        """Return the fix time (Unix ms) of a wall time (Unix ms)."""
        return self.epoch_ms + round((at_wall_ms - self.epoch_ms) * self.scale)

    def now_ms(self) -> int:
        """Return the fix time of this moment."""
        return self.at(wall_ms())

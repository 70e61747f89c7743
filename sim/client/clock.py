"""Wall time, and the time of fixes, which runs faster while a recorded trace is replayed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass


def wall_ms() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


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

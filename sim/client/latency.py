"""Durations that were measured, and their percentiles."""

from array import array
from dataclasses import dataclass, field

import numpy as np


@dataclass(slots=True)
class LatencyLog:
    """Durations in milliseconds; beyond `samples_max` the oldest half is forgotten."""

    samples_max: int = 1_000_000
    _samples: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, duration_ms: float) -> None:
        """Record one duration."""
        if len(self._samples) >= self.samples_max:
            del self._samples[: self.samples_max // 2]
        self._samples.append(duration_ms)

    def __len__(self) -> int:
        """Return how many durations are kept."""
        return len(self._samples)

    def percentile(self, percent: float) -> float | None:
        """Return the `percent`-th percentile in milliseconds, None where nothing was measured."""
        return None if not self._samples else float(np.percentile(np.asarray(self._samples), percent))

    def summary(self) -> dict[str, float | int | None]:
        """Return count, median, 99th percentile and maximum, rounded to a hundredth of a millisecond."""
        return {
            "count": len(self._samples),
            "p50_ms": _rounded(self.percentile(50)),
            "p99_ms": _rounded(self.percentile(99)),
            "max_ms": _rounded(self.percentile(100)),
        }

    def clear(self) -> None:
        """Forget every sample."""
        del self._samples[:]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)

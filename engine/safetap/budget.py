"""How much of something each source may have: token buckets, kept as the instant up to which they are spent. Pure."""

from collections import OrderedDict
from dataclasses import dataclass

from engine.core.units import MS_PER_S


@dataclass(frozen=True, slots=True)
class Rate:
    """A steady rate, and how much may come at once."""

    per_s: float
    burst: int


class Bucket:
    """One budget. Times are milliseconds of a clock that never goes back."""

    def __init__(self, rate: Rate) -> None:
        self._each_ms = MS_PER_S / rate.per_s
        self._full_ms = rate.burst * self._each_ms
        self._spent_until_ms = float("-inf")

    def spend(self, now_ms: float) -> bool:
        """Take one, or nothing where none is left."""
        until_ms = max(self._spent_until_ms, now_ms - self._full_ms) + self._each_ms
        if until_ms > now_ms:
            return False
        self._spent_until_ms = until_ms
        return True


class Budgets:
    """A bucket for each source and one for all of them; at most `sources_max` are remembered, the latest ones."""

    def __init__(self, *, each: Rate, together: Rate, sources_max: int) -> None:
        self._each = each
        self._together = Bucket(together)
        self._sources_max = sources_max
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def spend(self, source: str | None, now_ms: float) -> bool:
        """Take one for a source; `None` is one of our own processes, which only the common budget binds."""
        return (source is None or self._of(source).spend(now_ms)) and self._together.spend(now_ms)

    def _of(self, source: str) -> Bucket:
        bucket = self._buckets.get(source)
        if bucket is None:
            bucket = self._buckets[source] = Bucket(self._each)
            if len(self._buckets) > self._sources_max:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(source)
        return bucket

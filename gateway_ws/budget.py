"""What one connection may spend: a token bucket for fixes, a window for refused frames. Pure."""

from collections import deque
from typing import Final

from config.limits import (
    BAD_FRAMES_MAX,
    CONNECTION_FIXES_BURST,
    CONNECTION_FIXES_PER_S_MAX,
)
from engine.core.units import MS_PER_MIN, MS_PER_S

_FIX_MS: Final = MS_PER_S / CONNECTION_FIXES_PER_S_MAX
_FULL_MS: Final = CONNECTION_FIXES_BURST * _FIX_MS


class FixBudget:
    """Token bucket: `CONNECTION_FIXES_BURST` deep, filled with `CONNECTION_FIXES_PER_S_MAX` a second.

    Kept as the instant up to which everything is spent: one number. Times are of a clock that never goes back.
    """

    __slots__ = ("_spent_until_ms",)

    def __init__(self, now_ms: float) -> None:
        self._spent_until_ms = now_ms - _FULL_MS

    def spend(self, amount: int, now_ms: float) -> bool:
        """Take `amount`, or nothing where there is not enough."""
        until_ms, full_ms = self._spent_until_ms, now_ms - _FULL_MS
        if until_ms < full_ms:  # noqa: PLR1730 - `max` takes as long as all the rest
            until_ms = full_ms
        until_ms += amount * _FIX_MS
        if until_ms > now_ms:
            return False
        self._spent_until_ms = until_ms
        return True


class BadFrames:
    """The refused frames of the last minute."""

    __slots__ = ("_at_ms",)

    def __init__(self) -> None:
        self._at_ms: deque[int] | None = None
        """Made with the first one: an empty queue takes 700 bytes, and most connections never need it."""

    def add(self, now_ms: int) -> bool:
        """Count one; return whether that makes it abuse."""
        if self._at_ms is None:
            self._at_ms = deque(maxlen=BAD_FRAMES_MAX)
        self._at_ms.append(now_ms)
        return len(self._at_ms) == BAD_FRAMES_MAX and now_ms - self._at_ms[0] < MS_PER_MIN

"""What one connection may spend: a token bucket for fixes, a window for refused frames. Pure."""

from collections import deque

from config.limits import (
    BAD_FRAMES_MAX,
    CONNECTION_FIXES_BURST,
    CONNECTION_FIXES_PER_S_MAX,
)
from engine.core.units import MS_PER_MIN, MS_PER_S


class FixBudget:
    """Token bucket: `CONNECTION_FIXES_BURST` deep, filled with `CONNECTION_FIXES_PER_S_MAX` a second."""

    def __init__(self, now_ms: int) -> None:
        self._tokens = float(CONNECTION_FIXES_BURST)
        self._filled_ms = now_ms

    def spend(self, amount: int, now_ms: int) -> bool:
        """Take `amount`, or nothing where there is not enough."""
        elapsed_ms = max(0, now_ms - self._filled_ms)
        self._filled_ms = now_ms
        filled = self._tokens + elapsed_ms * CONNECTION_FIXES_PER_S_MAX / MS_PER_S
        self._tokens = min(float(CONNECTION_FIXES_BURST), filled)
        if amount > self._tokens:
            return False
        self._tokens -= amount
        return True


class BadFrames:
    """The refused frames of the last minute."""

    def __init__(self) -> None:
        self._at_ms: deque[int] = deque(maxlen=BAD_FRAMES_MAX)

    def add(self, now_ms: int) -> bool:
        """Count one; return whether that makes it abuse."""
        self._at_ms.append(now_ms)
        return len(self._at_ms) == BAD_FRAMES_MAX and now_ms - self._at_ms[0] < MS_PER_MIN

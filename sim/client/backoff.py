"""How long to wait before trying again."""

import random
from dataclasses import dataclass, field

import aiohttp


@dataclass(slots=True)
class Backoff:
    """Exponential growth with full jitter, so that thousands of clients do not come back in one instant.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
    """

    base_s: float = 0.25
    cap_s: float = 5.0
    rng: random.Random = field(default_factory=random.Random)
    _attempt: int = 0
    _told_s: float | None = None

    def come_back_after(self, delay_s: float) -> None:
        """Take the server's word for the next delay: it sends its clients away one after another."""
        self._told_s = delay_s

    def look_at(self, failure: BaseException) -> None:
        """Take the server's word where it has refused to open a socket and said for how long."""
        headers = failure.headers if isinstance(failure, aiohttp.WSServerHandshakeError) else None
        if headers is not None and headers.get("Retry-After", "").isdecimal():
            self.come_back_after(int(headers["Retry-After"]) - self.rng.random())

    def reset(self) -> None:
        """Forget earlier failures: the last try worked."""
        self._attempt = 0

    def next_s(self) -> float:
        """Return the next delay in seconds and count the failure; the server's own wish is none."""
        if self._told_s is not None:
            told_s, self._told_s = self._told_s, None
            return told_s + self.rng.uniform(0, self.base_s)
        ceiling_s = min(self.cap_s, self.base_s * 2 ** min(self._attempt, 16))
        self._attempt += 1
        return self.base_s / 5 + self.rng.uniform(0, ceiling_s)

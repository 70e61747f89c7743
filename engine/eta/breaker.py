"""When a failing router is asked again. Pure."""

from dataclasses import dataclass

from config.limits import ROUTER_FAILURES_MAX, ROUTER_REST_MS


@dataclass(slots=True)
class Breaker:
    """Closed: everybody asks. After failures in a row it rests; then one question at a time tries the router."""

    failures: int = 0
    asks_again_ms: int = 0

    def may_ask(self, now_ms: int) -> bool:
        """Return whether to ask now; a trial takes the place of all others until it is judged or has rested again."""
        if self.failures < ROUTER_FAILURES_MAX:
            return True
        if now_ms < self.asks_again_ms:
            return False
        self.asks_again_ms = now_ms + ROUTER_REST_MS
        return True

    def answered(self) -> None:
        """Take note of an answer."""
        self.failures = 0

    def failed(self, now_ms: int) -> None:
        """Take note of a failure."""
        self.failures += 1
        if self.failures >= ROUTER_FAILURES_MAX:
            self.asks_again_ms = now_ms + ROUTER_REST_MS

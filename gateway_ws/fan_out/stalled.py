"""Clients that read more slowly than they are sent to; one task looks at all of them."""

from typing import Protocol

from config.limits import OUTBOX_RETRY_MS
from engine.core.clock import Clock


class Stalled(Protocol):
    """A way out to a client whose frames wait for its socket."""

    def pump(self) -> bool:
        """Send on what can be sent; return whether nothing waits any more."""
        ...


class StalledConnections:
    """The connections that wait right now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stalled: set[Stalled] = set()

    def add(self, connection: Stalled) -> None:
        """Look at `connection` until nothing waits there."""
        self._stalled.add(connection)

    async def run(self) -> None:
        """Send on what can be sent, for ever."""
        while True:
            await self._clock.sleep_ms(OUTBOX_RETRY_MS)
            self._stalled = {connection for connection in self._stalled if not connection.pump()}

"""What a session needs of its client, whatever the transport."""

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

from engine.core.errors import ClenzyError
from gateway_ws.closing import Close
from gateway_ws.fan_out.message import Encodings
from gateway_ws.raw.wire import AckState


class Connection(Protocol):
    """One client. Nothing here waits: what the socket does not take at once waits in a bounded outbox."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        ...

    def welcome(self, body: Mapping[str, Any]) -> None:
        """Send the present state."""
        ...

    def event(
        self, name: str, body: Mapping[str, Any], offset: int | None = None, *, shared: Encodings | None = None
    ) -> None:
        """Send an event that must not get lost; `offset` is its place in the outbox, where it has one.

        `shared` are the encodings of this very body: whoever else gets it need not encode it again.
        """
        ...

    def latest(self, key: Hashable, name: str, body: object, *, shared: Encodings | None = None) -> None:
        """Send an event that a newer one under the same key replaces."""
        ...

    def acknowledge(self, seq: int, state: AckState) -> None:
        """Confirm ping frames up to `seq`, or with a `state` the trigger `seq`."""
        ...

    def cadence(self, body: Mapping[str, int]) -> None:
        """Ask for fixes this often: `gateway_ws.cadence.Cadence` as a dictionary."""
        ...

    def refuse(self, error: ClenzyError, seq: int | None = None) -> None:
        """Tell that a frame was refused and why."""
        ...

    def close(self, reason: Close, detail: str = "", *, retry_after_ms: int | None = None) -> None:
        """End the connection for a named reason; a second call changes nothing.

        `retry_after_ms` tells a client that shall come back how long to wait first.
        """
        ...

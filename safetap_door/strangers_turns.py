"""How much of the door's one thread those have of whom it does not know yet who they are.

What they cost is measured, not counted: a request of a costly form has fewer beside it. Nobody is turned away. Who has
no turn now has one later, and what they send meanwhile stays in the kernel.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Protocol

from aiohttp import web

from config.limits import FULL_SERVER_CHARGE_US, SOURCES_MAX, STRANGERS_TURN_MS

NS_PER_MS: Final = 1_000_000
NS_PER_US: Final = 1_000


class Provable(asyncio.Protocol):
    """A connection of which the latest request shows whether we know who it is."""

    is_proved = False


def note_proof(request: web.Request, *, is_proved: bool = True) -> None:
    """Note on a request's connection that its sender is, or is not, somebody whom we know."""
    line = None if request.transport is None else request.transport.get_protocol()
    if isinstance(line, Provable):
        line.is_proved = is_proved


class Waiting(Protocol):
    """A connection that has brought something."""

    peer: str | None
    is_proved: bool

    @property
    def is_handed_over(self) -> bool:
        """Whether the full server reads it, whose work begins after `serve`."""
        ...

    def serve(self) -> None:
        """Read what came."""
        ...


class StrangersTurns:
    """Two queues of connections and the time that is left for them."""

    def __init__(self, cpu_ns: Callable[[], int]) -> None:
        """`cpu_ns` is the processor's time of this thread: what a busy machine takes from us is no stranger's doing."""
        self._cpu_ns = cpu_ns
        self._spent_ns = 0
        self._counted_ns = 0
        self._newcomers: deque[Waiting] = deque()
        """From addresses of which no stranger is known."""
        self._suspects: deque[Waiting] = deque()
        self._addresses: OrderedDict[str | None, None] = OrderedDict()
        """Where strangers came from, the latest last."""

    def take(self, line: Waiting) -> None:
        """Serve a connection at once while there is time and nobody goes before it, else in its turn."""
        is_suspect = line.is_handed_over or line.peer in self._addresses
        if not self.has_time() or self._newcomers or (is_suspect and self._suspects):
            (self._suspects if is_suspect else self._newcomers).append(line)
            return
        self._counted_ns = self._cpu_ns()
        self._serve(line)

    def begin(self) -> None:
        """Begin a tick; what was spent beyond the last one's time is missing in this one."""
        self._spent_ns = max(0, self._spent_ns - STRANGERS_TURN_MS * NS_PER_MS)
        self._counted_ns = self._cpu_ns()

    def has_time(self) -> bool:
        """Return whether the tick has time left."""
        return self._spent_ns < STRANGERS_TURN_MS * NS_PER_MS

    def serve(self) -> None:
        """Serve who waits, the newcomers first, while there is time."""
        while self.has_time() and (queue := self._newcomers or self._suspects):
            self._serve(queue.popleft())

    def charge(self) -> None:
        """Count what was done since the tick began or was last counted."""
        now_ns = self._cpu_ns()
        self._spent_ns += now_ns - self._counted_ns
        self._counted_ns = now_ns

    def suspect(self, peer: str | None) -> None:
        """Note an address that a stranger came from."""
        self._addresses[peer] = None
        self._addresses.move_to_end(peer)
        if len(self._addresses) > SOURCES_MAX:
            self._addresses.popitem(last=False)

    def _serve(self, line: Waiting) -> None:
        line.serve()
        if line.is_proved:  # whom we know costs strangers nothing
            self._counted_ns = self._cpu_ns()
            return
        self.charge()
        if line.is_handed_over:
            self._spent_ns += FULL_SERVER_CHARGE_US * NS_PER_US

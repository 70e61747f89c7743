"""Who may open a socket: a gateway that is full or leaving says so before it spends anything on a stranger."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web

from config.limits import CONNECTIONS_MAX
from engine.core.units import MS_PER_S
from gateway_ws.arrivals import Arrivals
from gateway_ws.metrics import SOCKETS

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Admission:
    """Counts open sockets, signed in or not."""

    def __init__(self, arrivals: Arrivals, *, sockets_max: int = CONNECTIONS_MAX) -> None:
        self._arrivals = arrivals
        self._sockets_max = sockets_max
        self._sockets = 0
        self._is_open = True

    @property
    def sockets(self) -> int:
        """How many sockets are open."""
        return self._sockets

    def shut(self) -> None:
        """Take nobody in any more: the gateway stops."""
        self._is_open = False

    def entered(self) -> None:
        """Count a socket, or one more time one that outlives its request."""
        self._sockets += 1
        SOCKETS.set(self._sockets)

    def left(self) -> None:
        """Count one less."""
        self._sockets -= 1
        SOCKETS.set(self._sockets)

    @web.middleware
    async def middleware(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answer 503 where no socket can be opened; a plain request that comes while leaving is the connection's last.

        Raises:
            web.HTTPServiceUnavailable: full, leaving, or too many sessions are opening.
        """
        if not request.headers.get("Upgrade"):
            response = await handler(request)
            if not self._is_open and not response.prepared:
                response.force_close()
            return response
        if not self._is_open or self._sockets >= self._sockets_max:
            text = "this gateway is full" if self._is_open else "this gateway is going away"
            raise web.HTTPServiceUnavailable(text=f"{text}: connect again")
        if self._arrivals.is_full:
            later_s = -(-self._arrivals.sent_away() // MS_PER_S)
            raise web.HTTPServiceUnavailable(
                text="too many connect at this moment", headers={"Retry-After": str(later_s)}
            )
        self.entered()
        try:
            return await handler(request)
        finally:
            self.left()

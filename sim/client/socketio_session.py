"""A stock Socket.IO client on one namespace that comes back by itself, with a fresh token each time."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
import socketio

from sim.client.backoff import Backoff
from sim.client.errors import Disconnected, Refused, SignedOut
from sim.client.rest import Account
from sim.client.wire import Place

CONNECT_TIMEOUT_S: Final = 10.0
CALL_TIMEOUT_S: Final = 6.0
TOKEN_CHECK_S: Final = 20.0

Handler = Callable[[Any], None]


class SocketIoSession:
    """One namespace of the gateway. Event handlers are synchronous and must not block."""

    def __init__(
        self,
        *,
        http: aiohttp.ClientSession,
        gateway_url: str,
        namespace: str,
        account: Account,
        backoff: Backoff | None = None,
    ) -> None:
        self._http = http
        self._url = gateway_url
        self._namespace = namespace
        self._account = account
        self._backoff = backoff or Backoff()
        self._handlers: dict[str, Handler] = {}
        self._client: Any = None
        self._token = ""
        self._place: Place | None = None
        self.connected = asyncio.Event()
        self.connects = 0
        self.losses = 0

    def on(self, event: str, handler: Handler) -> None:
        """Call `handler` with the first argument of every `event`. Register before `run`."""
        self._handlers[event] = handler

    async def call(self, event: str, body: Mapping[str, Any], *, timeout_s: float = CALL_TIMEOUT_S) -> Any:  # noqa: ANN401 - JSON
        """Emit with an acknowledgement and return its `result`.

        Raises:
            Refused: the acknowledgement says so.
            Disconnected: no connection, or no acknowledgement in time.
        """
        if not self.connected.is_set():
            raise Disconnected("not connected")
        try:
            answer = await self._client.call(event, dict(body), namespace=self._namespace, timeout=timeout_s)
        except socketio.exceptions.SocketIOError as error:
            raise Disconnected(f"no acknowledgement of {event}: {error!r}") from error
        if not isinstance(answer, dict) or not answer.get("ok"):
            error_body = answer.get("error") if isinstance(answer, dict) else None
            raise Refused.from_body(error_body if isinstance(error_body, dict) else {})
        return answer.get("result")

    async def run(self) -> None:
        """Stay connected until cancelled.

        Raises:
            SignedOut: the account cannot be refreshed.
        """
        while True:
            try:
                await self._connection()
            except SignedOut:
                raise
            except (
                Disconnected,
                Refused,
                socketio.exceptions.SocketIOError,
                aiohttp.ClientError,
                OSError,
                TimeoutError,
            ):
                self.losses += 1
            await asyncio.sleep(self._backoff.next_s())

    async def _connection(self) -> None:
        # A new client each time: a stock client's own reconnection would keep the token that it started with.
        client = socketio.AsyncClient(reconnection=False, http_session=self._http, handle_sigint=False)
        gone = asyncio.Event()
        for event, handler in {"error": self._take_error, "welcome": _ignore, **self._handlers}.items():
            client.on(event, self._as_coroutine(event, handler), namespace=self._namespace)
        client.on("disconnect", lambda *_: gone.set(), namespace=self._namespace)
        self._token = await self._account.access_token()
        try:
            await self._connect(client)
            self._client = client
            self.connects += 1
            self._backoff.reset()
            self.connected.set()
            await self._watch(client, gone)
        finally:
            self.connected.clear()
            await client.disconnect()

    def _take_error(self, body: Mapping[str, Any]) -> None:
        if (retry_after_ms := body.get("retry_after_ms")) is not None:
            self._backoff.come_back_after(retry_after_ms / 1000)

    async def _connect(self, client: Any) -> None:  # noqa: ANN401 - python-socketio is untyped
        try:
            await client.connect(
                self._url,
                namespaces=[self._namespace],
                transports=["websocket"],
                auth={"token": self._token, **self._resume_point()},
                wait_timeout=CONNECT_TIMEOUT_S,
            )
        except socketio.exceptions.ConnectionError:
            # The reason of a refused connection is not handed out in one shape; a fresh token heals the usual one.
            await self._account.refreshed(instead_of=self._token)
            raise

    async def _watch(self, client: Any, gone: asyncio.Event) -> None:  # noqa: ANN401 - python-socketio is untyped
        while not gone.is_set():
            try:
                async with asyncio.timeout(TOKEN_CHECK_S):
                    await gone.wait()
            except TimeoutError:
                token = await self._account.access_token()
                if token != self._token:
                    self._token = token
                    await client.emit("token", {"token": token}, namespace=self._namespace)

    def _resume_point(self) -> dict[str, str]:
        """Return what the JavaScript client sends by itself; an epoch alone is a `pid` too."""
        return {} if self._place is None else {"pid": self._place.epoch, "offset": str(self._place.offset)}

    def _as_coroutine(self, event: str, handler: Handler) -> Callable[..., Any]:
        # A coroutine is awaited in the order of arrival; python-socketio runs a plain function the same way, but only
        # a coroutine is sure to stay on this loop.
        async def handle(body: Any = None, *rest: Any) -> None:  # noqa: ANN401 - JSON
            if event == "welcome":
                self._place = Place.of_welcome(body)
            elif rest and self._place is not None:
                self._place = self._place.after(int(rest[-1]))
            handler(body)

        return handle


def _ignore(_body: object) -> None:
    """Take no note of an event that nobody registered for."""

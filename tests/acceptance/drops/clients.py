"""Clients that keep their place: a raw phone, and a Socket.IO client that does what the stock one does, by hand.

They come back at once when cut, bring what the last connection left them with, and write down all that arrives.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

import aiohttp
import msgpack
import orjson

from tests.acceptance.drops.history import Entry, History, Kind

PAUSE_S = 0.02
CONNECT_S = 10.0
_GONE = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


class Client(ABC):
    """One client of `url`, for ever."""

    def __init__(self, name: str, topic: str, token: str, url: str, http: aiohttp.ClientSession) -> None:
        self.history = History(name, topic)
        self._token = token
        self._url = url
        self._http = http

    @property
    @abstractmethod
    def path(self) -> str: ...

    @abstractmethod
    async def greet(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Sign in, with the place that the client has got to."""

    @abstractmethod
    async def take(self, socket: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> None:
        """Write down what a whole message says."""

    async def live(self) -> None:
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    socket = await self._http.ws_connect(self._url + self.path, autoping=True, max_msg_size=1 << 22)
                async with socket:
                    self.history.connects += 1
                    await self.greet(socket)
                    while (message := await socket.receive()).type not in _GONE:
                        await self.take(socket, message)
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            await asyncio.sleep(PAUSE_S)

    def welcomed(self, body: dict[str, Any], *, brought_offset: bool) -> None:
        if body["offset"] is None:
            return  # Postgres is away: the snapshot follows
        kind = Kind.RECOVERED if body["recovered"] else Kind.SNAPSHOT
        self.history.useless_offsets += brought_offset and kind is Kind.SNAPSHOT
        self.history.entries.append(Entry(kind, body["offset"]))

    def told(self, body: dict[str, Any], offset: int) -> None:
        self.history.entries.append(Entry(Kind.EVENT, offset, body["n"]))


class RawPhone(Client):
    """A worker on `/ws/ping`."""

    path = "/ws/ping"
    place: dict[str, Any] | None = None

    async def greet(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._brought = self.place is not None
        await socket.send_bytes(msgpack.packb([0, self._token, self.place or {}]))

    async def take(self, _socket: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> None:
        match msgpack.unpackb(message.data):
            case [0, _, {"offset": int(offset), "epoch": epoch} as body]:
                self.welcomed(body, brought_offset=self._brought)
                self.place = {"epoch": epoch, "offset": offset}
            case [6, "test", body, offset]:
                self.told(body, offset)
                assert self.place is not None
                self.place["offset"] = offset


class SocketIoClient(Client):
    """A client of one namespace: `pid` and `offset` as socket.io-client 4 keeps them (lib/socket.ts)."""

    path = "/socket.io/?EIO=4&transport=websocket"

    def __init__(self, name: str, topic: str, token: str, url: str, http: aiohttp.ClientSession, ns: str) -> None:
        super().__init__(name, topic, token, url, http)
        self._ns = ns
        self._pid: str | None = None
        self._offset: str | None = None
        self._is_recovered = False

    async def greet(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        auth = {"token": self._token}
        if self._pid is not None:
            auth |= {"pid": self._pid} | ({} if self._offset is None else {"offset": self._offset})
        self._brought = "offset" in auth
        await socket.send_str(f"40{self._ns},{orjson.dumps(auth).decode()}")

    async def take(self, socket: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> None:
        text = message.data
        if text == "2":
            await socket.send_str("3")
        elif text.startswith(f"40{self._ns},"):
            pid = orjson.loads(text.removeprefix(f"40{self._ns},")).get("pid")
            self._is_recovered = pid is not None and pid == self._pid
            self._pid = pid
        elif text.startswith(f"42{self._ns},"):
            self._take_event(orjson.loads(text.removeprefix(f"42{self._ns},")))

    def _take_event(self, arguments: list[Any]) -> None:
        name, body, *_ = arguments
        if self._pid and isinstance(arguments[-1], str):
            self._offset = arguments[-1]
        if name == "welcome":
            assert body["recovered"] <= self._is_recovered, "the CONNECT said that it could not be recovered"
            self.welcomed(body, brought_offset=self._brought)
        elif name == "test":
            self.told(body, int(arguments[-1]))

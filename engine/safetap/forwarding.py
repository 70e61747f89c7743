"""How other processes hand a trigger to SafeTap's door: its Unix socket first, its port where that does not take it.

Nothing is read, stored, queued or retried here: the device sends again until it hears `committed`, through any door.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
import structlog

from config.limits import TRIGGER_FORWARD_MS
from engine.core.errors import Unavailable
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Door

DOOR_HEADER: Final = "X-Clenzy-Door"
"""Names the way in on the Unix socket, where the door itself cannot tell."""
SOURCE_HEADER: Final = "X-Clenzy-Source"
"""Names, on the Unix socket, from where a request came that nobody has signed in for yet."""
DEVICE_SCHEME: Final = "Device"
"""`Authorization: Device <token>`: a stock tracker's token, which the door takes on its Unix socket alone."""
TRIGGER_PATH: Final = "/v1/safetap"
CHECK_IN_PATH: Final = "/v1/safetap/check-in"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DoorAnswer:
    """What SafeTap answered, untouched."""

    status: int
    body: bytes


class Forwarder:
    """The ways to SafeTap's door. An async context: it keeps its connections open; neither way needs to answer yet."""

    def __init__(self, *, socket_path: Path, url: str, door: Door) -> None:
        self._socket_path = socket_path
        self._url = url
        self._door = door
        self._by_socket: aiohttp.ClientSession | None = None
        self._by_port: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the sessions; nothing is connected yet."""
        unix = aiohttp.UnixConnector(path=str(self._socket_path))
        self._by_socket = aiohttp.ClientSession(connector=unix)
        self._by_port = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the sessions."""
        for session in (self._by_socket, self._by_port):
            if session is not None:
                await session.close()

    async def forward(
        self, body: bytes, *, headers: Mapping[str, str], path: str = TRIGGER_PATH, within_ms: int = TRIGGER_FORWARD_MS
    ) -> DoorAnswer:
        """Hand a trigger, or what else `path` takes, on through the first way that takes or refuses it.

        Raises:
            Unavailable: no way does: the device must send again, or try another door.
        """
        assert self._by_socket is not None, "enter it before use"
        assert self._by_port is not None
        # Over the socket the host means nothing; the path is all.
        for session, base_url in ((self._by_socket, "http://safetap"), (self._by_port, self._url)):
            try:
                answer = await self._post(session, base_url + path, body, headers, within_ms=within_ms)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.warning("safetap.way_closed", way=base_url, error=type(error).__name__)
                continue
            if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                return answer
            log.warning("safetap.way_closed", way=base_url, error="unavailable")
        raise Unavailable("SafeTap does not answer here: send again, or try another door.")

    async def _post(
        self, session: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str], *, within_ms: int
    ) -> DoorAnswer:
        timeout = aiohttp.ClientTimeout(total=within_ms / MS_PER_S)
        named = {**headers, DOOR_HEADER: self._door.value}
        async with session.post(url, data=body, headers=named, timeout=timeout) as response:
            return DoorAnswer(response.status, await response.read())

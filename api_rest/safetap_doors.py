"""SafeTap's doors as the API reaches them: the Unix socket first, its port second. Knows nothing about triggers."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
import structlog

from config.limits import SAFETAP_FORWARD_MS
from engine.core.errors import Unavailable

DOOR_HEADER: Final = "X-Clenzy-Door"
TRIGGER_PATH: Final = "/v1/safetap"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DoorAnswer:
    """What SafeTap answered, to be handed on untouched."""

    status: int
    body: bytes
    content_type: str


class SafetapDoors:
    """Forwards triggers as they came. An async context: it keeps its connections open."""

    def __init__(self, *, socket_path: Path, url: str) -> None:
        self._socket_path = socket_path
        self._url = url
        self._by_socket: aiohttp.ClientSession | None = None
        self._by_port: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the sessions; nothing is connected yet."""
        timeout = aiohttp.ClientTimeout(total=SAFETAP_FORWARD_MS / 1000)
        self._by_socket = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(self._socket_path)), timeout=timeout
        )
        self._by_port = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the sessions."""
        for session in (self._by_socket, self._by_port):
            if session is not None:
                await session.close()

    async def trigger(self, body: bytes, *, headers: dict[str, str]) -> DoorAnswer:
        """Hand a trigger on, through the first door that answers.

        Raises:
            Unavailable: no door answers: the device must try another way in.
        """
        assert self._by_socket is not None
        assert self._by_port is not None
        # Over the socket the host means nothing; the path is all.
        doors = ((self._by_socket, "http://safetap"), (self._by_port, self._url))
        for session, base_url in doors:
            try:
                return await _post(session, base_url + TRIGGER_PATH, body, headers={**headers, DOOR_HEADER: "api"})
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.warning("safetap.door_away", door=base_url, error=type(error).__name__)
        raise Unavailable("SafeTap does not answer here: use its own door.")


async def _post(session: aiohttp.ClientSession, url: str, body: bytes, *, headers: dict[str, str]) -> DoorAnswer:
    async with session.post(url, data=body, headers=headers) as response:
        return DoorAnswer(response.status, await response.read(), response.content_type)

"""Hands a silent trigger to SafeTap's own process: its Unix socket first, its port where that fails.

Nothing is stored, queued or retried here: the phone sends again until it hears `committed`, through any door.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import structlog

from config.limits import TRIGGER_FORWARD_MS
from engine.core.errors import (
    ClenzyError,
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    NotSignedIn,
    TooMany,
    Unavailable,
    WireError,
)
from engine.core.vocabulary import Door
from gateway_ws.metrics import TRIGGERS

log = structlog.get_logger(__name__)

_ERRORS: dict[str, type[ClenzyError]] = {
    error.code: error
    for error in (InvalidInput, WireError, NotSignedIn, NotAllowed, NotFound, Conflict, TooMany, Unavailable)
}


@dataclass(frozen=True, slots=True)
class DoorAnswer:
    """What SafeTap said: `{"trigger_id", "state"}`."""

    is_committed: bool
    body: dict[str, Any]


class SafeTapClient:
    """The way to SafeTap's door."""

    def __init__(self, by_socket: aiohttp.ClientSession, by_port: aiohttp.ClientSession, port_url: str) -> None:
        self._by_socket = by_socket
        self._by_port = by_port
        self._port_url = port_url

    @classmethod
    @asynccontextmanager
    async def open(cls, socket_path: Path, port_url: str) -> AsyncIterator[Self]:
        """Open the client; neither way needs to answer yet."""
        timeout = aiohttp.ClientTimeout(total=TRIGGER_FORWARD_MS / 1000)
        unix = aiohttp.UnixConnector(str(socket_path))
        async with (
            aiohttp.ClientSession(connector=unix, timeout=timeout) as by_socket,
            aiohttp.ClientSession(timeout=timeout) as by_port,
        ):
            yield cls(by_socket, by_port, port_url)

    async def trigger(self, body: Mapping[str, Any], token: str) -> DoorAnswer:
        """Forward one trigger as the person who sent it.

        Raises:
            Unavailable: neither way answered.
            ClenzyError: SafeTap refused it.
        """
        try:
            return await self._post(self._by_socket, "http://safetap", body, token)
        except (aiohttp.ClientError, OSError, TimeoutError, Unavailable) as error:
            log.warning("safetap.socket_failed", error=type(error).__name__)
        try:
            return await self._post(self._by_port, self._port_url, body, token)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            TRIGGERS.labels("unavailable").inc()
            log.error("safetap.unreachable", error=type(error).__name__)  # noqa: TRY400 - the name says it all
            raise Unavailable("SafeTap's door does not answer: send again, or try another door.") from error

    async def _post(self, session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], token: str) -> DoorAnswer:
        headers = {"Authorization": f"Bearer {token}", "X-Clenzy-Door": Door.SOCKET.value}
        async with session.post(f"{url}/v1/safetap", json=body, headers=headers) as response:
            answer = await response.json(content_type=None)
            if not isinstance(answer, dict):
                raise Unavailable
            if response.status in {200, 202}:
                is_committed = answer.get("state") == "committed"
                TRIGGERS.labels("committed" if is_committed else "spooled").inc()
                return DoorAnswer(is_committed, answer)
            TRIGGERS.labels("refused").inc()
            raise _ERRORS.get(str(answer.get("code")), Unavailable)(answer.get("detail"), field=answer.get("field"))

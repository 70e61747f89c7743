"""A bare Redis connection: commands packed beforehand, so that a figure is the server's and not the client's."""

import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import hiredis

Argument = str | int | float | bytes


def packed(*arguments: Argument) -> bytes:
    """Return a command as it goes over the wire."""
    command: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type] # what its stub wants is invariant
    return command


class BareConnection:
    """One connection; a command is answered before the next one is sent."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._reader = hiredis.Reader()
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ask(packed("AUTH", parts.password or ""))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, command: bytes) -> Any:  # noqa: ANN401 - whatever Redis says
        """Send one command and return the reply.

        Raises:
            hiredis.ReplyError: Redis refuses it.
        """
        self._socket.sendall(command)
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(1 << 20))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def ask_all(self, commands: Sequence[bytes]) -> None:
        """Send commands, each after the reply to the one before it."""
        for command in commands:
            self.ask(command)

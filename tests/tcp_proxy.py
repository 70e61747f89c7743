"""A line between two processes that can go dead: nothing passes any more, and neither end is told."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_HELD_BYTES = 16_384
"""What the kernel takes while nobody reads: little, so that a server's bytes pile up where they are sent."""


@dataclass
class TcpProxy:
    """Forwards what comes to `port`. Lines opened after `go_dead` work: only those before it are lost."""

    host: str
    to_port: int
    port: int = 0
    opened: int = 0
    """Lines that were opened through this proxy."""
    _dead: set[int] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def go_dead(self) -> None:
        """Read no more from the lines that are open now, be it their end."""
        self._dead.update(range(1, self.opened + 1))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["TcpProxy"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        line = socket.socket()
        line.setblocking(False)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _HELD_BYTES)
        await asyncio.get_running_loop().sock_connect(line, (self.host, self.to_port))
        there, back = await asyncio.open_connection(sock=line, limit=_HELD_BYTES)
        self.opened += 1
        try:
            with suppress(asyncio.CancelledError):  # the proxy ends
                await asyncio.gather(
                    self._forward(self.opened, reader, back), self._forward(self.opened, there, writer)
                )
        finally:
            for end in (writer, back):
                end.transport.abort()
            self._tasks.discard(task)

    async def _forward(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(_HELD_BYTES):
                if number in self._dead:
                    break
                writer.write(data)
                await writer.drain()
        if number in self._dead:
            await asyncio.Event().wait()  # until the proxy ends
        writer.close()

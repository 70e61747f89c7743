"""A line between two processes that can go dead: nothing passes any more, and neither end is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class TcpProxy:
    """Forwards what comes to `port`. Lines opened after `go_dead` work: only those before it are lost."""

    host: str
    to_port: int
    port: int = 0
    opened: int = 0
    """Lines that were opened through this proxy."""
    ended: int = 0
    """Lines of which one end has hung up, be it a dead one."""
    _dead: set[int] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def go_dead(self) -> None:
        """Swallow from now on whatever comes on the lines that are open, their ends included."""
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
        self.opened += 1
        number = self.opened
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, back = await asyncio.open_connection(self.host, self.to_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(number, reader, back))
                group.create_task(self._forward(number, there, writer))
        finally:
            for end in (writer, back):
                end.close()
            self._tasks.discard(task)

    async def _forward(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if number not in self._dead:
                    writer.write(data)
                    await writer.drain()
        self.ended += 1
        if number not in self._dead:
            writer.close()

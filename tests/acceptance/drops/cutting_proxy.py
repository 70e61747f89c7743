"""Stands between clients and gateways and cuts each connection at a random moment, most of them inside a chunk."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 4_096
STRAGGLER_S = 0.05
"""A connection on which nothing moves after its time is cut all the same."""


class CuttingProxy:
    """`port` leads to one of the gateways. While `is_cutting`, no connection lives longer than it was given."""

    def __init__(self, gateways: Callable[[], list[int]], *, mean_life_s: float, rng: random.Random) -> None:
        self._gateways = gateways
        self._mean_life_s = mean_life_s
        self._rng = rng
        self.is_cutting = True
        self.cuts = 0
        self.port = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._rng.choice(self._gateways()))
        except OSError:
            writer.transport.abort()
            return
        life_s = self._rng.expovariate(1 / self._mean_life_s)
        deadline_s = asyncio.get_running_loop().time() + life_s
        pumps = [
            asyncio.ensure_future(self._pump(reader, upstream[1], deadline_s)),
            asyncio.ensure_future(self._pump(upstream[0], writer, deadline_s)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            self.cuts += any(pump.done() and pump.result() for pump in pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            writer.transport.abort()
            upstream[1].transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deadline_s: float) -> bool:
        """Carry one direction until the peer closes it, or until it is time to cut; return whether it was."""
        now_s = asyncio.get_running_loop().time
        with suppress(OSError):
            while True:
                try:
                    async with asyncio.timeout_at(deadline_s + STRAGGLER_S if self.is_cutting else None):
                        chunk = await reader.read(CHUNK_BYTES)
                except TimeoutError:
                    if not self.is_cutting:
                        continue
                    return True
                if not chunk:
                    return False
                if self.is_cutting and now_s() > deadline_s:
                    writer.write(chunk[: self._rng.randrange(len(chunk))])
                    await writer.drain()
                    return True
                writer.write(chunk)
                await writer.drain()
        return False

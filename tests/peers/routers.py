"""An OSRM and a Valhalla on one port: the documented matrix requests and answers, and what can go wrong with them.

Sources: https://project-osrm.org/docs (table service), https://valhalla.github.io/valhalla/api/matrix/api-reference/.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

from aiohttp import web
from aiohttp.test_utils import TestServer


class Fault(Enum):
    """What goes wrong with the next requests."""

    HANG = auto()
    BROKEN = auto()
    NOT_OK = auto()
    """An answer of status 200 that tells of an error."""
    NONSENSE = auto()
    FLOOD = auto()


@dataclass
class Routers:
    """Answers 60 s for every hundredth of a degree of latitude; north of 60 degrees there is no way."""

    fault: Fault | None = None
    asked: int = 0
    url: str = ""
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def table(self, request: web.Request) -> web.StreamResponse:
        await self._go_wrong()
        if self.fault is not None:
            return self._wrong()
        places = [tuple(map(float, place.split(","))) for place in request.match_info["places"].split(";")]
        sources = [int(number) for number in request.query["sources"].split(";")]
        (to,) = (int(number) for number in request.query["destinations"].split(";"))
        assert request.query["annotations"] == "duration"
        durations = [[self._seconds(places[source][1], places[to][1])] for source in sources]
        return web.json_response({"code": "Ok", "durations": durations, "sources": [], "destinations": []})

    async def matrix(self, request: web.Request) -> web.StreamResponse:
        await self._go_wrong()
        if self.fault is not None:
            return self._wrong()
        told = await request.json()
        assert told["costing"] == "auto"
        (to,) = told["targets"]
        rows = [
            [{"distance": 1.0, "time": self._seconds(source["lat"], to["lat"]), "from_index": at, "to_index": 0}]
            for at, source in enumerate(told["sources"])
        ]
        return web.json_response({"sources_to_targets": rows, "units": "kilometers"})

    async def _go_wrong(self) -> None:
        self.asked += 1
        if self.fault is Fault.HANG:
            await self.released.wait()

    def _wrong(self) -> web.StreamResponse:
        if self.fault is Fault.NOT_OK:
            return web.json_response({"code": "NoTable", "message": "no", "error_code": 171})
        if self.fault is Fault.NONSENSE:
            return web.Response(body=b'{"code": "Ok", "durations": [[-5]], "sources_to_targets": [[{"time": -5}]]}')
        if self.fault is Fault.FLOOD:
            return web.Response(body=b" " * 1_000_000)
        return web.Response(status=500)

    @staticmethod
    def _seconds(from_lat: float, to_lat: float) -> float | None:
        return None if from_lat > 60 else round(abs(from_lat - to_lat) * 6_000, 1)


@asynccontextmanager
async def routers() -> AsyncIterator[Routers]:
    peer = Routers()
    app = web.Application()
    app.router.add_get("/table/v1/driving/{places}", peer.table)
    app.router.add_post("/sources_to_targets", peer.matrix)
    async with TestServer(app) as server:
        peer.url = str(server.make_url(""))
        yield peer
        peer.released.set()

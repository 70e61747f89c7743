"""A monitoring centre as Noonlight's Dispatch API v1 describes one: tokens, required fields, alarms that end once."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import web
from aiohttp.test_utils import TestServer

TOKEN = "centre-token-of-the-tests"


@dataclass
class Alarm:
    """One alarm at the centre."""

    request: dict[str, Any]
    status: str = "ACTIVE"
    places: list[dict[str, float]] = field(default_factory=list)


@dataclass
class FakeCentre:
    """Takes alarms, unless told to fail."""

    url: str = ""
    alarms: dict[str, Alarm] = field(default_factory=dict)
    is_down: bool = False
    asked: int = 0

    async def create(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        missing = [name for name in ("name", "phone", "location", "services") if not body.get(name)]
        if missing or not ({"address", "coordinates"} & body["location"].keys()):
            return web.json_response({"message": f"missing: {missing}"}, status=400)
        alarm_id = uuid4().hex
        self.alarms[alarm_id] = Alarm(body)
        return web.json_response({"id": alarm_id, "status": "ACTIVE", "owner_id": body.get("owner_id")}, status=201)

    async def locate(self, request: web.Request) -> web.Response:
        alarm, body = self._alarm(request), await self._body(request)
        if alarm.status != "ACTIVE":
            return web.json_response({"message": "the alarm is over"}, status=409)
        if not {"lat", "lng", "accuracy"} <= body["coordinates"].keys():
            return web.json_response({"message": "no place"}, status=400)
        alarm.places.append(body["coordinates"])
        return web.json_response({}, status=201)

    async def change(self, request: web.Request) -> web.Response:
        alarm, body = self._alarm(request), await self._body(request)
        if body != {"status": "CANCELED"}:
            return web.json_response({"message": "unknown status"}, status=400)
        if alarm.status != "ACTIVE":
            return web.json_response({"message": "the alarm is over"}, status=409)
        alarm.status = "CANCELED"
        return web.json_response({"status": "CANCELED"}, status=201)

    def _alarm(self, request: web.Request) -> Alarm:
        alarm = self.alarms.get(request.match_info["alarm_id"])
        if alarm is None:
            raise web.HTTPNotFound
        return alarm

    async def _body(self, request: web.Request) -> dict[str, Any]:
        self.asked += 1
        if self.is_down:
            raise web.HTTPServiceUnavailable
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise web.HTTPUnauthorized
        body = await request.json()
        assert isinstance(body, Mapping)
        return dict(body)


@asynccontextmanager
async def open_centre() -> AsyncIterator[FakeCentre]:
    centre = FakeCentre()
    app = web.Application()
    app.router.add_post("/dispatch/v1/alarms", centre.create)
    app.router.add_post("/dispatch/v1/alarms/{alarm_id}/locations", centre.locate)
    app.router.add_post("/dispatch/v1/alarms/{alarm_id}/status", centre.change)
    async with TestServer(app) as server:
        centre.url = str(server.make_url(""))
        yield centre

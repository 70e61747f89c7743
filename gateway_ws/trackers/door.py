"""`/ingest/*`: where stock phone trackers post. Who speaks is checked; what cannot be read is accepted and counted."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from config.limits import BODY_READ_MS, TRACKER_BODY_BYTES_MAX
from engine.core.errors import BodyTooLarge, ClenzyError, Unavailable, WireError
from engine.core.problem import PROBLEM_TYPE, problem_fields, problem_headers
from engine.people.devices import DeviceSpeaker
from engine.safetap.forwarding import DEVICE_SCHEME
from gateway_ws.metrics import REFUSED, TRACKER_REQUESTS, TRACKER_SKIPPED
from gateway_ws.services import Services
from gateway_ws.trackers import gpslogger, osmand, overland, owntracks, traccar
from gateway_ws.trackers.alarm import trigger_body
from gateway_ws.trackers.compressed import unpacked
from gateway_ws.trackers.devices import Devices
from gateway_ws.trackers.reading import Report, payload_of
from gateway_ws.trackers.tracked_worker import TrackedWorkers

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class App:
    """How one app asks, and the one answer that lets it go on."""

    read: Callable[[Mapping[str, str], bytes], Report]
    answer: bytes = b""
    takes_get: bool = False


APPS: Final[Mapping[str, App]] = {
    "owntracks": App(lambda _, body: owntracks.read(body), answer=b"[]"),
    "osmand": App(osmand.read, takes_get=True),
    "traccar": App(lambda _, body: traccar.read(body)),
    "overland": App(lambda _, body: overland.read(body), answer=overland.ACCEPTED),
    "gpslogger": App(gpslogger.read, takes_get=True),
}


class TrackerDoor:
    """The handlers of the routes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._devices = Devices(services.calls, services.clock)
        self.workers = TrackedWorkers(services)

    def add_routes(self, app: web.Application) -> None:
        """Give `app` a path for each tracker, with or without the token as its last part."""
        for name, tracker in APPS.items():
            for path in (f"/ingest/{name}", f"/ingest/{name}/{{token}}"):
                app.router.add_post(path, self._handler(name))
                if tracker.takes_get:
                    app.router.add_get(path, self._handler(name), allow_head=False)

    def _handler(self, name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            TRACKER_REQUESTS.labels(name).inc()
            try:
                await self._take(name, request)
            except ClenzyError as error:
                REFUSED.labels(error.code).inc()
                return _refusal(error)
            answer = APPS[name].answer
            return web.Response(body=answer or None, content_type=JSON if answer else None)

        return handle

    async def _take(self, name: str, request: web.Request) -> None:
        token = _credential(request)
        # Before the body, where the token is not in it: who may not send makes us read nothing.
        speaker = None if token is None else await self._devices.speaker(token)
        report = APPS[name].read(request.query, await _body(request))
        if speaker is None:
            token = report.credential
            speaker = await self._devices.speaker(token)
        if report.is_sos:
            await self._call_for_help(report, speaker, token)
        for reason, count in report.skipped.items():
            TRACKER_SKIPPED.labels(name, reason.value).inc(count)
        if report.fixes:
            await self.workers.take(speaker, payload_of(report.fixes))

    async def _call_for_help(self, report: Report, speaker: DeviceSpeaker, token: str | None) -> None:
        """Hand an alarm to SafeTap before anything else, on duty or off.

        Raises:
            Unavailable: it is not committed. Anything but a success makes the phone send it again, as the same trigger.
        """
        assert token is not None
        services = self._services
        body = trigger_body(report, speaker.device_id, now_ms=services.clock.now_ms())
        try:
            answer = await services.safetap.trigger(body, token, scheme=DEVICE_SCHEME)
        except ClenzyError as error:
            raise Unavailable("The alarm was not taken: send it again.") from error
        if not answer.is_committed:
            raise Unavailable("The alarm is on one disk only: send it again.")


def _credential(request: web.Request) -> str | None:
    """Return the token that the head of the request carries: signed in, in the path, or as a parameter."""
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        return _signed(authorization)
    return request.match_info.get("token") or request.query.get("token") or request.query.get("id")


def _signed(authorization: str) -> str:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    try:
        return base64.b64decode(rest, validate=True).decode().partition(":")[2] if scheme.lower() == "basic" else ""
    except (binascii.Error, ValueError):
        return ""


async def _body(request: web.Request) -> bytes:
    """Return the body as sent, also where it came compressed.

    Raises:
        BodyTooLarge: it is, as it came or unpacked.
        WireError: it did not arrive whole, or in time.
    """
    if (request.content_length or 0) > TRACKER_BODY_BYTES_MAX:
        raise BodyTooLarge
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_READ_MS / 1000):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > TRACKER_BODY_BYTES_MAX:
                    raise BodyTooLarge
    except (web.RequestPayloadError, HttpProcessingError, TimeoutError) as error:
        raise WireError("the body did not arrive") from error
    return unpacked(bytes(body), request.headers.get("Content-Encoding", ""))


def _refusal(error: ClenzyError) -> web.Response:
    return web.Response(
        status=error.status,
        body=orjson.dumps(problem_fields(error)),
        content_type=PROBLEM_TYPE,
        headers=problem_headers(error),
    )

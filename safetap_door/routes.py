"""The door's requests: triggers from devices, acknowledging and closing from desks."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import orjson
from aiohttp import web

from config.limits import DEVICE_LOOKUP_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Pool
from engine.core.errors import InvalidInput, NotAllowed, NotFound, NotSignedIn, Unavailable
from engine.core.ids import IncidentId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Acknowledgement, Door, Role
from engine.people.devices import DeviceSpeaker, find_speaker
from engine.people.tokens import AccessTokens, Principal, bearer_token
from engine.safetap.desk import acknowledge, close
from engine.safetap.forwarding import DEVICE_SCHEME, DOOR_HEADER, TRIGGER_PATH
from engine.safetap.intake import Intake
from engine.safetap.metrics import ACKNOWLEDGED_IN, TRIGGERS
from engine.safetap.trigger import ReceivedTrigger, parse_trigger

TRIGGERING_ROLES: Final = (Role.CUSTOMER, Role.WORKER)
STATUS_OF: Final[Mapping[Acknowledgement, int]] = {Acknowledgement.COMMITTED: 200, Acknowledgement.SPOOLED: 202}
NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class DoorServices:
    """What the handlers use."""

    clock: Clock
    tokens: AccessTokens
    intake: Intake
    pool: Pool


SERVICES: Final = web.AppKey("services", DoorServices)


def add_routes(app: web.Application, services: DoorServices) -> None:
    """Give `app` the door's requests."""
    app[SERVICES] = services
    app.router.add_post(TRIGGER_PATH, take_trigger)
    app.router.add_post("/v1/incidents/{incident_id}/acknowledge", acknowledge_incident)
    app.router.add_post("/v1/incidents/{incident_id}/close", close_incident)


async def take_trigger(request: web.Request) -> web.Response:
    """Answer once the trigger is durable, and say where."""
    services = request.app[SERVICES]
    started_ns = services.clock.steady_ns()
    door = door_of(request)
    outcome = "refused"
    try:
        received = await _received(request, services, door)
        acknowledgement = await services.intake.take(received)
        outcome = acknowledgement.value
    finally:
        TRIGGERS.labels(door.value, outcome).inc()
    ACKNOWLEDGED_IN.observe((services.clock.steady_ns() - started_ns) / NS_PER_S)
    body = {"trigger_id": received.trigger.trigger_id, "state": acknowledgement.value}
    return _json(body, status=STATUS_OF[acknowledgement])


async def acknowledge_incident(request: web.Request) -> web.Response:
    """Take responsibility for an incident."""
    services = request.app[SERVICES]
    now_ms = services.clock.now_ms()
    actor = services.tokens.verify(_token(request), now_ms)
    async with services.pool.acquire() as conn:
        view = await acknowledge(conn, incident_id=_incident_id(request), actor=actor, now_ms=now_ms)
    return _json(view)


async def close_incident(request: web.Request) -> web.Response:
    """End an incident with a reason."""
    services = request.app[SERVICES]
    now_ms = services.clock.now_ms()
    actor = services.tokens.verify(_token(request), now_ms)
    reason = _reason(await request.read())
    async with services.pool.acquire() as conn:
        view = await close(conn, incident_id=_incident_id(request), actor=actor, reason=reason, now_ms=now_ms)
    return _json(view)


def door_of(request: web.Request) -> Door:
    """Return the way in: the forwarder's word on the Unix socket, which only our own processes reach."""
    if not _is_forwarded(request):
        return Door.DIRECT
    named = request.headers.get(DOOR_HEADER, "")
    return Door(named) if named in set(Door) else Door.DIRECT


def _is_forwarded(request: web.Request) -> bool:
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    return connection is not None and connection.family == socket.AF_UNIX


async def _received(request: web.Request, services: DoorServices, door: Door) -> ReceivedTrigger:
    now_ms = services.clock.now_ms()
    sender = await _sender(request, services, now_ms)
    if sender.role not in TRIGGERING_ROLES:
        raise NotAllowed("Customers and workers raise alarms; the desk answers them.")
    return ReceivedTrigger(
        trigger=parse_trigger(await request.read()),
        person_id=sender.person_id,
        role=sender.role,
        org_id=sender.org_id,
        region_id=sender.region_id,
        door=door,
        is_token_expired=isinstance(sender, Principal) and is_expired(sender, now_ms),
        received_at_ms=now_ms,
    )


async def _sender(request: web.Request, services: DoorServices, now_ms: int) -> Principal | DeviceSpeaker:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme == DEVICE_SCHEME and _is_forwarded(request):
        return await _speaker(services.pool, token)
    # Whoever was signed in once may call for help for ever: a phone in a cellar cannot refresh its token.
    return services.tokens.verify(_token(request), now_ms, allow_expired=True)


async def _speaker(pool: Pool, token: str) -> DeviceSpeaker:
    """Return whose tracker calls for help. Only Postgres knows: while it is away the phone must send again.

    On the Unix socket alone, where the gateway has checked the token before: made-up ones never reach our small pool.
    """
    try:
        async with asyncio.timeout(DEVICE_LOOKUP_MS / MS_PER_S), pool.acquire() as conn:
            speaker = await find_speaker(conn, token)
    except POSTGRES_ERRORS as error:
        raise Unavailable("Nobody can tell whose device this is: send again.") from error
    if speaker is None:
        raise NotSignedIn("This device is not known, or not any more.")
    return speaker


def _token(request: web.Request) -> str:
    return bearer_token(request.headers.get("Authorization", ""))


def is_expired(principal: Principal, now_ms: int) -> bool:
    """Return whether the token that named `principal` has run out."""
    return principal.expires_at_ms <= now_ms


def _incident_id(request: web.Request) -> IncidentId:
    try:
        return IncidentId(UUID(request.match_info["incident_id"]))
    except ValueError:
        raise NotFound from None


def _reason(body: bytes) -> str:
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidInput("The body is a JSON object.") from None
    reason = fields.get("reason") if isinstance(fields, dict) else None
    if not isinstance(reason, str):
        raise InvalidInput("A text.", field="reason")
    return reason


def _json(body: Mapping[str, object], *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")

"""The door's requests: triggers from devices, acknowledging and closing from desks."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final
from uuid import UUID

import orjson
from aiohttp import web

from config.limits import UNVERIFIED_ANSWER_MS
from engine.core.clock import Clock
from engine.core.crash_point import crash_point
from engine.core.database import Pool
from engine.core.errors import InvalidInput, NotAllowed, NotFound, NotSignedIn
from engine.core.ids import IncidentId
from engine.core.vocabulary import Acknowledgement, Door, Role
from engine.people.accounts import check_standing
from engine.people.tokens import AccessTokens, bearer_token
from engine.safetap.desk import acknowledge, close
from engine.safetap.forwarding import DEVICE_SCHEME, DOOR_HEADER, SOURCE_HEADER, TRIGGER_PATH
from engine.safetap.intake import Intake
from engine.safetap.metrics import ACKNOWLEDGED_IN, TRIGGERS
from engine.safetap.senders import KEY_SCHEME, Sender, Senders, Shown, Stranger
from engine.safetap.trigger import ReceivedTrigger, Trigger, parse_trigger
from engine.safetap.unverified import UnverifiedTrigger
from engine.safetap.unverified_lane import UnverifiedLane
from safetap_door.strangers_turns import note_proof

TRIGGERING_ROLES: Final = (Role.CUSTOMER, Role.WORKER)
STATUS_OF: Final[Mapping[Acknowledgement, int]] = {
    Acknowledgement.COMMITTED: 200,
    Acknowledgement.SPOOLED: 202,
    Acknowledgement.RECEIVED: 202,
}
DOORS: Final = frozenset(Door)
NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class DoorServices:
    """What the handlers use."""

    clock: Clock
    tokens: AccessTokens
    senders: Senders
    intake: Intake
    unverified: UnverifiedLane
    pool: Pool
    new_id: Callable[[], UUID]


SERVICES: Final = web.AppKey("services", DoorServices)


def add_routes(app: web.Application, services: DoorServices) -> None:
    """Give `app` the door's requests."""
    app[SERVICES] = services
    app.router.add_post(TRIGGER_PATH, take_trigger)
    app.router.add_post("/v1/incidents/{incident_id}/acknowledge", acknowledge_incident)
    app.router.add_post("/v1/incidents/{incident_id}/close", close_incident)


async def take_trigger(request: web.Request) -> web.Response:
    """Answer once the trigger is durable, and say where; or that nothing vouches for it."""
    services = request.app[SERVICES]
    started_ns = services.clock.steady_ns()
    door = door_of(request)
    outcome = "refused"
    try:
        body = await request.read()
        shown = shown_by(request, body)
        trigger = parse_trigger(body)
        now_ms = services.clock.now_ms()
        sender = await services.senders.tell(shown, now_ms)
        crash_point("after_parse")
        note_proof(request, is_proved=not isinstance(sender, Stranger))
        if isinstance(sender, Stranger):
            take_unverified(services, trigger, sender, door, shown.source)
            acknowledgement = Acknowledgement.RECEIVED
        else:
            acknowledgement = await services.intake.take(received_trigger(services, trigger, sender, door, now_ms))
        outcome = acknowledgement.value
    finally:
        TRIGGERS.labels(door.value, outcome).inc()
    if acknowledgement is Acknowledgement.RECEIVED:
        await services.clock.sleep_ms(UNVERIFIED_ANSWER_MS - (services.clock.steady_ns() - started_ns) / NS_PER_MS)
    else:
        ACKNOWLEDGED_IN.observe((services.clock.steady_ns() - started_ns) / NS_PER_S)
    crash_point("before_answer")
    answer = {"trigger_id": trigger.trigger_id, "state": acknowledgement.value}
    return _json(answer, status=STATUS_OF[acknowledgement])


async def acknowledge_incident(request: web.Request) -> web.Response:
    """Take responsibility for an incident."""
    services = request.app[SERVICES]
    now_ms = services.clock.now_ms()
    actor = services.tokens.verify(_token(request), now_ms)
    note_proof(request)
    async with services.pool.acquire() as conn:
        await check_standing(conn, actor)
        view = await acknowledge(conn, incident_id=_incident_id(request), actor=actor, now_ms=now_ms)
    return _json(view)


async def close_incident(request: web.Request) -> web.Response:
    """End an incident with a reason."""
    services = request.app[SERVICES]
    now_ms = services.clock.now_ms()
    actor = services.tokens.verify(_token(request), now_ms)
    note_proof(request)
    reason = _reason(await request.read())
    async with services.pool.acquire() as conn:
        await check_standing(conn, actor)
        view = await close(conn, incident_id=_incident_id(request), actor=actor, reason=reason, now_ms=now_ms)
    return _json(view)


def door_of(request: web.Request) -> Door:
    """Return the way in: the forwarder's word on the Unix socket, which only our own processes reach."""
    if not _is_forwarded(request):
        return Door.DIRECT
    return named_door(request.headers.get(DOOR_HEADER, ""))


def named_door(name: str) -> Door:
    """Return the way in that a process of ours names."""
    return Door(name) if name in DOORS else Door.DIRECT


def shown_by(request: web.Request, body: bytes) -> Shown:
    """Return what a request shows of its sender, and from where it comes.

    On the Unix socket the gateway vouches for whom it let in; what the API hands on untouched names its source.

    Raises:
        NotSignedIn: it shows nothing.
    """
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    if not credential:
        raise NotSignedIn
    if scheme == DEVICE_SCHEME and not _is_forwarded(request):
        scheme = KEY_SCHEME  # a tracker's token is good behind the gateway alone, which has checked it
    source = request.headers.get(SOURCE_HEADER) if _is_forwarded(request) else request.remote
    return Shown(scheme, credential.strip(), body, None if source is None else source_of(source))


def source_of(address: str) -> str:
    """Return whom a flood from this address is counted against: of IPv6 the network of one customer, a /64."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    return str(ip) if ip.version == 4 else str(ip_network((ip, 64), strict=False))  # noqa: PLR2004 - IPv4


def received_trigger(
    services: DoorServices, trigger: Trigger, sender: Sender, door: Door, now_ms: int
) -> ReceivedTrigger:
    """Return the trigger of somebody whom we know.

    Raises:
        NotAllowed: they are of those who answer alarms.
    """
    if sender.role not in TRIGGERING_ROLES:
        raise NotAllowed("Customers and workers raise alarms; the desk answers them.")
    return ReceivedTrigger(
        trigger=trigger,
        person_id=sender.person_id,
        role=sender.role,
        org_id=sender.org_id,
        region_id=sender.region_id,
        door=door,
        token_state=sender.token_state,
        received_at_ms=now_ms,
        incident_id=IncidentId(services.new_id()),
        issued_at_ms=sender.issued_at_ms,
    )


def take_unverified(
    services: DoorServices, trigger: Trigger, stranger: Stranger, door: Door, source: str | None
) -> None:
    """Let a stranger's trigger wait in the lane of its own, as far as its source has not had its share."""
    if services.unverified.has_room(source):
        incident_id = IncidentId(services.new_id())
        now_ms = services.clock.now_ms()
        services.unverified.offer(source, UnverifiedTrigger(trigger, stranger, door, now_ms, incident_id))


def _is_forwarded(request: web.Request) -> bool:
    connection = None if request.transport is None else request.transport.get_extra_info("socket")
    return connection is not None and connection.family == socket.AF_UNIX


def _token(request: web.Request) -> str:
    return bearer_token(request.headers.get("Authorization", ""))


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

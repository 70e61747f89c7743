"""Devices: stock phone trackers, each with a token of its own that is told once."""

from dataclasses import asdict
from uuid import UUID, uuid4

from pydantic import AwareDatetime

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.cursors import decode_moment, encode_moment
from api_rest.route import AnyRoute, Key, Route, Uses
from api_rest.schemas import Answer, OptionalLine, PageQuery
from engine.core.errors import Conflict, InvalidInput, NotAllowed, NotFound
from engine.core.ids import DeviceId, PersonId
from engine.core.units import rfc3339
from engine.core.vocabulary import DeviceKind, Role
from engine.people.device_setup import setups
from engine.people.devices import Device, add_device, list_devices, new_token, revoke_device
from engine.people.tokens import Principal

OWNERS = frozenset({Role.WORKER, Role.ADMIN})


class NewDevice(Body):
    """A tracker to be. A worker's is their own; an admin says whose."""

    kind: DeviceKind
    label: OptionalLine = ""
    worker_id: UUID | None = None


class DeviceAnswer(Answer):
    """A tracker, without its token."""

    device_id: DeviceId
    worker_id: PersonId
    kind: DeviceKind
    label: str
    created_at: AwareDatetime
    revoked_at: AwareDatetime | None


class AppSetup(Answer):
    """How one app is set up for this device; `deep_link` opens the app and does it."""

    app: DeviceKind
    url: str
    username: str | None
    deep_link: str | None


class NewDeviceAnswer(DeviceAnswer):
    """A new tracker, with what nobody can read again."""

    token: str
    apps: list[AppSetup]


class DevicePage(Answer):
    """A page of trackers, newest first."""

    items: list[DeviceAnswer]
    next_cursor: str | None


async def create_device(call: Call[NewDevice, NoQuery]) -> Reply:
    """Let a new token speak for a worker."""
    principal, body, token = call.principal, call.body, new_token()
    device = await add_device(
        call.conn,
        device_id=DeviceId(uuid4()),
        token=token,
        worker_id=_whose(body, principal),
        org_id=principal.org_id,
        kind=body.kind,
        label=body.label,
        actor_id=principal.person_id,
        now_ms=call.now_ms,
    )
    every = setups(gateway_url=call.services.settings.gateway_url, token=token)
    return Reply({**_view(device), "token": token, "apps": [asdict(setup) for setup in every]})


async def list_all(call: Call[NoBody, PageQuery]) -> Reply:
    """Return a page of trackers: a worker's own, for an admin everybody's."""
    cursor, limit = call.query.cursor, call.query.limit
    devices = await list_devices(
        call.conn,
        org_id=call.principal.org_id,
        owner_id=_only(call.principal),
        after=None if cursor is None else decode_moment(cursor),
        limit=limit + 1,
    )
    shown = devices[:limit]
    more = len(devices) > limit
    return Reply(
        {
            "items": [_view(device) for device in shown],
            "next_cursor": encode_moment(shown[-1].created_at, shown[-1].device_id) if more else None,
        }
    )


async def revoke(call: Call[NoBody, NoQuery]) -> Reply:
    """End a tracker; doing it again changes nothing."""
    await revoke_device(
        call.conn,
        DeviceId(call.ids["device_id"]),
        org_id=call.principal.org_id,
        owner_id=_only(call.principal),
        actor_id=call.principal.person_id,
        now_ms=call.now_ms,
    )
    return Reply()


def _whose(body: NewDevice, principal: Principal) -> PersonId:
    if principal.role is Role.WORKER:
        if body.worker_id not in {None, principal.person_id}:
            raise NotAllowed("A worker adds devices of their own.")
        return principal.person_id
    if body.worker_id is None:
        raise InvalidInput("Say whose device it is.", field="worker_id")
    return PersonId(body.worker_id)


def _only(principal: Principal) -> PersonId | None:
    """Return to whose devices this person is confined."""
    return principal.person_id if principal.role is Role.WORKER else None


def _view(device: Device) -> dict[str, object]:
    return {
        "device_id": device.device_id,
        "worker_id": device.person_id,
        "kind": device.kind.value,
        "label": device.label,
        "created_at": rfc3339(device.created_at),
        "revoked_at": rfc3339(device.revoked_at),
    }


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/devices",
        access=OWNERS,
        handler=create_device,
        summary="Add a stock phone tracker",
        uses=Uses.TRANSACTION,
        body=NewDevice,
        answer=NewDeviceAnswer,
        status=201,
        key=Key.REQUIRED,
        errors=(InvalidInput, NotFound, Conflict),
    ),
    Route(
        method="GET",
        path="/v1/devices",
        access=OWNERS,
        handler=list_all,
        summary="Stock phone trackers",
        uses=Uses.CONNECTION,
        query=PageQuery,
        answer=DevicePage,
    ),
    Route(
        method="DELETE",
        path="/v1/devices/{device_id}",
        access=OWNERS,
        handler=revoke,
        summary="Revoke a stock phone tracker",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
)

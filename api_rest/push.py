"""Browsers and apps that are told of alarms by a push."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

from pydantic import AwareDatetime, Field, StringConstraints

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.route import AnyRoute, Route, Uses
from api_rest.schemas import Answer
from config.limits import TEXT_CHARS_MAX
from engine.core.errors import InvalidInput, NotFound
from engine.core.units import rfc3339
from engine.core.vocabulary import Role
from engine.safetap.channels.push_encryption import base64url, from_base64url, is_point, load_vapid_key, public_point
from engine.safetap.push_store import (
    Subscription,
    add_device,
    list_subscriptions,
    remove_device,
    subscribe,
    unsubscribe,
)

TOLD = frozenset({Role.WORKER, Role.DISPATCHER, Role.ADMIN})
"""Who may be told of somebody else's alarm: the desk, and workers who volunteer."""
AUTH_BYTES = 16
ENDPOINT = r"^https?://[^/@\s]+/\S*$"


class PushKeys(Body):
    """What `PushSubscription.toJSON()` calls `keys`: URL-safe base64."""

    p256dh: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    auth: Annotated[str, StringConstraints(min_length=1, max_length=100)]


class NewSubscription(Body):
    """A browser's `PushSubscription.toJSON()`."""

    endpoint: Annotated[str, StringConstraints(max_length=TEXT_CHARS_MAX, pattern=ENDPOINT)]
    keys: PushKeys
    expiration_time: Annotated[float | None, Field(alias="expirationTime")] = None
    """Taken because browsers send it; a subscription ends when its push service says so."""


class SubscriptionAnswer(Answer):
    """A browser that is told; the id ends it."""

    subscription_id: UUID


class ListedSubscription(SubscriptionAnswer):
    """The same, with its age."""

    created_at: AwareDatetime


class Subscriptions(Answer):
    """What a browser subscribes with (null: pushes are not set up here), and which do already."""

    public_key: str | None
    items: list[ListedSubscription]


class NewPushDevice(Body):
    """An app's registration token of Firebase."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=TEXT_CHARS_MAX)]


class PushDeviceAnswer(Answer):
    """An app that is told; the id ends it."""

    push_device_id: UUID


async def list_push_subscriptions(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the key that browsers subscribe with, and the person's browsers."""
    file = call.services.settings.vapid_key_file
    items = await list_subscriptions(call.conn, call.principal.person_id)
    shown = [{"subscription_id": one, "created_at": rfc3339(at)} for one, at in items]
    return Reply({"public_key": None if file is None else public_key(file), "items": shown})


async def add_push_subscription(call: Call[NewSubscription, NoQuery]) -> Reply:
    """Let a browser be told; the same one again keeps its id."""
    subscription_id = await subscribe(
        call.conn,
        new_id=uuid4(),
        org_id=call.principal.org_id,
        person_id=call.principal.person_id,
        subscription=_subscription(call.body),
        now_ms=call.now_ms,
    )
    return Reply({"subscription_id": subscription_id})


async def end_push_subscription(call: Call[NoBody, NoQuery]) -> Reply:
    """Tell a browser no more."""
    if not await unsubscribe(call.conn, call.ids["subscription_id"], person_id=call.principal.person_id):
        raise NotFound
    return Reply()


async def add_push_device(call: Call[NewPushDevice, NoQuery]) -> Reply:
    """Let an app be told; the same token again keeps its id."""
    device_id = await add_device(
        call.conn,
        new_id=uuid4(),
        org_id=call.principal.org_id,
        person_id=call.principal.person_id,
        token=call.body.token,
        now_ms=call.now_ms,
    )
    return Reply({"push_device_id": device_id})


async def end_push_device(call: Call[NoBody, NoQuery]) -> Reply:
    """Tell an app no more."""
    if not await remove_device(call.conn, call.ids["push_device_id"], person_id=call.principal.person_id):
        raise NotFound
    return Reply()


@lru_cache(maxsize=4)
def public_key(file: Path) -> str:
    """Return the public half of a key file as browsers want it; read once."""
    return base64url(public_point(load_vapid_key(file.read_bytes())))


def _subscription(body: NewSubscription) -> Subscription:
    try:
        p256dh, auth = from_base64url(body.keys.p256dh), from_base64url(body.keys.auth)
    except ValueError:
        raise InvalidInput("URL-safe base64.", field="keys") from None
    if not is_point(p256dh):
        raise InvalidInput("An uncompressed point of P-256.", field="keys.p256dh")
    if len(auth) != AUTH_BYTES:
        raise InvalidInput(f"{AUTH_BYTES} bytes.", field="keys.auth")
    return Subscription(body.endpoint, p256dh, auth)


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="GET",
        path="/v1/me/push-subscriptions",
        access=TOLD,
        handler=list_push_subscriptions,
        summary="What browsers subscribe with, and which do",
        uses=Uses.CONNECTION,
        answer=Subscriptions,
    ),
    Route(
        method="POST",
        path="/v1/me/push-subscriptions",
        access=TOLD,
        handler=add_push_subscription,
        summary="Let this browser be told of alarms",
        uses=Uses.TRANSACTION,
        body=NewSubscription,
        answer=SubscriptionAnswer,
        status=201,
        errors=(InvalidInput,),
    ),
    Route(
        method="DELETE",
        path="/v1/me/push-subscriptions/{subscription_id}",
        access=TOLD,
        handler=end_push_subscription,
        summary="Tell a browser no more",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
    Route(
        method="POST",
        path="/v1/me/push-devices",
        access=TOLD,
        handler=add_push_device,
        summary="Let this app be told of alarms",
        uses=Uses.TRANSACTION,
        body=NewPushDevice,
        answer=PushDeviceAnswer,
        status=201,
        errors=(InvalidInput,),
    ),
    Route(
        method="DELETE",
        path="/v1/me/push-devices/{push_device_id}",
        access=TOLD,
        handler=end_push_device,
        summary="Tell an app no more",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
)

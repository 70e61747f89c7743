"""Trigger keys: what a device calls for help with when its access token has run out. And what nothing vouches for."""

from typing import Any
from uuid import UUID, uuid4

from pydantic import AwareDatetime

from api_rest.context import Body, Call, NoBody, NoQuery, Reply
from api_rest.cursors import decode_moment, encode_moment
from api_rest.route import DESK, PROTECTED, AnyRoute, Route, Uses
from api_rest.schemas import Answer, OptionalLine, PageQuery
from engine.core.errors import InvalidInput, NotFound
from engine.core.units import rfc3339
from engine.core.vocabulary import Door, IncidentKind, Role
from engine.safetap.trigger import TokenState
from engine.safetap.trigger_keys import (
    TriggerKey,
    add_trigger_key,
    list_trigger_keys,
    new_secret,
    revoke_trigger_key,
)
from engine.safetap.unverified import Orphan, list_orphans


class NewTriggerKey(Body):
    """A key to be, named so that its owner knows the device again."""

    label: OptionalLine = ""


class TriggerKeyAnswer(Answer):
    """A key without its secret."""

    key_id: UUID
    label: str
    created_at: AwareDatetime


class NewTriggerKeyAnswer(TriggerKeyAnswer):
    """A new key, with what nobody can read again."""

    secret: str


class TriggerKeys(Answer):
    """A person's live keys, newest first."""

    items: list[TriggerKeyAnswer]


class OrphanAnswer(Answer):
    """A trigger from which not even the person could be told."""

    orphan_id: UUID
    trigger_id: UUID
    door: Door
    kind: IncidentKind
    token: TokenState
    body: dict[str, Any]
    received_at: AwareDatetime


class OrphanPage(Answer):
    """A page of them, newest first."""

    items: list[OrphanAnswer]
    next_cursor: str | None


async def create_key(call: Call[NewTriggerKey, NoQuery]) -> Reply:
    """Issue a key. No answer of ours is kept: who missed it asks for another, and the oldest one ends some day."""
    secret = new_secret()
    key = await add_trigger_key(
        call.conn,
        key_id=uuid4(),
        secret=secret,
        org_id=call.principal.org_id,
        owner_id=call.principal.person_id,
        label=call.body.label,
        now_ms=call.now_ms,
    )
    return Reply({**_view(key), "secret": secret})


async def list_keys(call: Call[NoBody, NoQuery]) -> Reply:
    """Return the person's own keys."""
    return Reply({"items": [_view(key) for key in await list_trigger_keys(call.conn, call.principal.person_id)]})


async def revoke_key(call: Call[NoBody, NoQuery]) -> Reply:
    """End a key; doing it again changes nothing."""
    principal = call.principal
    await revoke_trigger_key(
        call.conn,
        call.ids["key_id"],
        org_id=principal.org_id,
        owner_id=None if principal.role is Role.ADMIN else principal.person_id,
        actor_id=principal.person_id,
        now_ms=call.now_ms,
    )
    return Reply()


async def orphans(call: Call[NoBody, PageQuery]) -> Reply:
    """Return a page of unverified triggers of nobody known."""
    cursor, limit = call.query.cursor, call.query.limit
    found = await list_orphans(
        call.conn,
        org_id=call.principal.org_id,
        after=None if cursor is None else decode_moment(cursor),
        limit=limit + 1,
    )
    shown = found[:limit]
    more = len(found) > limit
    next_cursor = encode_moment(shown[-1].received_at, shown[-1].orphan_id) if more else None
    return Reply({"items": [_orphan_view(orphan) for orphan in shown], "next_cursor": next_cursor})


def _view(key: TriggerKey) -> dict[str, object]:
    return {"key_id": key.key_id, "label": key.label, "created_at": rfc3339(key.created_at)}


def _orphan_view(orphan: Orphan) -> dict[str, object]:
    return {
        "orphan_id": orphan.orphan_id,
        "trigger_id": orphan.trigger_id,
        "door": orphan.door.value,
        "kind": orphan.kind,
        "token": orphan.token_state.value,
        "body": orphan.body,
        "received_at": rfc3339(orphan.received_at),
    }


ROUTES: tuple[AnyRoute, ...] = (
    Route(
        method="POST",
        path="/v1/me/trigger-keys",
        access=PROTECTED,
        handler=create_key,
        summary="Issue a key that calls for help when the access token has run out",
        uses=Uses.TRANSACTION,
        body=NewTriggerKey,
        answer=NewTriggerKeyAnswer,
        status=201,
        errors=(InvalidInput,),
    ),
    Route(
        method="GET",
        path="/v1/me/trigger-keys",
        access=PROTECTED,
        handler=list_keys,
        summary="My trigger keys",
        uses=Uses.CONNECTION,
        answer=TriggerKeys,
    ),
    Route(
        method="DELETE",
        path="/v1/trigger-keys/{key_id}",
        access=PROTECTED | {Role.ADMIN},
        handler=revoke_key,
        summary="Revoke a trigger key",
        uses=Uses.TRANSACTION,
        answer=None,
        status=204,
        errors=(NotFound,),
    ),
    Route(
        method="GET",
        path="/v1/safetap/orphans",
        access=DESK,
        handler=orphans,
        summary="Unverified alarms of nobody known",
        uses=Uses.CONNECTION,
        query=PageQuery,
        answer=OrphanPage,
    ),
)

"""Silent triggers of sockets on their way to SafeTap, and its answers as the sockets tell them."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from config.limits import CHECK_IN_FORWARD_MS
from engine.core.errors import (
    ClenzyError,
    Conflict,
    InvalidInput,
    NotAllowed,
    NotFound,
    NotSignedIn,
    TooMany,
    Unavailable,
    WireError,
)
from engine.core.vocabulary import Acknowledgement
from engine.safetap.forwarding import CHECK_IN_PATH, Forwarder
from gateway_ws.metrics import TRIGGERS

_ERRORS: dict[str, type[ClenzyError]] = {
    error.code: error
    for error in (InvalidInput, WireError, NotSignedIn, NotAllowed, NotFound, Conflict, TooMany, Unavailable)
}


@dataclass(frozen=True, slots=True)
class TriggerAnswer:
    """What SafeTap said: `{"trigger_id", "state"}`."""

    is_committed: bool
    body: dict[str, Any]


class SafeTapClient:
    """Forwards triggers as the people who sent them."""

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def trigger(self, body: Mapping[str, Any], token: str, *, scheme: str = "Bearer") -> TriggerAnswer:
        """Forward one trigger.

        Raises:
            Unavailable: SafeTap does not answer.
            ClenzyError: SafeTap refused it.
        """
        headers = {"Authorization": f"{scheme} {token}", "Content-Type": "application/json"}
        try:
            answer = await self._forwarder.forward(_json(body), headers=headers)
        except Unavailable:
            TRIGGERS.labels("unavailable").inc()
            raise
        fields = _fields(answer.body)
        if answer.status not in {HTTPStatus.OK, HTTPStatus.ACCEPTED}:
            TRIGGERS.labels("refused").inc()
            raise _refusal(fields)
        is_committed = fields.get("state") == Acknowledgement.COMMITTED
        TRIGGERS.labels("committed" if is_committed else "spooled").inc()
        return TriggerAnswer(is_committed, fields)

    async def check_in(self, body: Mapping[str, Any], token: str) -> dict[str, Any]:
        """Hand on the answer to "is all well?"; return what SafeTap says, the same to the safe and the duress PIN.

        Raises:
            Unavailable: SafeTap does not answer.
            ClenzyError: SafeTap refused it.
        """
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = await self._forwarder.forward(
            _json(body), headers=headers, path=CHECK_IN_PATH, within_ms=CHECK_IN_FORWARD_MS
        )
        fields = _fields(answer.body)
        if answer.status != HTTPStatus.OK:
            raise _refusal(fields)
        return fields


def _refusal(fields: Mapping[str, Any]) -> ClenzyError:
    return _ERRORS.get(str(fields.get("code")), Unavailable)(fields.get("detail"), field=fields.get("field"))


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise WireError("a trigger is a JSON object") from error


def _fields(raw: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Unavailable from None
    if not isinstance(fields, dict):
        raise Unavailable
    return fields

"""The silent alarm: the direct door first, then every other one, again and again until it is committed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
import orjson

from sim.client.backoff import Backoff
from sim.client.errors import ClientFailure, Disconnected, Refused
from sim.client.rest import Account, Rest

DOOR_TIMEOUT_S: Final = 3.0
"""A door that says nothing for this long is left for the next."""

Door = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Takes the trigger's body, returns the answer's body; raises `ClientFailure`."""


@dataclass(frozen=True, slots=True)
class AlarmOutcome:
    """A committed alarm: which door it went through and how long that took from the press."""

    trigger_id: UUID
    door: str
    tries: int
    committed_after_ms: float


def direct_door(http: aiohttp.ClientSession, safetap_url: str, account: Account) -> Door:
    """Return SafeTap's own port. The token in hand is sent as it is: this door takes an expired one too."""

    async def send(body: Mapping[str, Any]) -> Mapping[str, Any]:
        headers = {
            "Authorization": f"Bearer {account.tokens.access_token}",
            "Content-Type": "application/json",
            "Idempotency-Key": str(body["trigger_id"]),
        }
        try:
            async with http.post(safetap_url + "/v1/safetap", data=orjson.dumps(body), headers=headers) as response:
                answer = orjson.loads(await response.read())
        except (aiohttp.ClientError, OSError, orjson.JSONDecodeError) as error:
            raise Disconnected(f"the direct door: {error!r}") from error
        if response.status not in {200, 202}:
            raise Refused.from_body(answer, status=response.status)
        return dict(answer)

    return send


def api_door(rest: Rest, account: Account) -> Door:
    """Return the API's forwarding route."""

    async def send(body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await rest.call("POST", "/v1/safetap", body=body, account=account, key=str(body["trigger_id"]))
        return dict(answer)

    return send


async def raise_alarm(
    doors: Mapping[str, Door],
    *,
    kind: str,
    booking_id: str | None = None,
    fix: Mapping[str, Any] | None = None,
    trigger_id: UUID | None = None,
) -> AlarmOutcome:
    """Try `doors` in their order, over and over, until one says `committed`. Only cancellation ends it earlier.

    Raises:
        Refused: every door says that this person may not trigger, or that the body is wrong.
    """
    trigger_id = trigger_id or uuid4()
    body: dict[str, Any] = {"trigger_id": str(trigger_id), "kind": kind}
    if booking_id is not None:
        body["booking_id"] = booking_id
    if fix is not None:
        body["fix"] = dict(fix)
    pressed_s = time.perf_counter()
    backoff = Backoff(base_s=0.2, cap_s=2.0)
    tries = 0
    while True:
        final: list[Refused] = []
        for name, door in doors.items():
            tries += 1
            answer = await _through(door, body, final)
            if answer.get("state") == "committed":
                return AlarmOutcome(trigger_id, name, tries, (time.perf_counter() - pressed_s) * 1000)
        if len(final) == len(doors):
            raise final[0]
        await asyncio.sleep(backoff.next_s())


async def _through(door: Door, body: Mapping[str, Any], final: list[Refused]) -> Mapping[str, Any]:
    """Return a door's answer, an empty one where it failed; what no repetition can heal goes to `final`."""
    try:
        async with asyncio.timeout(DOOR_TIMEOUT_S):
            return await door(body)
    except Refused as refusal:
        if 400 <= refusal.status < 500 and refusal.status != 429:  # noqa: PLR2004 - HTTP's own numbers
            final.append(refusal)
    except (ClientFailure, TimeoutError):
        pass
    return {}

"""The alarm's way through its doors."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest

from sim.client import safetap
from sim.client.clock import wall_ms
from sim.client.errors import Disconnected, Refused
from sim.client.rest import Account, Rest, Tokens
from tests.unit.sim.phone_server import PhoneServer


class ScriptedDoor:
    """Answers, or fails, as told; the last one is repeated."""

    def __init__(self, *outcomes: str | Exception) -> None:
        self.outcomes = list(outcomes)
        self.bodies: list[Mapping[str, Any]] = []

    async def __call__(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self.bodies.append(dict(body))
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return {"trigger_id": body["trigger_id"], "state": outcome}


async def test_the_first_door_is_enough_when_it_commits() -> None:
    direct, api = ScriptedDoor("committed"), ScriptedDoor("committed")
    outcome = await safetap.raise_alarm({"direct": direct, "api": api}, kind="hold", booking_id="b")
    assert (outcome.door, outcome.tries) == ("direct", 1)
    assert direct.bodies[0] == {"trigger_id": str(outcome.trigger_id), "kind": "hold", "booking_id": "b"}
    assert api.bodies == []


async def test_falls_back_and_repeats_with_one_id_until_committed() -> None:
    trigger_id = uuid4()
    direct = ScriptedDoor(Disconnected("away"))
    api = ScriptedDoor(Refused("unavailable", status=503), "spooled", "committed")
    outcome = await safetap.raise_alarm({"direct": direct, "api": api}, kind="button", trigger_id=trigger_id)
    assert (outcome.door, outcome.tries) == ("api", 6)
    assert {body["trigger_id"] for body in [*direct.bodies, *api.bodies]} == {str(trigger_id)}


async def test_one_door_that_forbids_does_not_stop_the_others() -> None:
    doors = {"direct": ScriptedDoor(Refused("not_allowed", status=403)), "api": ScriptedDoor("committed")}
    assert (await safetap.raise_alarm(doors, kind="drill")).door == "api"


async def test_gives_up_only_when_every_door_forbids() -> None:
    doors = {name: ScriptedDoor(Refused("not_allowed", status=403)) for name in ("direct", "api")}
    with pytest.raises(Refused, match="not_allowed"):
        await safetap.raise_alarm(doors, kind="drill")


async def test_a_door_that_says_nothing_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetap, "DOOR_TIMEOUT_S", 0.02)

    async def says_nothing(_body: Mapping[str, Any]) -> Mapping[str, Any]:
        import asyncio  # noqa: PLC0415

        await asyncio.Event().wait()
        raise AssertionError

    outcome = await safetap.raise_alarm({"direct": says_nothing, "api": ScriptedDoor("committed")}, kind="hold")
    assert outcome.door == "api"


async def test_real_doors_send_the_token_in_hand_and_the_trigger_as_key() -> None:
    async with PhoneServer().running() as server, aiohttp.ClientSession() as http:
        server.answers["/v1/safetap"] = [
            (202, {"state": "spooled"}),
            (503, {"code": "unavailable"}),
            (200, {"state": "committed"}),
        ]
        rest = Rest(http, server.url)
        # Expired: the direct door takes it as it is, and no refresh may stand between a press and the alarm.
        account = Account(rest, Tokens("a1", wall_ms() - 1, "r1", "p", "customer"))
        outcome = await safetap.raise_alarm({"direct": safetap.direct_door(http, server.url, account)}, kind="hold")
        assert outcome.tries == 3
        for path, headers, body in server.requests:
            assert path == "POST /v1/safetap"
            assert headers["Authorization"] == "Bearer a1"
            assert headers["Idempotency-Key"] == orjson.loads(body)["trigger_id"] == str(outcome.trigger_id)

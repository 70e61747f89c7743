"""Many more phones than may open at once: all get in, nobody is lost, and who is sent away is told when to come."""

import asyncio

import aiohttp
import pytest

from engine.core.vocabulary import Role
from gateway_ws import arrivals as arrivals_module
from gateway_ws.metrics import ARRIVALS_SENT_AWAY
from tests.conftest import TokenKeys
from tests.integration.gateway.harness import City, Stage, eventually, page_on, phone_on
from tests.integration.gateway.processes import drivers

pytestmark = pytest.mark.integration

PHONES = 60


@pytest.fixture(autouse=True)
def _narrow_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_module, "OPENING_SESSIONS_MAX", 1)
    monkeypatch.setattr(arrivals_module, "OPENING_WAITING_MAX", 4)
    monkeypatch.setattr(arrivals_module, "OPENING_RETRY_MS_MIN", 50)


async def test_a_storm_gets_in_a_few_at_a_time(stage: Stage, city: City, token_keys: TokenKeys) -> None:
    enough = ARRIVALS_SENT_AWAY._value.get() + PHONES / 2

    async def block_the_door() -> None:
        async with stage.gateway.services.arrivals.place():
            await eventually(lambda: ARRIVALS_SENT_AWAY._value.get() > enough, timeout_s=40)

    blocking = asyncio.create_task(block_the_door())
    async with drivers(stage.url, city, token_keys, PHONES) as crowd:
        await blocking
        assert len(stage.gateway.services.registry) == PHONES
        await eventually(lambda: all(one.acknowledged for one in crowd))


async def test_who_comes_while_the_door_is_blocked_is_told_when_to_come_again(
    stage: Stage, city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals_module, "OPENING_WAIT_MS", 300)
    token = stage.token(Role.WORKER, await city.worker(5), slot=5)
    arrivals = stage.gateway.services.arrivals
    async with arrivals.place():
        async with phone_on(stage, token) as phone:
            _, body = await phone.hear(8)
            assert (body["code"], body["retry_after_ms"] > 0) == ("unavailable", True)
            assert await phone.close_code() == 1001
        waiting = [asyncio.create_task(_wait(arrivals)) for _ in range(4)]
        await eventually(lambda: arrivals.is_full)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with phone_on(stage, token):
                pass
        assert refused.value.status == 503
        assert refused.value.headers is not None
        assert int(refused.value.headers["Retry-After"]) >= 1
        await asyncio.gather(*waiting, return_exceptions=True)
    auth = {"token": stage.token(Role.DISPATCHER, await city.person(Role.DISPATCHER, "D"))}
    async with page_on(stage, "/console", auth) as page:
        await page.hear("welcome")


async def _wait(arrivals: arrivals_module.Arrivals) -> None:
    async with arrivals.place():
        pass

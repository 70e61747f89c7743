"""Redis goes away mid-stream and comes back empty: nobody signs in again, workers reappear with their next ping."""

import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from clenzy.child import store_account
from clenzy.ports import any_free
from clenzy.stores.home import StoreHome, store_home
from clenzy.stores.redis import Redis as RedisServer
from engine.core.vocabulary import Role
from engine.geo.cell_index import CellIndex
from engine.geo.verify import verify
from engine.outbox.relay import Relay
from tests.integration.gateway.harness import ORG, PORTO, City, Stage, eventually, gateway_on, page_on, phone_on
from tests.integration.gateway.processes import drivers
from tests.integration.gateway.test_resume import tell
from tests.servers import running

pytestmark = pytest.mark.integration

WORKERS = 12


class RestartableRedis:
    """A Redis of the test's own that can be killed and started again, empty, on the same port."""

    def __init__(self, home: StoreHome) -> None:
        self._home = home
        self._server = RedisServer(home, password=secrets.token_urlsafe(16), port=any_free())
        self.url = self._server.url

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        self._server.prepare()
        with running(self._server.command(), self._server.answers, self._home.folder / "redis.log") as process:
            yield process


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> RestartableRedis:
    return RestartableRedis(store_home(tmp_path_factory.mktemp("own-redis"), store_account()))


@pytest.fixture
async def own_client(own_redis: RestartableRedis) -> AsyncIterator[Redis]:
    client = Redis.from_url(own_redis.url, protocol=2, socket_timeout=2, socket_connect_timeout=2)
    yield client
    await client.aclose()


async def test_workers_reappear_and_events_flow_after_redis_came_back_empty(
    own_redis: RestartableRedis,
    own_client: Redis,
    pool: Any,
    token_keys: Any,
    tmp_path: Path,
    city: City,
) -> None:
    worker_id = await city.worker(5)
    desk_id = await city.person(Role.DISPATCHER, "D")
    with own_redis.running() as server:
        stage_context = gateway_on(own_client, pool, token_keys, tmp_path)
        stage = await stage_context.__aenter__()
        phone_context = phone_on(stage, stage.token(Role.WORKER, worker_id, slot=5))
        page_context = page_on(stage, "/console", {"token": stage.token(Role.DISPATCHER, desk_id)})
        phone, page = await phone_context.__aenter__(), await page_context.__aenter__()
        await phone.hear(0)
        await page.hear("welcome")
        await phone.send(1, 1, stage.fixes(PORTO, at_ms=stage.clock.now_ms() - 5_000))
        await phone.hear(2)
        server.kill()
    await tell(pool, f"user:{worker_id}", 1)
    await tell(pool, f"desk:{ORG}", 2)
    relay = Relay(pool=pool, redis=own_client, clock=stage.clock)
    await eventually(lambda: not stage.gateway.fan_out.is_connected)
    await phone.send(1, 2, stage.fixes(PORTO, at_ms=stage.clock.now_ms() - 2_000))
    await phone.send(4, 1, "state", {})
    await phone.hear(5)
    assert not phone.frames, "nothing is acknowledged while Redis is away"

    with own_redis.running():
        assert await phone.hear(2, where=lambda frame: frame[1] == 2) == [2, 2, 0]
        async with relay.turn() as turn:
            assert turn is not None
            while await turn.relay_batch():
                pass  # perhaps before anybody has subscribed again
        assert await phone.hear(6, where=lambda frame: frame[1] == "test") == [6, "test", {"n": 1}, 1]
        assert await page.hear("test") == {"n": 2}
        assert not [frame for frame in phone.frames if frame[0] == 0], "what was missed is told, not the state again"
        await _check_all_is_well(stage, phone, page, worker_id)
        await page_context.__aexit__(None, None, None)
        await phone_context.__aexit__(None, None, None)
        await stage_context.__aexit__(None, None, None)


async def test_whatever_was_acknowledged_under_load_is_indexed_and_in_the_trail(
    own_redis: RestartableRedis, own_client: Redis, pool: Any, token_keys: Any, tmp_path: Path, city: City
) -> None:
    async with AsyncExitStack() as stack:
        with own_redis.running() as server:
            stage = await stack.enter_async_context(gateway_on(own_client, pool, token_keys, tmp_path))
            crowd = await stack.enter_async_context(drivers(stage.url, city, token_keys, WORKERS, every_s=0.02))
            await eventually(lambda: all(one.acknowledged > 10 for one in crowd))
            server.kill()
        away = [len(one.all_acknowledged_ms) for one in crowd]
        await eventually(lambda: not stage.gateway.fan_out.is_connected)
        sent = [one.sent for one in crowd]
        await eventually(lambda: all(one.sent > before + 10 for one, before in zip(crowd, sent, strict=True)))
        with own_redis.running():
            await eventually(
                lambda: all(len(one.all_acknowledged_ms) > before + 50 for one, before in zip(crowd, away, strict=True))
            )
            at_once = [one.acknowledged_ms for one in crowd]
            records = await CellIndex(own_client).records([one.slot for one in crowd])
            assert (records["ts_ms"] >= at_once).all(), "an acknowledgement tells that the fix is in its cell"
            await eventually(lambda: _is_right(own_client))  # they drive on: a look may fall into a move
            acknowledged = {(one.slot, at_ms) for one in crowd for at_ms in one.all_acknowledged_ms}
            await eventually(lambda: _are_stored(pool, acknowledged))
            assert sum(one.socket.counts.fixes_dropped for one in crowd) == 0
            await stack.aclose()


async def _is_right(redis: Redis) -> bool:
    return (await verify(redis)).is_right


async def _are_stored(pool: Any, fixes: set[tuple[int, int]]) -> bool:
    rows = await pool.fetch("SELECT slot, (extract(epoch FROM at) * 1000)::bigint AS at_ms FROM trail")
    return fixes <= {(row["slot"], row["at_ms"]) for row in rows}


async def _check_all_is_well(stage: Stage, phone: Any, page: Any, worker_id: Any) -> None:
    await phone.send(1, 3, stage.fixes(PORTO))
    await phone.hear(2, where=lambda frame: frame[1] == 3)
    report = await verify(stage.redis)
    assert (report.is_right, report.slots) == (True, 1)
    await stage.publish(f"user:{worker_id}", "offer", {"offer_id": "o"})
    assert await phone.hear(6, where=lambda frame: frame[1] == "offer")
    await stage.publish(f"desk:{ORG}", "incident", {"incident_id": str(uuid4()), "is_drill": True})
    assert await page.hear("incident")

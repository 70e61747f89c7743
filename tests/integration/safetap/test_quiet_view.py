"""What the other party sees of an alarm: what they would see of a phone without GPS, byte for byte.

Everything is real: a gateway with its sockets, SafeTap's door behind it, the outbox between them.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import msgpack
import orjson
import pytest
from redis.asyncio import Redis

from engine.core.clock import SystemClock
from engine.core.database import Pool
from engine.core.ids import IncidentId
from engine.core.vocabulary import Role
from engine.people.tokens import Principal
from engine.safetap.desk import acknowledge, close
from tests.integration.gateway.harness import ORG, PORTO, City, Phone, Stage, eventually, gateway_on, phone_on
from tests.integration.safetap.doors import OpenDoor

pytestmark = pytest.mark.integration

SLOT = 5
ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
SESSION = re.compile(rb'"(sid|pid|epoch)":"[^"]*"')
WAIT_S = 20


@pytest.fixture
async def city(pool: Pool) -> City:
    return await City(pool, SystemClock()).found()


@pytest.fixture
async def stage(
    redis: Redis,
    pool: Pool,
    token_keys: Any,
    tmp_path: Path,
    door: OpenDoor,  # noqa: ARG001 - listens on a socket in the same folder
) -> AsyncIterator[Stage]:
    async with gateway_on(redis, pool, token_keys, tmp_path) as stage:
        yield stage


@dataclass
class Watcher:
    """A customer's Socket.IO connection that keeps every message as it came."""

    socket: aiohttp.ClientWebSocketResponse
    heard: list[bytes] = field(default_factory=list)

    async def until(self, wanted: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while not self.heard or wanted.encode() not in self.heard[-1]:
                data = (await self.socket.receive()).data
                if data == "2":
                    await self.socket.send_str("3")
                else:
                    self.heard.append(data.encode() if isinstance(data, str) else data)

    async def trigger(self) -> None:
        body = orjson.dumps({"trigger_id": str(uuid4()), "kind": "button"}).decode()
        await self.socket.send_str(f'42/customer,1["safetap",{body}]')
        await self.until("43/customer,1")
        self.heard.pop()  # its own sender is told


@asynccontextmanager
async def watching(stage: Stage, token: str) -> AsyncIterator[Watcher]:
    address = f"{stage.url}/socket.io/?EIO=4&transport=websocket"
    async with aiohttp.ClientSession() as client, client.ws_connect(address) as socket:
        await socket.receive()
        await socket.send_str(f'40/customer,{{"token":"{token}"}}')
        watcher = Watcher(socket)
        await watcher.until('"welcome"')
        yield watcher


@dataclass
class Journey:
    """A worker on the way to a customer, from the assignment to the door, in one of several worlds."""

    stage: Stage
    city: City
    pool: Pool
    worker_id: UUID
    customer_id: UUID
    booking_id: UUID
    watcher: Watcher
    phone: Phone
    base_ms: int
    told: int = 0

    async def fix(self, number: int, **fields: int) -> None:
        """The worker's phone sends where it is; the customer has what there is of it when this returns."""
        place = (PORTO[0] + number / 1e4, PORTO[1])
        fix = self.stage.fixes(place, at_ms=self.base_ms + number * 1_000, **fields)
        await self.phone.send(1, number, fix)
        await self.phone.hear(2, where=lambda frame: frame[1:] == [number, 0])
        await self.mark()

    async def blind_fix(self, number: int) -> None:
        """As a phone without GPS: the place of a mast, kilometres wide."""
        await self.fix(number, accuracy_dm=30_000)

    async def move(self, to: str) -> None:
        await self.phone.send(4, self.told, "booking.transition", {"booking_id": str(self.booking_id), "to": to})
        answer = await self.phone.hear(5)
        assert answer[2], answer
        await self.city.relay(self.stage)
        await self.mark()

    async def mark(self) -> None:
        """Everything that was told before has come when this returns."""
        self.told += 1
        await self.stage.publish(f"user:{self.customer_id}", "marker", {"n": self.told})
        await self.watcher.until(f'["marker",{{"n":{self.told}}}')

    async def incident(self, state: str = "open") -> None:
        """The relay has told, and the gateway knows, that there is an incident."""
        await self.city.relay(self.stage)
        jobs = self.stage.gateway.services.jobs
        await eventually(lambda: (SLOT in jobs._out_of_sight) == (state == "open"), timeout_s=WAIT_S)

    async def close(self, reason: str) -> None:
        incident_id = IncidentId(await self.pool.fetchval("SELECT incident_id FROM incident WHERE state <> 'closed'"))
        now_ms = self.stage.clock.now_ms()
        desk = await self.city.person(Role.DISPATCHER, "Dora")
        actor = Principal(desk, Role.DISPATCHER, ORG, UUID(int=2), None, uuid4(), now_ms, now_ms + 60_000)  # type: ignore[arg-type]
        async with self.pool.acquire() as conn:
            await acknowledge(conn, incident_id=incident_id, actor=actor, now_ms=now_ms)
            await close(conn, incident_id=incident_id, actor=actor, reason=reason, now_ms=now_ms)
        await self.city.relay(self.stage)


@asynccontextmanager
async def under_way(stage: Stage, city: City, pool: Pool) -> AsyncIterator[Journey]:
    """The same two people each time; what is left of an earlier journey is cleared away."""
    await pool.execute("DELETE FROM outbox")
    await stage.redis.flushall()
    customer_id, worker_id = await city.person(Role.CUSTOMER, "C"), await _worker(city, pool)
    booking_id = await city.booking(customer_id, state="assigned", worker_id=worker_id)
    worker = stage.token(Role.WORKER, worker_id, slot=SLOT)
    async with (
        watching(stage, stage.token(Role.CUSTOMER, customer_id)) as watcher,
        phone_on(stage, worker) as phone,
    ):
        await phone.hear(0)
        topic = f"booking:{booking_id}"
        await eventually(lambda: stage.gateway.fan_out.is_heard(topic), timeout_s=WAIT_S)
        # Later than every fix of an earlier journey, and never of the future.
        journeys = await pool.fetchval("SELECT count(*) FROM booking")
        base_ms = stage.clock.now_ms() - 30_000 + 8_000 * journeys
        yield Journey(stage, city, pool, worker_id, customer_id, booking_id, watcher, phone, base_ms)
    await pool.execute("UPDATE booking SET state = 'confirmed' WHERE booking_id = $1", booking_id)


async def _worker(city: City, pool: Pool) -> UUID:
    found = await pool.fetchval("SELECT worker_id FROM worker WHERE slot = $1", SLOT)
    return UUID(str(found)) if found else await city.worker(SLOT)


async def raised_by_frame(journey: Journey) -> None:
    await journey.phone.send(3, 900, bytes(24) + uuid4().bytes + bytes(8))
    await journey.phone.hear(2, where=lambda frame: frame == [2, 900, 2])
    await journey.incident()


async def raised_at_safetap(journey: Journey, door: OpenDoor) -> None:
    token = journey.stage.token(Role.WORKER, journey.worker_id, slot=SLOT)
    status, _ = await door.trigger(token, {"trigger_id": str(uuid4()), "kind": "button"})
    assert status == 200
    await journey.incident()


async def raised_by_customer(journey: Journey) -> None:
    await journey.watcher.trigger()
    await journey.incident()


Alarm = Callable[[Journey], Awaitable[None]]


async def a_journey(journey: Journey, alarm: Alarm | None, *, is_at_home: bool = False) -> list[bytes]:
    """Two fixes, then GPS goes or an alarm comes; both pass before the sixth fix. Return what the customer got.

    `is_at_home`: it comes before the worker has set off, at which time there is nothing to be seen anyway.
    """
    send = journey.blind_fix if alarm is None else journey.fix
    await journey.fix(1)
    if is_at_home and alarm is not None:
        await alarm(journey)
    await journey.move("en_route")
    await (send if is_at_home else journey.fix)(2)
    if alarm is not None and not is_at_home:
        await alarm(journey)
    await send(3)
    await journey.move("arrived")
    await send(4)
    if alarm is not None:
        await journey.close("all is well")
    await send(5)
    if alarm is not None:
        await journey.pool.execute("UPDATE safety_hold SET released_at = now()")
        services = journey.stage.gateway.services
        await services.counting.look(services.counting._people[SLOT])
    await journey.fix(6)
    return [_plain(message, journey) for message in journey.watcher.heard]


def _plain(message: bytes, journey: Journey) -> bytes:
    """Without ids and times of day; the times of fixes count from the journey's beginning."""
    message = re.sub(rb'"ts_ms":([0-9]+)', lambda found: b'"ts_ms":%d' % (int(found[1]) - journey.base_ms), message)
    return SESSION.sub(rb'"\1":"-"', TIME.sub(b"-", ID.sub(b"-", message)))


@pytest.mark.parametrize("way", ["the worker's socket", "SafeTap's own door", "the customer's socket"])
async def test_line_7_an_alarm_looks_to_the_customer_as_a_lost_gps(
    stage: Stage, city: City, pool: Pool, door: OpenDoor, way: str
) -> None:
    alarms: dict[str, Alarm] = {
        "the worker's socket": raised_by_frame,
        "SafeTap's own door": lambda journey: raised_at_safetap(journey, door),
        "the customer's socket": raised_by_customer,
    }
    async with under_way(stage, city, pool) as journey:
        without_gps = await a_journey(journey, None)
    async with under_way(stage, city, pool) as journey:
        with_alarm = await a_journey(journey, alarms[way])
    assert with_alarm == without_gps
    positions = [message for message in without_gps if b'"position"' in message]
    assert [re.search(rb'"ts_ms":(\d+)', each)[1] for each in positions] == [b"2000", b"6000"]  # type: ignore[index]
    assert await pool.fetchval("SELECT count(*) FROM incident") == 1


async def test_line_7_an_alarm_before_the_way_there_looks_as_a_gps_that_was_lost_then(
    stage: Stage, city: City, pool: Pool
) -> None:
    async with under_way(stage, city, pool) as journey:
        without_gps = await a_journey(journey, None, is_at_home=True)
    async with under_way(stage, city, pool) as journey:
        with_alarm = await a_journey(journey, raised_by_frame, is_at_home=True)
    assert with_alarm == without_gps
    positions = [message for message in without_gps if b'"position"' in message]
    assert [re.search(rb'"ts_ms":(\d+)', each)[1] for each in positions] == [b"6000"]  # type: ignore[index]


async def test_line_9_before_the_way_there_the_place_changes_nothing_of_what_the_customer_gets(
    stage: Stage, city: City, pool: Pool
) -> None:
    """Byte for byte: a worker whose phone reports from home, and one whose phone says nothing until they set off."""
    seen = []
    for is_heard_of in (False, True):
        async with under_way(stage, city, pool) as journey:
            if is_heard_of:
                for number in (1, 2, 3):
                    await journey.fix(number)
            else:
                for _ in range(3):
                    await journey.mark()
            async with watching(stage, stage.token(Role.CUSTOMER, journey.customer_id)) as newcomer:
                welcome = [_plain(message, journey) for message in newcomer.heard]
            assert not any(b'"position"' in message for message in journey.watcher.heard)
            await journey.move("en_route")
            await journey.fix(4)
            seen.append((welcome, [_plain(message, journey) for message in journey.watcher.heard]))
    assert seen[0] == seen[1]
    assert [b'"ts_ms":4000' in message for message in seen[0][1]].count(True) == 1


async def test_the_place_is_hidden_from_the_moment_of_the_trigger_not_of_its_commit(
    stage: Stage, city: City, pool: Pool
) -> None:
    async with under_way(stage, city, pool) as journey:
        await journey.move("en_route")
        await journey.fix(1)
        await journey.phone.send(3, 900, bytes(24) + uuid4().bytes + bytes(8))
        await journey.fix(2)
        await journey.phone.hear(2, where=lambda frame: frame == [2, 900, 2])
        assert sum(b'"position"' in message for message in journey.watcher.heard) == 1
        # The frame of a state that was read before the alarm was written brings nobody back.
        services = stage.gateway.services
        await services.counting.look(services.counting._people[SLOT])
        await journey.fix(3)
        assert sum(b'"position"' in message for message in journey.watcher.heard) == 1


async def test_a_drill_and_a_refused_trigger_hide_nobody(stage: Stage, city: City, pool: Pool) -> None:
    async with under_way(stage, city, pool) as journey:
        await journey.move("en_route")
        await journey.phone.send(3, 900, bytes(24) + uuid4().bytes + bytes([4]) + bytes(7))
        await journey.phone.hear(2, where=lambda frame: frame == [2, 900, 2])
        await city.relay(stage)
        await journey.fix(1)
        assert await pool.fetchval("SELECT is_drill FROM incident")
        assert sum(b'"position"' in message for message in journey.watcher.heard) == 1


async def test_who_connects_during_an_alarm_sees_no_more_than_who_was_there(
    stage: Stage, city: City, pool: Pool
) -> None:
    async with under_way(stage, city, pool) as journey:
        await journey.move("en_route")
        await journey.fix(1)
        await raised_by_frame(journey)
        again = stage.token(Role.WORKER, journey.worker_id, slot=SLOT)
        customer = stage.token(Role.CUSTOMER, journey.customer_id)
        async with phone_on(stage, again) as phone, watching(stage, customer) as newcomer:
            await phone.hear(0)
            await phone.send(1, 2, stage.fixes((PORTO[0] + 0.0002, PORTO[1]), at_ms=journey.base_ms + 2_000))
            await phone.hear(2, where=lambda frame: frame[1:] == [2, 0])
            await stage.publish(f"user:{journey.customer_id}", "marker", {"n": 99})
            await newcomer.until('["marker",{"n":99}')
        assert not any(b'"position"' in message for message in newcomer.heard)


async def test_the_worker_is_told_nothing_of_the_customers_alarm(stage: Stage, city: City, pool: Pool) -> None:
    received = []
    for alarm in (None, raised_by_customer):
        async with under_way(stage, city, pool) as journey:
            frames = _recorded(journey.phone)
            await journey.fix(1)
            if alarm is not None:
                await alarm(journey)
            await journey.move("en_route")
            await journey.fix(2)
            await journey.phone.send(4, 77, "state", {})
            await journey.phone.hear(5, where=lambda frame: frame[1] == 77)
            received.append([_plain(re.sub(rb'"server_ms":\d+', b"", each), journey) for each in frames])
    assert received[0] == received[1]
    assert len(received[0]) > 4


def _recorded(phone: Phone) -> list[bytes]:
    """Keep every frame as it comes, as JSON so that ids and times can be taken out of it."""
    frames: list[bytes] = []
    receive = phone.socket.receive

    async def recording(*args: Any, **kwargs: Any) -> aiohttp.WSMessage:
        message = await receive(*args, **kwargs)
        if message.type is aiohttp.WSMsgType.BINARY:
            frames.append(orjson.dumps(msgpack.unpackb(message.data)))
        return message

    phone.socket.receive = recording  # type: ignore[method-assign]
    return frames

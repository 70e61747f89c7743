"""Whose fixes count: since duty began, and while an alarm is open also off duty, unseen by who holds the phone."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import msgpack
import numpy as np
import pytest

from engine.core.database import Pool
from engine.core.ids import PersonId
from engine.core.units import rfc3339, utc_from_ms
from engine.core.vocabulary import Role
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cell_of
from gateway_ws.positions import MAP_ROW, OFF_DUTY
from tests.integration.gateway.harness import ORG, PORTO, REGION, City, Phone, Stage, eventually, page_on, phone_on

pytestmark = pytest.mark.integration

SLOT = 6
NEAR = (PORTO[0] + 0.0005, PORTO[1])
CELL = cell_of(*PORTO)


class Alarm:
    """An incident of one worker, as SafeTap's outbox tells it to the desk."""

    def __init__(self, stage: Stage, pool: Pool, person_id: UUID, *, age_ms: int = 5_000) -> None:
        self.stage, self.pool, self.person_id = stage, pool, person_id
        self.incident_id = uuid4()
        self.opened_at = utc_from_ms(stage.clock.now_ms() - age_ms)

    async def store(self) -> "Alarm":
        await self.pool.execute(
            "INSERT INTO incident (incident_id, org_id, region_id, person_id, person_role, kind, state, version,"
            " policy, opened_at) VALUES ($1, $2, $3, $4, 'worker', 'button', 'open', 1, '{}', $5)",
            self.incident_id, ORG, REGION, self.person_id, self.opened_at,
        )  # fmt: skip
        return self

    async def tell(self, state: str = "open", *, is_drill: bool = False) -> None:
        body = {
            "incident_id": str(self.incident_id),
            "person": {"person_id": str(self.person_id), "name": "Worker", "role": "worker"},
            "state": state,
            "is_drill": is_drill,
            "opened_at": rfc3339(self.opened_at),
        }
        await self.stage.publish(f"desk:{ORG}", "incident", body)


async def signed_in(stage: Stage, city: City, *, duty: str = "off") -> tuple[UUID, str]:
    worker_id = await city.worker(SLOT, duty=duty)
    return worker_id, stage.token(Role.WORKER, worker_id, slot=SLOT)


async def trail(stage: Stage, pool: Pool) -> list[int]:
    async def is_stored() -> bool:
        return not len(stage.gateway.trail)

    await eventually(is_stored)
    return [row["lat_e7"] for row in await pool.fetch("SELECT lat_e7 FROM trail WHERE slot = $1 ORDER BY at", SLOT)]


async def heard(stage: Stage, *, has_alarm: bool) -> None:
    async def is_so() -> bool:
        return stage.gateway.services.table.has_alarm(SLOT) == has_alarm

    await eventually(is_so)


async def is_in_cell(stage: Stage) -> bool:
    return SLOT in (await CellIndex(stage.redis).cell_members([CELL]))[CELL]


async def test_a_batch_from_before_duty_leaves_no_trace_and_one_of_since_goes_to_the_trail(
    stage: Stage, city: City, pool: Pool
) -> None:
    worker_id, token = await signed_in(stage, city, duty="on")
    since = utc_from_ms(stage.clock.now_ms() - 60_000)
    await pool.execute("UPDATE worker SET duty_since = $2 WHERE worker_id = $1", worker_id, since)
    now_ms = stage.clock.now_ms()
    async with phone_on(stage, token) as phone:
        await phone.send(1, 1, stage.fixes(NEAR))
        await phone.send(1, 2, stage.fixes(PORTO, at_ms=now_ms - 30_000) + stage.fixes(PORTO, at_ms=now_ms - 70_000))
        await phone.hear(2, where=lambda frame: frame[1] == 2)
        _, _, body = await phone.hear(6)
        record = (await CellIndex(stage.redis).records([SLOT]))[0]
    assert body == {"reasons": {"off_duty": 1}, "total": 1}
    assert record["lat_e7"] == round(NEAR[0] * 1e7), "a late fix never moves the present"
    assert await trail(stage, pool) == [round(PORTO[0] * 1e7), round(NEAR[0] * 1e7)]


async def test_a_duty_that_begins_on_the_open_connection_counts_from_then_on(
    stage: Stage, city: City, pool: Pool
) -> None:
    _, token = await signed_in(stage, city)
    async with phone_on(stage, token) as phone:
        before_ms = stage.clock.now_ms()
        await phone.send(4, 1, "duty", {"duty": "on"})
        await phone.hear(5)
        await city.relay(stage)
        await phone.hear(6, where=lambda frame: frame[1] == "duty")
        await phone.send(1, 1, stage.fixes(PORTO, at_ms=before_ms - 1) + stage.fixes(NEAR))
        await phone.hear(2)
    assert await trail(stage, pool) == [round(NEAR[0] * 1e7)]


@pytest.mark.parametrize("learns", ["by the desk's topic", "with the state"])
async def test_an_open_alarm_makes_fixes_off_duty_count(stage: Stage, city: City, pool: Pool, learns: str) -> None:
    worker_id, token = await signed_in(stage, city)
    alarm = Alarm(stage, pool, worker_id)
    if learns == "with the state":
        await alarm.store()
    async with phone_on(stage, token) as phone:
        await phone.hear(0)
        if learns == "by the desk's topic":
            await alarm.tell()
        await heard(stage, has_alarm=True)
        now_ms = stage.clock.now_ms()
        await phone.send(1, 1, stage.fixes(PORTO, at_ms=now_ms - 9_000) + stage.fixes(NEAR, at_ms=now_ms))
        await phone.hear(2)
        assert await trail(stage, pool) == [round(NEAR[0] * 1e7)], "from the alarm on, not from before it"
        assert await is_in_cell(stage)
        await alarm.tell("acknowledged")
        await phone.send(1, 2, stage.fixes(NEAR, at_ms=now_ms + 1_000))
        await phone.hear(2)
        assert len(await trail(stage, pool)) == 2
        await alarm.tell("closed")
        await heard(stage, has_alarm=False)
        await phone.send(1, 3, stage.fixes(NEAR, at_ms=now_ms + 2_000))
        await phone.hear(2)
    assert len(await trail(stage, pool)) == 2
    assert not await is_in_cell(stage)


async def test_a_drill_and_another_persons_alarm_track_nobody(stage: Stage, city: City, pool: Pool) -> None:
    worker_id, token = await signed_in(stage, city)
    async with phone_on(stage, token) as phone:
        await phone.hear(0)
        await Alarm(stage, pool, worker_id).tell(is_drill=True)
        await Alarm(stage, pool, uuid4()).tell()
        await stage.publish(f"user:{worker_id}", "booking.noted", {})
        await phone.hear(6, where=lambda frame: frame[1] == "booking.noted")
        await phone.send(1, 1, stage.fixes(PORTO))
        await phone.hear(2)
    assert await trail(stage, pool) == []


async def test_the_desk_sees_where_somebody_off_duty_calls_for_help(stage: Stage, city: City, pool: Pool) -> None:
    worker_id, token = await signed_in(stage, city)
    desk = {"token": stage.token(Role.DISPATCHER, await city.person(Role.DISPATCHER, "Ana"))}
    async with phone_on(stage, token) as phone, page_on(stage, "/console", desk) as console:
        await phone.hear(0)
        await Alarm(stage, pool, worker_id).tell()
        await heard(stage, has_alarm=True)
        await console.call("view", {"bbox": [-9, 41, -8, 42], "zoom": 14})
        await phone.send(1, 1, stage.fixes(PORTO))

        def shows(frame: Any) -> bool:
            rows = np.frombuffer(msgpack.unpackb(frame).get("rows", b""), MAP_ROW)
            return bool(((rows["slot"] == SLOT) & (rows["status"] == OFF_DUTY)).any())

        await console.hear("map", where=shows)


async def test_an_alarm_whose_worker_left_is_followed_to_its_end(stage: Stage, city: City, pool: Pool) -> None:
    worker_id, token = await signed_in(stage, city)
    alarm = await Alarm(stage, pool, worker_id).store()
    async with phone_on(stage, token) as phone:
        await heard(stage, has_alarm=True)
        await phone.send(1, 1, stage.fixes(PORTO))
        await phone.hear(2)
    counting = stage.gateway.services.counting
    await eventually(lambda: _followers(stage, worker_id))
    assert await is_in_cell(stage), "the last place stays for the desk"
    await pool.execute("UPDATE incident SET state = 'closed' WHERE incident_id = $1", alarm.incident_id)
    counting.interrupt()
    await counting.refresh()
    await heard(stage, has_alarm=False)

    async def is_gone() -> bool:
        return not await is_in_cell(stage)

    await eventually(is_gone)


async def _followers(stage: Stage, worker_id: UUID) -> bool:
    return not stage.gateway.services.counting._followers[PersonId(worker_id)]


async def test_the_phone_receives_the_same_bytes_with_and_without_an_alarm(
    stage: Stage, city: City, pool: Pool
) -> None:
    worker_id, token = await signed_in(stage, city)
    received = []
    for has_alarm in (False, True):
        alarm = Alarm(stage, pool, worker_id)
        if has_alarm:
            await alarm.store()
        async with phone_on(stage, token) as phone:
            received.append(await _an_evening(stage, phone, alarm, has_alarm=has_alarm))
        await stage.redis.flushall()
    assert received[0] == received[1]
    assert len(await trail(stage, pool)) == 2, "though the alarm made fixes count"


async def _an_evening(stage: Stage, phone: Phone, alarm: Alarm, *, has_alarm: bool) -> tuple[list[bytes], bytes]:
    """Welcome, good and bad fixes, an alarm under way; return what came, without the time of day.

    Refusals are told once a second: how they fall into reports is chance, what they say together is not.
    """
    frames: list[bytes] = []
    refused: Counter[str] = Counter()

    async def read_until(is_last: Callable[[list[Any]], bool]) -> None:
        while True:
            message = await phone.socket.receive(timeout=10)
            assert message.type is aiohttp.WSMsgType.BINARY
            frame = msgpack.unpackb(message.data)
            if frame[0] == 6:
                assert frame[1] == "fixes.refused"
                refused.update(frame[2]["reasons"])
            else:
                if frame[0] in {0, 5}:
                    frame[-1]["server_ms"] = 0
                frames.append(msgpack.packb(frame))
            if is_last(frame):
                return

    await read_until(lambda frame: frame[0] == 0)
    if has_alarm:
        await alarm.tell()
        await heard(stage, has_alarm=True)
    await phone.send(1, 1, stage.fixes(PORTO))
    await read_until(lambda frame: frame[:2] == [2, 1])
    await phone.send(1, 2, stage.fixes((0.0, 0.0)) + stage.fixes(NEAR, at_ms=stage.clock.now_ms() + 500))
    await read_until(lambda frame: frame[:2] == [2, 2])
    await phone.send(4, 9, "state", {})
    await read_until(lambda frame: frame[0] == 5)
    await read_until(lambda _: refused.total() >= 3)
    return frames, msgpack.packb(dict(refused))

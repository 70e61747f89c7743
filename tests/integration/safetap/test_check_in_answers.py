"""Answering "is all well?" by text message and over the sockets: a real gateway, SafeTap's door, a provider that signs.

The rules are those of `POST /v1/me/check-in` (tests/integration/api/test_check_in.py), which runs the same function.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import orjson
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from config.limits import PIN_ANSWER_MS
from engine.core.ids import PersonId
from engine.core.vocabulary import Role
from engine.people.passwords import hash_password
from engine.people.sealing import Sealed, person_key
from engine.safetap.channels.phone_api import PhoneAccount, PhoneApi
from engine.safetap.phone_doors import set_phone_door
from engine.safetap.silence.ask_sender import AskSender
from engine.safetap.silence.text_answer import TextAnswer, answer_in
from engine.safetap.silence.watch_loop import WatchLoop
from tests.conftest import TokenKeys
from tests.integration.gateway.harness import ORG, City, Stage, eventually, gateway_on, page_on, phone_on
from tests.integration.safetap.doors import CLOCK, OpenDoor, door_settings, open_door
from tests.peers.twilio import ACCOUNT, NUMBER, SECRET, FakeTwilio, open_twilio

pytestmark = pytest.mark.integration

SAFE, DURESS, WRONG = "1234", "4321", "9999"
SAFE_HASH, DURESS_HASH = hash_password(SAFE), hash_password(DURESS)
PHONE, OTHER_PHONE = "+351910000001", "+351910000002"
DECOY = "Your parcel is at the neighbours."
SILENT = (200, "<Response />")
AT = re.compile(r'"20\d\d-[^"]*"')
SLOT = 5


@dataclass
class Scene:
    """A worker at work at a customer's, whose phone has been silent for long."""

    stage: Stage
    door: OpenDoor
    twilio: FakeTwilio
    pool: asyncpg.Pool
    asks: AskSender
    worker: UUID
    customer: UUID
    booking_id: UUID

    async def rules(self, **rules: object) -> None:
        body = orjson.dumps({"check_in_every_s": 600, "watches_customers": True, **rules}).decode()
        await self.pool.execute(
            "INSERT INTO silence_policy VALUES ($1, $2, NULL, $3::text::jsonb, 1, now())", uuid4(), ORG, body
        )

    async def pins(self, *people: UUID) -> None:
        for person_id in people:
            await self.pool.execute(
                "INSERT INTO safety_pin VALUES ($1, $2, $3, now())", person_id, SAFE_HASH, DURESS_HASH
            )

    async def decoy(self, person_id: UUID, phone: str = PHONE) -> None:
        """Have them asked by their own words too; the number lies in its envelope, as the keeper leaves it."""
        async with self.pool.acquire() as conn:
            key = await person_key(conn, PersonId(person_id), now_ms=CLOCK.now_ms())
            await conn.execute(
                "UPDATE person SET phone = NULL, phone_sealed = ($2::sealed_text).sealed WHERE person_id = $1",
                person_id, Sealed(key, phone),
            )  # fmt: skip
            await conn.execute(
                "INSERT INTO safety_setup (person_id, contact_mode, decoy_text, updated_at) VALUES ($1, $2, $3, now())",
                person_id, "decoy", DECOY,
            )  # fmt: skip

    async def ask(self) -> None:
        """Let the time of a check-in come, for both of them, and their messages go out."""
        await self.ask_only()
        await self.asks.round()

    async def ask_only(self) -> None:
        for column in ("phase_since", "calm_at"):
            await self.pool.execute(f"UPDATE silence_watch SET {column} = {column} - interval '700 s'")
        await self.pool.execute("UPDATE silence_watch SET due_at = calm_at")
        await WatchLoop(pool=self.pool, new_id=uuid4).round()

    async def stage_of(self, person_id: UUID) -> str:
        return str(await self.pool.fetchval("SELECT stage FROM silence_watch WHERE person_id = $1", person_id))

    async def answered(self) -> list[tuple[int, str | None]]:
        """The rounds and signals that were answered."""
        rows = await self.pool.fetch(
            "SELECT round, signal FROM silence_event WHERE kind = 'answered' ORDER BY event_id"
        )
        return [(row["round"], row["signal"]) for row in rows]

    async def live(self) -> list[str]:
        """The kinds of the incidents that are open."""
        return [row["kind"] for row in await self.pool.fetch("SELECT kind FROM incident WHERE state <> 'closed'")]

    async def close(self) -> None:
        await self.pool.execute("UPDATE incident SET state = 'closed', closed_at = now(), close_reason = 'a test'")
        for table in ("incident_timer", "safetap_trigger"):
            await self.pool.execute(f"DELETE FROM {table}")

    async def post(self, door: aiohttp.ClientSession, body: dict[str, str]) -> int:
        """Answer as the worker at SafeTap's own door; return the status."""
        headers = {"Authorization": f"Bearer {self.token(self.worker)}"}
        async with door.post("/v1/safetap/check-in", json=body, headers=headers) as answer:
            return answer.status

    def token(self, person_id: UUID) -> str:
        if person_id == self.worker:
            return self.stage.token(Role.WORKER, person_id, slot=SLOT)
        return self.stage.token(Role.CUSTOMER, person_id)


@pytest.fixture
async def scene(
    redis: Redis, pool: asyncpg.Pool, token_keys: TokenKeys, tmp_path: Path, database_url: str, person_keys: Path
) -> AsyncIterator[Scene]:
    chosen = {"phone_account": ACCOUNT, "phone_secret": SecretStr(SECRET), "person_keys_file": person_keys}
    settings = door_settings(tmp_path, database_url, token_keys.public_pem).model_copy(update=chosen)
    city = await City(pool, CLOCK).found()
    worker, customer = await city.worker(SLOT), await city.person(Role.CUSTOMER, "Carla")
    async with (
        open_door(settings) as door,
        open_twilio(door_url=settings.safetap_url) as twilio,
        PhoneApi(PhoneAccount(twilio.url, ACCOUNT, SECRET, NUMBER), public_url=settings.safetap_url) as api,
        gateway_on(redis, pool, token_keys, tmp_path) as stage,
    ):
        booking_id = await city.booking(customer, state="in_progress", worker_id=worker)
        yield Scene(stage, door, twilio, pool, AskSender(pool=pool, api=api), worker, customer, booking_id)


Say = Any


@asynccontextmanager
async def speaking(scene: Scene, way: str) -> AsyncIterator[tuple[UUID, Say]]:
    """Yield who speaks by this way, and a function that sends an answer and returns what comes back."""
    if way == "raw":
        async with phone_on(scene.stage, scene.token(scene.worker)) as phone:
            await phone.hear(0)

            async def say(body: dict[str, object]) -> list[Any]:
                await phone.send(4, 7, "check.in", body)
                return (await phone.hear(5))[2:]

            yield scene.worker, patient(say)
        return
    person_id = scene.worker if way == "/worker" else scene.customer
    async with page_on(scene.stage, way, {"token": scene.token(person_id)}) as page:
        await page.hear("welcome")

        async def call(body: dict[str, object]) -> list[Any]:
            said = await page.call("check.in", body)
            return [said["ok"], said.get("result", said.get("error"))]

        yield person_id, patient(call)


def patient(say: Say) -> Say:
    """Send again what the door could not take in time, as a phone does: the machine may be busy."""

    async def until_taken(body: dict[str, object]) -> list[Any]:
        async with asyncio.timeout(60):
            while True:
                answer: list[Any] = await say(body)
                if answer[0] or answer[1]["code"] != "unavailable":
                    return answer

    return until_taken


async def test_over_sockets_both_pins_are_answered_alike_and_only_duress_rings(scene: Scene) -> None:
    await scene.rules(needs_pin=True)
    await scene.pins(scene.worker, scene.customer)
    for way in ("raw", "/worker", "/customer"):
        async with speaking(scene, way) as (person_id, say):
            await answers_alike(scene, person_id, say)
        incident = await scene.pool.fetchrow(
            "SELECT i.person_id, i.trust, t.door FROM incident i JOIN safetap_trigger t USING (incident_id)"
        )
        assert tuple(incident) == (person_id, "verified", "socket"), way
        await scene.close()


async def answers_alike(scene: Scene, person_id: UUID, say: Say) -> None:
    """Ask twice, answer with either PIN, and hold what comes back against one another."""
    seen = []
    for pin in (SAFE, DURESS):
        await scene.ask()
        assert await scene.stage_of(person_id) == "asked"
        assert (await say({}))[1]["field"] == "pin"
        assert (await say({"pin": WRONG}))[0] is False
        assert await scene.stage_of(person_id) == "asked", "neither calms"
        began_ns = CLOCK.steady_ns()
        seen.append(AT.sub('"at"', orjson.dumps(await say({"pin": pin})).decode()))
        assert (CLOCK.steady_ns() - began_ns) / 1e6 >= PIN_ANSWER_MS
        assert await scene.stage_of(person_id) == "calm"
        assert len(await scene.live()) == (pin == DURESS)
    assert seen[0] == seen[1]
    assert '"is_due":false' in seen[0]
    assert (await say({"booking_id": "x"}))[1]["field"] == "booking_id"


async def test_a_text_with_the_safe_pin_calms_and_with_the_duress_pin_rings_behind_the_same_silence(
    scene: Scene,
) -> None:
    await scene.rules(needs_pin=True)
    await scene.pins(scene.worker)
    await scene.decoy(scene.worker)
    await scene.ask()
    (asked,) = scene.twilio.messages
    assert (asked.to, asked.text) == (PHONE, DECOY)
    assert await scene.twilio.text_in(PHONE, "OK", sid="SM1") == SILENT
    assert await scene.twilio.text_in(PHONE, WRONG, sid="SM2") == SILENT
    assert await scene.twilio.text_in(OTHER_PHONE, SAFE, sid="SM3") == SILENT
    assert await scene.stage_of(scene.worker) == "asked", (
        "no PIN, a wrong one, or another's number: the question stands"
    )
    assert (await scene.twilio.text_in(PHONE, SAFE, sid="SM4", secret="forged"))[0] == 403
    assert await scene.stage_of(scene.worker) == "asked", "the provider has not signed it"
    assert await scene.twilio.text_in(PHONE, f" {SAFE}. ", sid="SM5") == SILENT
    assert await scene.stage_of(scene.worker) == "calm"
    assert await scene.live() == []

    await scene.ask()
    assert await scene.twilio.text_in(PHONE, SAFE, sid="SM5") == SILENT
    assert await scene.stage_of(scene.worker) == "asked", "a message that is handed on again answers no later question"
    for _ in range(2):
        assert await scene.twilio.text_in(PHONE, DURESS, sid="SM6") == SILENT
    assert await scene.stage_of(scene.worker) == "calm"
    assert await scene.live() == ["duress_pin"]
    trigger = await scene.pool.fetchrow("SELECT door, trust, person_id FROM safetap_trigger")
    assert tuple(trigger) == ("sms", "verified", scene.worker)
    assert await scene.answered() == [(1, "check_in_missed"), (2, "check_in_missed")]


async def test_whose_number_it_is_answers_and_of_two_people_whose_pin_it_says(scene: Scene) -> None:
    await scene.rules()
    async with scene.pool.acquire() as conn:
        await set_phone_door(
            conn, person_id=PersonId(scene.customer), phone=PHONE, word="Blue Heron", is_call_alarm=False,
            now_ms=CLOCK.now_ms(),
        )  # fmt: skip
    await scene.ask()

    async def is_answered() -> bool:  # the door reads the registration at its notification; nothing tells that it has
        assert await scene.twilio.text_in(PHONE, "Okay!", sid=uuid4().hex) == SILENT
        return await scene.stage_of(scene.customer) == "calm"

    await eventually(is_answered, timeout_s=20)
    assert scene.twilio.messages == [], "nobody wrote to this number"
    assert await scene.stage_of(scene.worker) == "asked"
    assert await scene.twilio.text_in(PHONE, "blue heron", sid="SM1") == SILENT
    assert await scene.live() == ["button"], "their word stays an alarm"

    await scene.close()
    await scene.pins(scene.worker)
    other_pin = hash_password("7777")
    await scene.pool.execute(
        "INSERT INTO safety_pin VALUES ($1, $2, $3, now())", scene.customer, other_pin, DURESS_HASH
    )
    for person_id in (scene.worker, scene.customer):
        await scene.decoy(person_id, OTHER_PHONE)
    await scene.pool.execute("UPDATE silence_watch SET stage = 'calm', signal = NULL, asked_at = NULL")
    await scene.ask()
    assert await scene.twilio.text_in(OTHER_PHONE, "ok", sid="SM2") == SILENT
    assert (await scene.stage_of(scene.worker), await scene.stage_of(scene.customer)) == ("asked", "asked")
    assert await scene.twilio.text_in(OTHER_PHONE, "7777", sid="SM3") == SILENT
    assert (await scene.stage_of(scene.worker), await scene.stage_of(scene.customer)) == ("asked", "calm")


async def test_a_tap_is_enough_where_no_pin_is_wanted_and_of_many_answers_one_counts(scene: Scene) -> None:
    await scene.rules()
    await scene.pins(scene.worker)
    await scene.decoy(scene.worker)
    await scene.ask()
    async with speaking(scene, "/customer") as (person_id, say):
        is_ok, said = await say({"booking_id": str(scene.booking_id)})
    assert (is_ok, [one["is_due"] for one in said["items"]]) == (True, [False])
    assert (await scene.stage_of(person_id), await scene.stage_of(scene.worker)) == ("calm", "asked")

    async with speaking(scene, "raw") as (_, raw):
        answers = await asyncio.gather(
            scene.twilio.text_in(PHONE, SAFE, sid="SM1"),
            scene.twilio.text_in(PHONE, "ok", sid="SM2"),
            raw({}),
            scene.post(scene.door.by_port, {"pin": SAFE}),
            scene.post(scene.door.by_socket, {}),
        )
    assert [answers[:2], answers[2][0], answers[3:]] == [[SILENT, SILENT], True, [200, 200]]
    assert [one for one in await scene.answered() if one[1] is not None] == [(1, "check_in_missed")] * 2
    assert await scene.stage_of(scene.worker) == "calm"
    assert await scene.live() == []


class LosesOneLine:
    """A pool that loses the line to Postgres behind the first message that was sent."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.acquire = pool.acquire
        self._pool = pool
        self.lost = 0

    async def execute(self, *arguments: Any) -> str:
        if not self.lost:
            self.lost += 1
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return str(await self._pool.execute(*arguments))


async def test_a_line_that_is_lost_behind_a_question_ends_nothing(scene: Scene) -> None:
    """The process that asks sends every notice too: it must not go because of one message."""
    pool: Any = LosesOneLine(scene.pool)
    scene.asks = AskSender(pool=pool, api=scene.asks._api)
    await scene.rules()
    await scene.decoy(scene.worker)
    running = asyncio.create_task(scene.asks.run(CLOCK))
    try:
        await scene.ask_only()
        await eventually(lambda: pool.lost == 1)
        await scene.pool.execute("UPDATE silence_ask SET lease_until = NULL")
        async with asyncio.timeout(10):
            while await scene.pool.fetchval("SELECT state FROM silence_ask") != "sent":
                assert not running.done(), running
                await CLOCK.sleep_ms(20)
    finally:
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("ok", TextAnswer(None)), ("  Okay. ", TextAnswer(None)), ("1234", TextAnswer("1234")),
        ("(12345678)", TextAnswer("12345678")), ("123", None), ("123456789", None), ("ok 1234", None), ("", None),
        ("no", None), ("١٢٣٤", None),
    ],
)  # fmt: skip
def test_what_a_message_answers(text: str, answer: TextAnswer | None) -> None:
    assert answer_in(text) == answer

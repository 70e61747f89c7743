"""Doors for a locked phone, each by what really comes in: a provider's signed request, a button's, a Shortcut's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from config.limits import TRACKER_ALARM_MS
from engine.core.ids import PersonId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Channel
from engine.safetap.alarm_id import alarm_id
from engine.safetap.button_secret import button_secret
from engine.safetap.desk import close
from engine.safetap.key_table import KeyTable
from engine.safetap.phone_doors import PhoneDoors, set_phone_door
from engine.safetap.reply_codes import allot_code, random_code
from engine.safetap.trigger_keys import add_trigger_key, new_secret
from safetap_door import __main__ as composition
from tests.conftest import TokenKeys
from tests.integration.safetap.doors import CLOCK, OpenDoor, door_settings, open_door
from tests.integration.safetap.senders import add_notice
from tests.integration.safetap.world import World
from tests.peers.twilio import ACCOUNT, SECRET, FakeTwilio, open_twilio
from tests.servers import named

MASTER = "test master secret, thirty-two characters"
PHONE = "+351910000001"
RESPONDER = "+351910000002"
STRANGER = "+351910000003"
DOOR = "safetap_door"
"""How the door's connections call themselves."""
SILENT = (200, "<Response />")
Kept = TypeVar("Kept", PhoneDoors, KeyTable)
BUSY = (200, '<Response><Reject reason="busy" /></Response>')


@dataclass
class Street:
    """A door, a provider, and what happened."""

    world: World
    door: OpenDoor
    twilio: FakeTwilio
    phones: PhoneDoors
    keys: KeyTable

    async def registers(self, person_id: PersonId, *, phone: str = PHONE, calls: bool = False) -> None:
        """Register a number with the word `blue heron`, and wait until the door knows it."""
        async with self.world.pool.acquire() as conn:
            await set_phone_door(
                conn, person_id=person_id, phone=phone, word="Blue Heron", is_call_alarm=calls, now_ms=CLOCK.now_ms()
            )
        await until(lambda: any(one.person_id == person_id for one in self.phones.of(phone)))

    async def key(self, person_id: PersonId) -> tuple[UUID, str]:
        """Give somebody a trigger key, and wait until the door knows it."""
        key_id, secret = uuid4(), new_secret()
        async with self.world.pool.acquire() as conn, conn.transaction():
            await add_trigger_key(
                conn, key_id=key_id, secret=secret, org_id=self.world.org_id, owner_id=person_id, label="",
                now_ms=CLOCK.now_ms(),
            )  # fmt: skip
        await until(lambda: self.keys.with_id(key_id) is not None)
        return key_id, secret

    async def triggers(self) -> list[asyncpg.Record]:
        return list(await self.world.pool.fetch("SELECT * FROM safetap_trigger ORDER BY received_at"))

    async def press(self, key_id: UUID, body: bytes, *, master: str = MASTER) -> tuple[int, dict[str, object]]:
        now_ms = CLOCK.now_ms()
        headers = {
            "webhook-id": "press",
            "webhook-timestamp": str(now_ms // 1_000),
            "webhook-signature": Webhook(button_secret(master, key_id)).sign(
                "press", utc_from_ms(now_ms), body.decode()
            ),
        }
        path = f"/v1/safetap/doors/button?key={key_id}"
        async with self.door.by_port.post(path, data=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def shortcut(self, authorization: str, body: bytes) -> tuple[int, dict[str, object]]:
        headers = {"Authorization": authorization}
        async with self.door.by_port.post("/v1/safetap/doors/shortcut", data=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)


@pytest.fixture
async def street(
    tmp_path: Path, database_url: str, token_keys: TokenKeys, world: World, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Street]:
    phones = built_by_the_door(monkeypatch, PhoneDoors)
    keys = built_by_the_door(monkeypatch, KeyTable)
    chosen = {"phone_account": ACCOUNT, "phone_secret": SecretStr(SECRET), "webhook_secret": SecretStr(MASTER)}
    settings = door_settings(tmp_path, database_url, token_keys.public_pem).model_copy(update=chosen)
    async with open_door(settings) as door, open_twilio(door_url=settings.safetap_url) as twilio:
        yield Street(world, door, twilio, phones[-1], keys[-1])


def built_by_the_door(monkeypatch: pytest.MonkeyPatch, kind: type[Kept]) -> list[Kept]:
    """Let the door's composition root leave what it makes of a kind where a test can ask it."""
    built: list[Kept] = []

    def build(**parts: Any) -> Kept:
        built.append(kind(**parts))
        return built[-1]

    monkeypatch.setattr(composition, kind.__name__, build)
    return built


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what the door reads when it is notified."""
    async with asyncio.timeout(20):
        while not holds():
            await CLOCK.sleep_ms(10)


async def eventually(count: Callable[[], Awaitable[int]], expected: int) -> None:
    """Wait for what the unverified lane commits after its answer."""
    async with asyncio.timeout(10):
        while await count() < expected:
            await CLOCK.sleep_ms(20)
    assert await count() == expected


async def test_a_text_with_the_word_is_an_alarm_and_makes_no_sound(street: Street) -> None:
    await street.registers(street.world.worker)
    answers = [await street.twilio.text_in(PHONE, "blue heron, please hurry") for _ in range(2)]
    assert answers == [SILENT, SILENT]
    trigger = (await street.triggers())[0]
    assert (trigger["door"], trigger["trust"], trigger["person_id"]) == ("sms", "verified", street.world.worker)
    assert (await street.world.incident())["booking_id"] == street.world.booking_id


async def test_a_text_without_the_word_is_marked_and_not_dropped(street: Street) -> None:
    await street.registers(street.world.worker)
    assert await street.twilio.text_in(PHONE, "heron blue") == SILENT

    async def incidents() -> int:
        return int(await street.world.pool.fetchval("SELECT count(*) FROM incident"))

    await eventually(incidents, 1)
    assert (await street.world.incident())["trust"] == "unverified"


async def test_an_unknown_number_is_kept_for_the_desk_to_see(street: Street) -> None:
    assert await street.twilio.text_in(STRANGER, "blue heron") == SILENT
    assert await street.twilio.call_in("+351910000004") == BUSY

    async def orphans() -> int:
        return int(await street.world.pool.fetchval("SELECT count(DISTINCT door) FROM orphan_trigger"))

    await eventually(orphans, 2)
    assert STRANGER not in str(await street.world.pool.fetch("SELECT * FROM orphan_trigger"))
    assert await street.triggers() == []


async def test_what_the_provider_has_not_signed_is_refused(street: Street) -> None:
    await street.registers(street.world.worker)
    assert (await street.twilio.text_in(PHONE, "blue heron", secret="other"))[0] == 403
    assert await street.triggers() == []


@pytest.mark.parametrize(("calls", "trust"), [(True, "verified"), (False, "unverified")])
async def test_a_call_counts_in_full_for_who_chose_that(street: Street, calls: bool, trust: str) -> None:
    await street.registers(street.world.customer, calls=calls)
    assert await street.twilio.call_in(PHONE) == BUSY

    async def incidents() -> int:
        return int(await street.world.pool.fetchval("SELECT count(*) FROM incident"))

    await eventually(incidents, 1)
    incident = await street.world.incident()
    assert (incident["trust"], incident["person_id"]) == (trust, street.world.customer)


async def test_a_responders_code_acknowledges_and_their_other_words_raise_nothing(street: Street) -> None:
    target = f"person:{street.world.dispatcher}"
    notice_id = await add_notice(street.world, Channel.SMS, RESPONDER, target=target)
    await street.world.pool.execute("UPDATE notice SET state = 'sent', attempts = 1")
    waiting_id = await add_notice(street.world, Channel.SMS, RESPONDER, target=target, loop=1)
    incident_id = (await street.world.incident())["incident_id"]
    async with street.world.pool.acquire() as conn:
        code = await allot_code(
            conn,
            incident_id=incident_id,
            phone=RESPONDER,
            target=target,
            now_ms=CLOCK.now_ms(),
            new_code=lambda: "4711",
        )
    assert code == "4711"
    assert await street.twilio.text_in(RESPONDER, "on my way") == SILENT
    assert await street.twilio.text_in(RESPONDER, "ACK 4712") == SILENT
    assert await street.twilio.text_in(STRANGER, "ACK 4711") == SILENT
    assert (await street.world.incident())["state"] == "open"
    assert await street.twilio.text_in(RESPONDER, "ack 4711") == SILENT
    incident = await street.world.incident()
    assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", street.world.dispatcher)
    assert await street.world.pool.fetchval("SELECT delivery FROM notice WHERE notice_id = $1", notice_id) == "read"
    state = await street.world.pool.fetchval("SELECT state FROM notice WHERE notice_id = $1", waiting_id)
    assert state == "pending", "nobody can have read what was not sent"
    assert await street.world.pool.fetchval("SELECT count(*) FROM wrong_reply") == 2
    assert await street.world.pool.fetchval("SELECT count(*) FROM orphan_trigger") == 0


@pytest.mark.parametrize(("begun", "read"), [(1, ["read"]), (2, [None, None])])
async def test_an_answer_to_what_was_not_recorded_counts_for_a_message_only_where_there_is_one(
    street: Street, begun: int, read: list[str | None]
) -> None:
    """Senders died over them: of two, one may never have left, and must not pass for sent."""
    target = f"person:{street.world.dispatcher}"
    for loop in range(begun):
        await add_notice(street.world, Channel.SMS, RESPONDER, target=target, loop=loop)
    await street.world.pool.execute("UPDATE notice SET attempts = 1 WHERE channel = 'sms'")
    incident_id = (await street.world.incident())["incident_id"]
    async with street.world.pool.acquire() as conn:
        code = await allot_code(
            conn, incident_id=incident_id, phone=RESPONDER, target=target, now_ms=CLOCK.now_ms(), new_code=random_code
        )
    assert await street.twilio.text_in(RESPONDER, f"ACK {code}") == SILENT
    assert (await street.world.incident())["state"] == "acknowledged"
    notices = await street.world.pool.fetch("SELECT state, delivery FROM notice WHERE channel = 'sms'")
    assert [one["delivery"] for one in notices] == read
    assert [one["state"] for one in notices] == ["pending" if each is None else "sent" for each in read]


async def test_a_number_that_guesses_is_not_listened_to(street: Street) -> None:
    target = f"person:{street.world.dispatcher}"
    await add_notice(street.world, Channel.SMS, RESPONDER, target=target)
    incident_id = (await street.world.incident())["incident_id"]
    async with street.world.pool.acquire() as conn:
        await allot_code(
            conn,
            incident_id=incident_id,
            phone=RESPONDER,
            target=target,
            now_ms=CLOCK.now_ms(),
            new_code=lambda: "4711",
        )
    for guess in range(5):
        await street.twilio.text_in(RESPONDER, f"ACK {guess:04d}")
    assert await street.twilio.text_in(RESPONDER, "ACK 4711") == SILENT
    assert (await street.world.incident())["state"] == "open"


async def test_a_button_signs_and_a_replay_is_the_same_alarm(street: Street) -> None:
    key_id, _secret = await street.key(street.world.worker)
    status, said = await street.press(key_id, b'{"battery": 80}')
    assert (status, said["state"]) == (200, "committed")
    assert said["trigger_id"] in {str(alarm_id(str(key_id), CLOCK.now_ms() - ago)) for ago in (0, 60_000)}
    (trigger,) = await street.triggers()
    assert (trigger["door"], trigger["trust"]) == ("button", "verified")
    assert (await street.press(key_id, b"{}", master="forged"))[1]["state"] == "received"
    assert (await street.press(uuid4(), b"{}"))[1]["state"] == "received"


async def test_a_shortcut_needs_no_body_and_sends_numbers_as_text(street: Street) -> None:
    _key_id, secret = await street.key(street.world.worker)
    for body in (b"", b"not json", b'{"fix": {"lat": "41,15", "lng": "-8.61", "ts_ms": "1700000000000"}}'):
        status, said = await street.shortcut(f"Trigger-Key {secret}", body)
        assert (status, said["state"]) == (200, "committed")
    chosen = str(uuid4())
    body = orjson.dumps({"trigger_id": chosen, "fix": {"lat": "41,15", "lng": -8.61, "ts_ms": "1700000000000"}})
    assert (await street.shortcut(f"Trigger-Key {secret}", body))[1]["trigger_id"] == chosen
    incident = await street.world.incident()
    assert (incident["lat"], incident["lng"]) == (41.15, -8.61)
    assert {row["door"] for row in await street.triggers()} == {"shortcut"}


async def test_a_shortcut_with_a_wrong_key_or_with_none_is_kept(street: Street) -> None:
    assert (await street.shortcut("Trigger-Key " + new_secret(), b""))[1]["state"] == "received"
    assert (await street.shortcut("", b""))[1]["state"] == "received"


@asynccontextmanager
async def postgres_away(database_url: str) -> AsyncIterator[None]:
    """Cut the door's connections and take no new ones."""
    name = urlsplit(database_url).path.lstrip("/")
    elsewhere = await asyncpg.connect(named(database_url, "postgres"))
    try:
        await elsewhere.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        await elsewhere.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND datname = $2",
            DOOR,
            name,
        )
        yield
    finally:
        await elsewhere.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
        await elsewhere.close()


async def test_the_word_counts_while_postgres_is_away_and_a_code_is_asked_for_again(
    street: Street, database_url: str
) -> None:
    await street.registers(street.world.worker)
    async with postgres_away(database_url):
        assert await street.twilio.text_in(PHONE, "blue heron") == SILENT
        assert await street.triggers() == []
        assert (await street.twilio.text_in(RESPONDER, "ACK 4711"))[0] == 503

    async def committed() -> int:
        return len(await street.triggers())

    await eventually(committed, 1)
    assert (await street.triggers())[0]["trust"] == "verified"


async def test_digits_that_nobody_waits_for_are_marked_and_not_dropped(street: Street) -> None:
    """Somebody types a PIN instead of their word: four digits are a responder's answer from a responder alone."""
    await street.world.pool.execute("DELETE FROM silence_watch")  # off the job: no question is there to be answered
    await street.registers(street.world.worker)
    assert await street.twilio.text_in(PHONE, "4321") == SILENT

    async def incidents() -> int:
        return int(await street.world.pool.fetchval("SELECT count(*) FROM incident"))

    await eventually(incidents, 1)
    incident = await street.world.incident()
    assert (incident["trust"], incident["person_id"]) == ("unverified", street.world.worker)


async def test_an_alarm_within_the_minute_of_a_drill_is_an_alarm(street: Street) -> None:
    _key_id, secret = await street.key(street.world.worker)
    await not_at_the_end_of_a_minute()
    assert (await street.shortcut(f"Trigger-Key {secret}", b'{"kind": "drill"}'))[1]["state"] == "committed"
    assert (await street.world.incident())["is_drill"]
    assert (await street.shortcut(f"Trigger-Key {secret}", b""))[1]["state"] == "committed"
    incident = await street.world.incident()
    assert (incident["is_drill"], incident["kind"]) == (False, "button")


async def test_an_alarm_within_the_minute_of_one_that_was_closed_is_another(street: Street) -> None:
    """An incident may be closed under somebody's eyes seconds after the press, and they press again."""
    world = street.world
    _key_id, secret = await street.key(world.worker)
    await not_at_the_end_of_a_minute()
    await street.registers(world.worker)
    raise_again: list[Callable[[], Awaitable[object]]] = [
        lambda: street.shortcut(f"Trigger-Key {secret}", b""),
        lambda: street.twilio.text_in(PHONE, "blue heron"),
    ]
    for number, press in enumerate(raise_again):
        await press()
        await close_all(world)
        await press()
        assert await world.pool.fetchval("SELECT count(*) FROM incident WHERE state = 'open'") == 1, number
        await close_all(world)


async def not_at_the_end_of_a_minute() -> None:
    """Wait where the test could see two minutes."""
    while CLOCK.now_ms() % TRACKER_ALARM_MS > TRACKER_ALARM_MS - 5_000:
        await CLOCK.sleep_ms(100)


async def close_all(world: World) -> None:
    async with world.pool.acquire() as conn:
        for row in await conn.fetch("SELECT incident_id FROM incident WHERE state <> 'closed'"):
            await close(
                conn,
                incident_id=row["incident_id"],
                actor=world.principal(world.dispatcher),
                reason="false alarm",
                now_ms=CLOCK.now_ms(),
            )

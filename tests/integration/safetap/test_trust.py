"""Who is believed: security lines 1 to 3 of alarms, through real HTTP and a real Postgres. Line 4: `bench.safetap`."""

import asyncio
import base64
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from config.limits import (
    ACCESS_TOKEN_MS,
    TRIGGER_KEYS_PER_PERSON_MAX,
    UNVERIFIED_ANSWER_MS,
    UNVERIFIED_PER_SOURCE_BURST,
)
from engine.core.ids import PersonId
from engine.core.units import utc_from_ms
from engine.people.tokens import AccessTokens
from engine.safetap.metrics import UNVERIFIED
from engine.safetap.trigger import TokenState, TriggerFix
from engine.safetap.trigger_keys import add_trigger_key, list_trigger_keys, new_secret, revoke_trigger_key, signing_key
from engine.safetap.trigger_store import store_trigger, store_triggers
from engine.safetap.unverified import list_orphans
from tests.integration.safetap.doors import CLOCK, OpenDoor
from tests.integration.safetap.world import NOW_MS, World


def trigger(**fields: object) -> dict[str, object]:
    return {"trigger_id": str(uuid4()), "kind": "button", **fields}


@pytest.fixture
def forger() -> AccessTokens:
    """Signs like us, with a key that is not ours."""
    key = Ed25519PrivateKey.generate()
    return AccessTokens(
        private_key_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        public_key_pem=key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


async def issue_key(world: World, person_id: PersonId | None = None) -> tuple[UUID, str]:
    key_id, secret = uuid4(), new_secret()
    async with world.pool.acquire() as conn, conn.transaction():
        await add_trigger_key(
            conn, key_id=key_id, secret=secret, org_id=world.org_id, owner_id=person_id or world.worker, label="phone",
            now_ms=CLOCK.now_ms(),
        )  # fmt: skip
    return key_id, secret


async def revoke(world: World, key_id: UUID) -> None:
    async with world.pool.acquire() as conn, conn.transaction():
        await revoke_trigger_key(
            conn, key_id, org_id=world.org_id, owner_id=None, actor_id=world.admin, now_ms=CLOCK.now_ms()
        )


def by_secret(secret: str) -> dict[str, str]:
    return {"Authorization": f"Trigger-Key {secret}"}


def by_signature(key_id: UUID, secret: str, body: bytes) -> dict[str, str]:
    signature = base64.urlsafe_b64encode(signing_key(secret).sign(body)).decode().rstrip("=")
    return {"Authorization": f"Trigger-Signature {key_id}.{signature}"}


async def rows(world: World, table: str, *, count: int) -> list[asyncpg.Record]:
    """The rows of a table once there are so many: nobody is told when an unverified trigger is stored."""
    async with asyncio.timeout(10):
        while len(found := await world.pool.fetch(f"SELECT * FROM {table}")) < count:
            await CLOCK.sleep_ms(20)
    assert len(found) == count
    return found


# ---------------------------------------------------------------- line 1: signed per device, replay is one incident
async def test_line_1_a_device_signs_and_its_replay_gets_the_same_answer_and_one_incident(
    door: OpenDoor, world: World
) -> None:
    key_id, secret = await issue_key(world)
    body = orjson.dumps(trigger())
    headers = by_signature(key_id, secret, body)
    answers = await asyncio.gather(*(door.trigger("", body, headers=headers) for _ in range(6)))
    assert {status for status, _ in answers} == {200}
    assert all(answer == answers[0][1] for _, answer in answers)
    (row,) = await world.pool.fetch("SELECT * FROM safetap_trigger")
    assert (row["person_id"], row["token_state"], row["trust"]) == (world.worker, "key", "verified")
    assert (await world.incident())["severity"] == 1


async def test_line_1_a_signature_is_good_for_its_own_body_alone(door: OpenDoor, world: World) -> None:
    key_id, secret = await issue_key(world)
    headers = by_signature(key_id, secret, orjson.dumps(trigger()))
    status, answer = await door.trigger("", orjson.dumps(trigger()), headers=headers)
    assert (status, answer["state"]) == (202, "received")
    (row,) = await rows(world, "safetap_trigger", count=1)
    assert (row["person_id"], row["token_state"], row["trust"]) == (world.worker, "forged", "unverified")


async def test_line_1_a_key_can_be_shown_by_who_cannot_sign(door: OpenDoor, world: World) -> None:
    _, secret = await issue_key(world, world.customer)
    for through_socket in (False, True):
        status, answer = await door.trigger("", trigger(), headers=by_secret(secret), through_socket=through_socket)
        assert (status, answer["state"]) == (200, "committed")
    assert (await world.incident())["person_id"] == world.customer


# ---------------------------------------------------------------- line 2: forged senders have a lane of their own
async def test_line_2_a_forged_token_makes_a_marked_incident_that_holds_nobody_back(
    door: OpenDoor, world: World, forger: AccessTokens
) -> None:
    forged = world.token(forger, world.worker, now_ms=CLOCK.now_ms())
    body = trigger()
    for _ in range(2):
        assert await door.trigger(forged, body) == (202, {"trigger_id": body["trigger_id"], "state": "received"})
    (row,) = await rows(world, "safetap_trigger", count=1)
    assert (row["token_state"], row["trust"]) == ("forged", "unverified")
    incident = await world.incident()
    assert (incident["person_id"], incident["trust"], incident["state"]) == (world.worker, "unverified", "open")
    assert await world.pool.fetchval("SELECT count(*) FROM safety_hold") == 0
    assert await world.pool.fetchval("SELECT count(*) FROM incident_timer") == 1


async def test_line_2_what_nobody_can_be_told_from_is_kept_for_the_desk(
    door: OpenDoor, world: World, forger: AccessTokens
) -> None:
    ghost = World(world.pool)
    other = await World(world.pool).build()
    forged = ghost.token(forger, ghost.worker, now_ms=CLOCK.now_ms())
    await door.trigger("nonsense", trigger(booking_id=str(world.booking_id)))
    await door.trigger(forged, trigger(fix={"lat": 41.1, "lng": -8.6, "ts_ms": CLOCK.now_ms()}))
    await rows(world, "orphan_trigger", count=2)
    async with world.pool.acquire() as conn:
        ours = await list_orphans(conn, org_id=world.org_id, after=None, limit=10)
        theirs = await list_orphans(conn, org_id=other.org_id, after=None, limit=10)
    assert len(ours) == 2
    assert [orphan.body["booking_id"] for orphan in theirs] == [None]
    assert await world.pool.fetchval("SELECT count(*) FROM incident") == 0


async def test_line_2_a_flood_of_one_source_is_counted_and_answered_like_the_rest(
    door: OpenDoor, world: World, tokens: AccessTokens
) -> None:
    worker = world.token(tokens, world.worker, now_ms=CLOCK.now_ms())
    flood, refused_before = UNVERIFIED_PER_SOURCE_BURST * 3, refused()

    async def forged(number: int) -> tuple[int, frozenset[str], int]:
        started_ns = CLOCK.steady_ns()
        status, answer = await door.trigger(f"forged-{number}", trigger())
        assert answer["state"] == "received"
        return status, frozenset(answer), (CLOCK.steady_ns() - started_ns) // 1_000_000

    answers, real = await asyncio.gather(
        asyncio.gather(*(forged(number) for number in range(flood))), door.trigger(worker, trigger())
    )
    assert real[0] == 200
    assert {answer[:2] for answer in answers} == {(202, frozenset({"trigger_id", "state"}))}
    assert min(took_ms for *_, took_ms in answers) >= UNVERIFIED_ANSWER_MS - 1
    kept = flood - (refused() - refused_before)
    assert UNVERIFIED_PER_SOURCE_BURST <= kept < flood
    await rows(world, "orphan_trigger", count=kept)
    async with door.by_port.get("/metrics") as answer:
        assert 'clenzy_safetap_unverified_total{why="too_many"}' in await answer.text()


def refused() -> int:
    """How many triggers this process has not kept so far: it is said before they are answered."""
    return int(UNVERIFIED.labels("too_many")._value.get())


async def test_line_2_nobody_unverified_changes_a_verified_incident(world: World) -> None:
    lie = TriggerFix(10.0, 10.0, 1.0, NOW_MS + 60_000)
    async with world.pool.acquire() as conn:
        incident_id = await store_trigger(conn, world.received(), new_id=uuid4)
        await conn.execute("UPDATE incident SET state = 'acknowledged'")
        forged = world.received(fix=lie, token_state=TokenState.FORGED)
        assert await store_trigger(conn, forged, new_id=uuid4) == incident_id
    incident = await world.incident()
    assert (incident["trust"], incident["severity"], incident["state"]) == ("verified", 1, "acknowledged")
    assert (incident["lat"], incident["lng"]) == (41.15, -8.61)
    assert await world.events() == ["triggered", "retriggered"]


async def test_line_2_a_verified_trigger_makes_an_unverified_incident_verified(world: World) -> None:
    lie = TriggerFix(10.0, 10.0, 1.0, NOW_MS + 3_600_000)
    async with world.pool.acquire() as conn:
        await store_trigger(conn, world.received(fix=lie, token_state=TokenState.FORGED), new_id=uuid4)
        assert await conn.fetchval("SELECT count(*) FROM safety_hold") == 0
        await store_trigger(conn, world.received(), new_id=uuid4)
    incident = await world.incident()
    assert (incident["trust"], incident["lat"], incident["booking_id"]) == ("verified", 41.15, world.booking_id)
    assert await world.pool.fetchval("SELECT count(*) FROM safety_hold") == 1


async def test_line_2_the_same_trigger_that_comes_again_verified_is_vouched_for(world: World) -> None:
    trigger_id = uuid4()
    async with world.pool.acquire() as conn:
        unchecked = world.received(trigger_id=trigger_id, token_state=TokenState.UNCHECKED)
        first = await store_trigger(conn, unchecked, new_id=uuid4)
        for _ in range(2):
            assert await store_trigger(conn, world.received(trigger_id=trigger_id), new_id=uuid4) == first
    (row,) = await world.pool.fetch("SELECT * FROM safetap_trigger")
    assert (row["trust"], row["token_state"]) == ("verified", "valid")
    assert (await world.incident())["trust"] == "verified"
    assert await world.events() == ["triggered", "vouched"]


# ---------------------------------------------------------------- line 3: expired is accepted, revoked is marked
async def test_line_3_an_expired_token_is_accepted_and_marked(
    door: OpenDoor, world: World, tokens: AccessTokens
) -> None:
    old = world.token(tokens, world.customer, now_ms=CLOCK.now_ms() - 30 * ACCESS_TOKEN_MS)
    status, answer = await door.trigger(old, trigger())
    assert (status, answer["state"]) == (200, "committed")
    (row,) = await world.pool.fetch("SELECT * FROM safetap_trigger")
    assert (row["token_state"], row["trust"]) == ("expired", "verified")


async def test_line_3_a_token_from_before_a_revocation_is_taken_and_marked(
    door: OpenDoor, world: World, tokens: AccessTokens
) -> None:
    token = world.token(tokens, world.worker, now_ms=CLOCK.now_ms())
    await world.pool.execute("UPDATE person SET tokens_valid_after = $1", utc_from_ms(CLOCK.now_ms() + 1_000))
    assert (await door.trigger(token, trigger()))[0] == 200
    (row,) = await world.pool.fetch("SELECT * FROM safetap_trigger")
    assert (row["token_state"], row["trust"]) == ("revoked", "unverified")


async def test_line_3_a_revoked_key_falls_into_the_unverified_lane(door: OpenDoor, world: World) -> None:
    key_id, secret = await issue_key(world)
    assert (await door.trigger("", trigger(), headers=by_secret(secret)))[0] == 200
    await revoke(world, key_id)
    async with asyncio.timeout(10):  # until the door has heard of it
        while (await door.trigger("", trigger(), headers=by_secret(secret)))[0] == 200:
            await CLOCK.sleep_ms(20)
    async with asyncio.timeout(10):
        while await world.pool.fetchval("SELECT count(*) FROM safetap_trigger WHERE token_state = 'revoked'") == 0:
            await CLOCK.sleep_ms(20)
    assert (await world.incident())["trust"] == "verified"  # by the first one


async def test_a_ninth_key_ends_the_oldest(world: World) -> None:
    key_ids = [(await issue_key(world))[0] for _ in range(TRIGGER_KEYS_PER_PERSON_MAX + 1)]
    async with world.pool.acquire() as conn:
        live = await list_trigger_keys(conn, world.worker)
    assert {key.key_id for key in live} == set(key_ids[1:])


# ---------------------------------------------------------------- many in one transaction
async def test_many_people_in_one_transaction_are_as_good_as_one_by_one(world: World) -> None:
    others = [await World(world.pool).build() for _ in range(3)]
    worlds = [world, *others]
    batch = [one.received() for one in worlds] + [world.received(), world.received(PersonId(uuid4()))]
    async with world.pool.acquire() as conn:
        incident_ids = await store_triggers(conn, batch, new_id=uuid4)
        assert await store_triggers(conn, batch, new_id=uuid4) == incident_ids
    assert incident_ids[:4] == [one.incident_id for one in batch[:4]]
    assert incident_ids[4] == incident_ids[0]
    assert incident_ids[5] is None
    assert [(await one.incident())["severity"] for one in worlds] == [2, 1, 1, 1]


async def test_batches_of_the_same_people_in_any_order_do_not_stand_in_each_others_way(world: World) -> None:
    worlds = [world, *[await World(world.pool).build() for _ in range(3)]]

    async def press(order: list[World]) -> None:
        async with world.pool.acquire() as conn:
            await store_triggers(conn, [one.received() for one in order], new_id=uuid4)

    async with asyncio.timeout(10):
        await asyncio.gather(*(press(worlds[n % 4 :] + worlds[: n % 4]) for n in range(12)))
    assert await world.pool.fetchval("SELECT count(*) FROM safetap_trigger") == 48
    assert await world.pool.fetchval("SELECT count(*) FROM incident") == 4

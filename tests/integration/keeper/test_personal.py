"""The keeper seals what lies in the clear, and deletes what a country lets be kept no longer, unless it is held."""

from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from config.jurisdictions import ELSEWHERE, Jurisdictions, load_jurisdictions
from engine.core.database import Connection
from engine.core.errors import NotAllowed
from engine.core.ids import IncidentId, PersonId
from engine.core.units import MS_PER_DAY, utc_from_ms
from engine.people.legal_holds import Held, lift_hold, set_hold
from engine.run_keeper import PersonalKeeper
from engine.safetap.chain import GENESIS, link_hash
from engine.safetap.chain_reading import verify_everything
from engine.safetap.desk import acknowledge, close
from engine.safetap.evidence import Chunk, add_chunk, read_chunk
from engine.safetap.incident_statistics import read_statistics
from engine.safetap.incident_trail import read_incident_trail
from engine.safetap.sound import check_sound
from tests.fakes import ManualClock
from tests.integration.safetap.test_incident_record import add_trail
from tests.integration.safetap.test_intake import take
from tests.integration.safetap.world import NOW_MS, World

RULES = load_jurisdictions()
PORTUGAL = RULES.of("PT").retention


@pytest.fixture
async def world(pool: asyncpg.Pool) -> World:
    return await World(pool).build()


async def keep(world: World, at_ms: int) -> dict[str, int]:
    return await PersonalKeeper(pool=world.pool, clock=ManualClock(at_ms), jurisdictions=RULES).run_once()


async def ended(world: World, *, reason: str = "reviewed") -> tuple[IncidentId, object]:
    """A closed incident of the worker with evidence and a trail."""
    await add_trail(world, since_ms=NOW_MS + 1_000, fixes=5)
    incident_id = IncidentId(await take(world, world.received(booking_id=world.booking_id)))
    desk, evidence_id = world.principal(world.dispatcher), uuid4()
    async with world.pool.acquire() as conn, conn.transaction():
        chunk = Chunk(evidence_id, 0, GENESIS, b"picture", "image/png", is_last=True)
        await add_chunk(conn, incident_id=incident_id, actor=desk, chunk=chunk, now_ms=NOW_MS + 2_000)
        await acknowledge(conn, incident_id=incident_id, actor=desk, now_ms=NOW_MS + 10_000)
        await close(conn, incident_id=incident_id, actor=desk, reason=reason, now_ms=NOW_MS + 60_000)
    return incident_id, evidence_id


async def counts(world: World) -> tuple[int, ...]:
    tables = ("incident", "incident_event", "evidence_chunk", "incident_trail", "incident_past")
    return tuple([await world.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables])


async def test_parts_go_one_after_another_at_their_limits_and_statistics_stay(world: World) -> None:
    incident_id, _ = await ended(world)
    since, until = utc_from_ms(NOW_MS) - timedelta(days=1), utc_from_ms(NOW_MS) + timedelta(days=1)

    async def statistics() -> object:
        async with world.pool.acquire() as conn:
            return await read_statistics(conn, org_id=world.org_id, begin=since, end=until)

    before = await statistics()
    await keep(world, NOW_MS + MS_PER_DAY)
    events = (await counts(world))[1]
    assert await counts(world) == (1, events, 1, 5, 0)
    await world.pool.execute("DELETE FROM trail")  # the days were dropped
    async with world.pool.acquire() as conn:
        assert len(await read_incident_trail(conn, incident_id, now_ms=NOW_MS)) == 5
    closed_ms = NOW_MS + 60_000
    await keep(world, closed_ms + PORTUGAL.evidence_days * MS_PER_DAY)
    assert await counts(world) == (1, events, 1, 5, 0), "not before the day is over"
    await keep(world, closed_ms + PORTUGAL.evidence_days * MS_PER_DAY + 1)
    assert await counts(world) == (1, events, 0, 0, 0)
    assert await statistics() == before
    await keep(world, closed_ms + PORTUGAL.incident_days * MS_PER_DAY + 1)
    assert await counts(world) == (0, 0, 0, 0, 1)
    assert await statistics() == before
    actions = await world.pool.fetch(
        "SELECT action FROM audit_log WHERE action LIKE 'incident.%expired' ORDER BY audit_id"
    )
    assert [row["action"] for row in actions] == [
        "incident.evidence_expired", "incident.trail_expired", "incident.all_expired",
    ]  # fmt: skip
    assert await world.pool.fetchval("SELECT count(*) FROM incident_expiry") == 0
    async with world.pool.acquire() as conn:
        assert (await verify_everything(conn)).broken == []


@pytest.mark.parametrize("what", ["open", "safety hold", "on the incident", "on the person", "on the other party"])
async def test_what_is_held_stays_for_as_long_as_it_is_held(world: World, what: str) -> None:
    incident_id, _ = await ended(world, reason="safe" if what == "safety hold" else "reviewed")
    if what == "open":
        await world.pool.execute("UPDATE incident SET state = 'open', closed_at = NULL")
    admin, hold_id = world.principal(world.admin), uuid4()
    held = {
        "on the incident": Held(incident_id=incident_id),
        "on the person": Held(person_id=world.worker),
        "on the other party": Held(person_id=world.customer),
    }.get(what)
    if held is not None:
        async with world.pool.acquire() as conn, conn.transaction():
            await set_hold(conn, held, hold_id=hold_id, reason="file 12/26", admin=admin, now_ms=NOW_MS)
    long_after_ms = NOW_MS + 40 * 365 * MS_PER_DAY
    await keep(world, long_after_ms)
    kept = await counts(world)
    assert (kept[0], kept[2]) == (1, 1)
    if held is not None:
        async with world.pool.acquire() as conn, conn.transaction():
            await lift_hold(conn, hold_id, reason="closed", admin=admin, now_ms=NOW_MS)
        await keep(world, long_after_ms)
        assert (await counts(world))[:4] == (0, 0, 0, 0)


async def test_the_record_is_deleted_by_the_keepers_act_alone(world: World) -> None:
    await ended(world)
    for table in ("incident_event", "evidence_chunk"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await world.pool.execute(f"DELETE FROM {table}")
        with pytest.raises(asyncpg.RestrictViolationError):
            await world.pool.execute(f"TRUNCATE {table} CASCADE")
    with pytest.raises(asyncpg.RestrictViolationError):
        await world.pool.execute("UPDATE evidence_chunk SET data = 'other'")


async def test_what_lies_in_the_clear_is_sealed_and_reads_the_same(world: World) -> None:
    incident_id = IncidentId(await take(world, world.received(booking_id=world.booking_id)))
    evidence_id = uuid4()
    await world.pool.execute("UPDATE person SET phone = '+351912345678' WHERE person_id = $1", world.worker)
    await world.pool.execute(
        """INSERT INTO safety_contact (contact_id, person_id, position, name, phone, may_be_at_address, created_at)
           VALUES ($1, $2, 1, 'Mother Mia', '+351933333333', false, now())""",
        uuid4(), world.worker,
    )  # fmt: skip
    await world.pool.execute(
        "INSERT INTO evidence VALUES ($1, $2, 'image/png', $3, now())", evidence_id, incident_id, world.worker
    )
    await world.pool.execute(
        """INSERT INTO evidence_chunk (evidence_id, n, prev_hash, hash, is_last, data, received_at)
           VALUES ($1, 0, $2, $3, true, 'picture', now())""",
        evidence_id, GENESIS, link_hash(GENESIS, b"picture"),
    )  # fmt: skip
    assert (await keep(world, NOW_MS))["sealed"] == 4
    clear = await world.pool.fetchrow(
        """SELECT (SELECT count(*) FROM person WHERE phone IS NOT NULL),
                  (SELECT count(*) FROM safety_contact WHERE name IS NOT NULL),
                  (SELECT count(*) FROM address WHERE entry_notes <> ''),
                  (SELECT count(*) FROM evidence_chunk WHERE sealed_hash IS NULL)"""
    )
    assert tuple(clear) == (0, 0, 0, 0)
    async with world.pool.acquire() as conn:
        assert await read_chunk(conn, incident_id=incident_id, evidence_id=evidence_id, n=0) == b"picture"
        assert (await verify_everything(conn)).broken == []
    assert await keep(world, NOW_MS) == {}


async def test_sound_is_refused_where_nobody_switched_it_on(world: World) -> None:
    incident_id = IncidentId(await take(world, world.received(booking_id=world.booking_id)))
    async with world.pool.acquire() as conn:
        for media_type in ("audio/ogg", "video/mp4"):
            with pytest.raises(NotAllowed, match="Portugal"):
                await check_sound(conn, incident_id, media_type, jurisdictions=RULES, from_phone_of=None)
        await check_sound(conn, incident_id, "image/png", jurisdictions=RULES, from_phone_of=world.worker)


async def test_a_phones_sound_takes_the_law_and_the_persons_own_word(world: World) -> None:
    incident_id = IncidentId(await take(world, world.received(booking_id=world.booking_id)))
    portugal = RULES.of("PT")
    allowing = portugal.model_copy(update={"recording": portugal.recording.model_copy(update={"enabled": True})})
    rules = Jurisdictions({"PT": allowing, ELSEWHERE: RULES.of(ELSEWHERE)})

    async def kept(conn: Connection, from_phone_of: PersonId | None) -> bool:
        with suppress(NotAllowed):
            await check_sound(conn, incident_id, "audio/ogg", jurisdictions=rules, from_phone_of=from_phone_of)
            return True
        return False

    async with world.pool.acquire() as conn:
        assert (await kept(conn, None), await kept(conn, world.worker)) == (True, False)
        for agrees in (False, True):
            await conn.execute(
                """INSERT INTO safety_setup (person_id, contact_mode, updated_at, records_sound)
                   VALUES ($1, 'none', $2, $3)
                   ON CONFLICT (person_id) DO UPDATE SET records_sound = excluded.records_sound""",
                world.worker, utc_from_ms(NOW_MS), agrees,
            )  # fmt: skip
            assert await kept(conn, world.worker) is agrees


async def test_the_places_of_an_incident_outlive_their_days_also_while_it_is_open(world: World) -> None:
    incident_id, _ = await ended(world)
    await world.pool.execute("UPDATE incident SET state = 'acknowledged', closed_at = NULL")
    await keep(world, NOW_MS + MS_PER_DAY - 1)
    assert await world.pool.fetchval("SELECT count(*) FROM incident_trail") == 0, (
        "their days are far from being dropped"
    )
    await keep(world, NOW_MS + MS_PER_DAY)
    await add_trail(world, since_ms=NOW_MS + MS_PER_DAY + 60_000, fixes=2)
    await keep(world, NOW_MS + 2 * MS_PER_DAY)
    await world.pool.execute("DELETE FROM trail")  # the days were dropped
    async with world.pool.acquire() as conn:
        assert len(await read_incident_trail(conn, incident_id, now_ms=NOW_MS + 3 * MS_PER_DAY)) == 7
        desk = world.principal(world.dispatcher)
        await close(conn, incident_id=incident_id, actor=desk, reason="reviewed", now_ms=NOW_MS + 3 * MS_PER_DAY)
    await keep(world, NOW_MS + 4 * MS_PER_DAY)
    async with world.pool.acquire() as conn:
        assert len(await read_incident_trail(conn, incident_id, now_ms=NOW_MS + 4 * MS_PER_DAY)) == 7

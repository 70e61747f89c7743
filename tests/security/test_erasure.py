"""Line 15: personal data lies in envelopes with a key a person; erasure destroys the key; a legal hold overrides it."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import asyncpg
import pytest

from config.jurisdictions import load_jurisdictions
from engine.core.errors import Conflict
from engine.core.ids import IncidentId, PersonId
from engine.core.vocabulary import Role
from engine.people.envelopes import CannotOpenError, open_envelope, unwrap
from engine.people.erasure import NAME_OF_ERASED, erase_person
from engine.people.keyring import Keyring, add_key, destroy_old_keys, ensure_keyring, read_keys
from engine.people.legal_holds import Held, lift_hold, set_hold
from engine.people.people_store import NewPerson, create_people
from engine.people.sealing import ERASED, ErasedError, Sealed, Sealing, person_key
from engine.run_person_keys import rewrap_all
from engine.safetap import incident_work as work
from engine.safetap.call_card import read_call_card
from engine.safetap.chain import GENESIS
from engine.safetap.chain_reading import verify_everything
from engine.safetap.desk import close
from engine.safetap.evidence import Chunk, add_chunk, read_chunk
from engine.safetap.incident_views import incident_detail
from engine.safetap.safety_setup import ContactMode, ContactPlan, SafetySetup, load_setup, save_setup
from tests.integration.safetap.test_intake import take
from tests.integration.safetap.world import NOW_MS, World

LATER_MS = NOW_MS + 60_000
SECRETS = ("+351912345678", "Mother Mia", "+351933333333", "the key is under the mat", "he has a knife", "his voice")
"""What must stand nowhere in the database in the clear."""
EVIDENCE = uuid4()


@pytest.fixture
async def world(pool: asyncpg.Pool) -> World:
    return await World(pool).build()


async def told(world: World) -> IncidentId:
    """An incident of the customer, with something in every kind of envelope; live."""
    customer, desk = world.principal(world.customer), world.principal(world.dispatcher)
    incident_id = IncidentId(await take(world, world.received(world.customer, booking_id=world.booking_id)))
    contact = ContactPlan("Mother Mia", "+351933333333", None, may_be_at_address=False)
    setup = SafetySetup(ContactMode.DECOY, None, "your parcel waits", is_volunteer=False, contacts=(contact,))
    async with world.pool.acquire() as conn, conn.transaction():
        await save_setup(conn, setup, principal=customer, contact_ids=[uuid4()], now_ms=NOW_MS)
        await conn.execute("UPDATE person SET external_ref = 'c1' WHERE person_id = $1", world.customer)
        person = NewPerson(world.customer, Role.CUSTOMER, "Carla Customer", phone="+351912345678", external_ref="c1")
        await create_people(conn, [person], admin=world.principal(world.admin), now_ms=NOW_MS)
        await conn.execute(
            """UPDATE address SET entry_notes = '', entry_notes_sealed = ($2::sealed_text).sealed
                WHERE address_id = $1""",
            world.address_id,
            await sealed_for(conn, world.customer, "the key is under the mat"),
        )
        await work.add_note(conn, incident_id=incident_id, actor=desk, text="he has a knife", now_ms=LATER_MS)
        await work.say_to_person(conn, incident_id=incident_id, actor=desk, text="he has a knife", now_ms=LATER_MS)
        chunk = Chunk(EVIDENCE, 0, GENESIS, b"his voice", "video/mp4", is_last=True)
        await add_chunk(conn, incident_id=incident_id, actor=desk, chunk=chunk, now_ms=LATER_MS)
    return incident_id


async def sealed_for(conn: asyncpg.Connection, person_id: PersonId, text: str) -> object:
    return Sealed(await person_key(conn, person_id, now_ms=NOW_MS), text)


async def end(world: World, incident_id: IncidentId, reason: str = "reviewed") -> None:
    async with world.pool.acquire() as conn:
        await close(
            conn, incident_id=incident_id, actor=world.principal(world.dispatcher), reason=reason, now_ms=LATER_MS
        )
        await conn.execute("UPDATE booking SET state = 'completed'")


async def erase(world: World, person_id: PersonId) -> None:
    async with world.pool.acquire() as conn:
        await erase_person(conn, person_id, admin=world.principal(world.admin), now_ms=LATER_MS)


async def everything(pool: asyncpg.Pool) -> str:
    """Every row of every table as text, with the bytes of envelopes in hex."""
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'outbox'")
    return "\n".join([row[0] for (table,) in tables for row in await pool.fetch(f"SELECT t::text FROM {table} t")])


def found(text: str, secrets: Sequence[str]) -> list[str]:
    return [one for one in secrets if one in text or one.encode().hex() in text]


async def test_line_15_what_is_personal_stands_nowhere_in_the_clear(world: World) -> None:
    incident_id = await told(world)
    assert found(await everything(world.pool), SECRETS) == []
    async with world.pool.acquire() as conn, conn.transaction():
        card = await read_call_card(conn, incident_id, jurisdictions=load_jurisdictions(), now_ms=LATER_MS)
        detail = await incident_detail(conn, incident_id)
        setup = await load_setup(conn, world.customer)
        chunk = await read_chunk(conn, incident_id=incident_id, evidence_id=EVIDENCE, n=0)
        chat = await work.read_chat(conn, person_id=world.customer)
    assert found(str((card, detail, setup, chunk, chat)), SECRETS) == list(SECRETS), "whoever may read it reads it"


async def test_line_15_erasure_destroys_the_key_and_the_chains_still_hold(world: World) -> None:
    incident_id = await told(world)
    await end(world, incident_id)
    before = await world.pool.fetchrow("SELECT hash, body FROM incident_event WHERE kind = 'note'")
    await erase(world, world.customer)
    await erase(world, world.customer)  # again: nothing more happens
    async with world.pool.acquire() as conn, conn.transaction():
        detail = await incident_detail(conn, incident_id)
        card = await read_call_card(conn, incident_id, jurisdictions=load_jurisdictions(), now_ms=LATER_MS)
        with pytest.raises(ErasedError):
            await read_chunk(conn, incident_id=incident_id, evidence_id=EVIDENCE, n=0)
        with pytest.raises(ErasedError):
            await work.add_note(
                conn, incident_id=incident_id, actor=world.principal(world.admin), text="more", now_ms=LATER_MS
            )
        verified = await verify_everything(conn)
    events = detail["events"]
    assert isinstance(events, list)
    assert [event["body"]["text"] for event in events if event["kind"] in ("note", "chat")] == [ERASED, ERASED]
    assert found(str((card, detail)), (*SECRETS, "Carla", "Rua das Flores")) == []
    assert found(await everything(world.pool), (*SECRETS, "Carla", "carla.", "Rua das Flores")) == []
    assert (verified.broken, verified.chunks) == ([], 1)
    assert await world.pool.fetchrow("SELECT hash, body FROM incident_event WHERE kind = 'note'") == before
    person = await world.pool.fetchrow(
        "SELECT full_name, email, status FROM person WHERE person_id = $1", world.customer
    )
    assert tuple(person) == (NAME_OF_ERASED, None, "suspended")
    actions = await world.pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'person.erased'")
    assert actions == 1


async def test_line_15_nor_does_a_backup_open_once_the_wrapping_key_is_gone(
    world: World, tmp_path_factory: pytest.TempPathFactory, database_url: str
) -> None:
    """A copy of all tables from before, the keys' table too: then only destroying what wrapped them helps."""
    file = ensure_keyring(tmp_path_factory.mktemp("ring") / "person_keys.json")
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2, init=Sealing(Keyring(file)).prepare) as pool:
        world.pool = pool
        incident_id = await told(world)
        backup = await pool.fetchrow(
            "SELECT k.wrapped, p.phone_sealed FROM person p JOIN person_key k USING (person_id) WHERE person_id = $1",
            world.customer,
        )
        assert open_envelope(unwrap(read_keys(file), backup["wrapped"]), backup["phone_sealed"]) == b"+351912345678"
        await end(world, incident_id)
        await erase(world, world.customer)
    add_key(file)
    assert destroy_old_keys(file) == 1
    with pytest.raises(CannotOpenError):
        unwrap(read_keys(file), backup["wrapped"])


@pytest.mark.parametrize("whose", ["customer", "worker"])
async def test_line_15_an_incident_that_is_live_or_held_forbids_it_for_both_sides(world: World, whose: str) -> None:
    incident_id = await told(world)
    person_id: PersonId = getattr(world, whose)
    with pytest.raises(Conflict, match=f"incident {incident_id}, which is open"):
        await erase(world, person_id)
    await end(world, incident_id, "safe")
    with pytest.raises(Conflict, match="nobody has released"):
        await erase(world, person_id)
    await end(world, incident_id)
    await erase(world, person_id)


async def test_line_15_a_legal_hold_forbids_it_until_an_admin_lifts_it_and_both_are_on_record(world: World) -> None:
    incident_id = await told(world)
    await end(world, incident_id)
    admin = world.principal(world.admin)
    for held in (Held(incident_id=incident_id), Held(person_id=world.customer)):
        hold_id = uuid4()
        async with world.pool.acquire() as conn, conn.transaction():
            await set_hold(conn, held, hold_id=hold_id, reason="file 12/26", admin=admin, now_ms=LATER_MS)
        with pytest.raises(Conflict, match=f"legal hold {hold_id}"):
            await erase(world, world.customer)
        async with world.pool.acquire() as conn, conn.transaction():
            await lift_hold(conn, hold_id, reason="closed", admin=admin, now_ms=LATER_MS)
            with pytest.raises(Conflict):
                await lift_hold(conn, hold_id, reason="closed", admin=admin, now_ms=LATER_MS)
    await erase(world, world.customer)
    kept = await world.pool.fetch("SELECT action FROM audit_log WHERE action LIKE 'legal_hold.%' ORDER BY audit_id")
    assert [row["action"] for row in kept] == ["legal_hold.set", "legal_hold.lifted"] * 2


async def test_line_15_an_alarm_at_the_same_moment_is_not_erased(world: World) -> None:
    """Either the alarm is there and forbids it, or the person was gone before."""
    await world.pool.execute("UPDATE booking SET state = 'completed'")
    results = await asyncio.gather(
        erase(world, world.customer), take(world, world.received(world.customer)), return_exceptions=True
    )
    row = await world.pool.fetchrow("SELECT state FROM incident WHERE person_id = $1", world.customer)
    assert row is not None, "an alarm is never lost to an erasure"
    assert not isinstance(results[1], BaseException), results


async def test_line_15_a_key_that_is_added_counts_at_once_and_old_envelopes_still_open(
    world: World, tmp_path_factory: pytest.TempPathFactory, database_url: str
) -> None:
    file = ensure_keyring(tmp_path_factory.mktemp("ring") / "person_keys.json")
    assert file.stat().st_mode & 0o077 == 0
    running = Sealing(Keyring(file))
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2, init=running.prepare) as pool:
        world.pool = pool
        await told(world)
        added = add_key(file)
        assert await rewrap_all(pool, Keyring(file)) == 1
        async with pool.acquire() as conn:
            await conn.fetchval("SELECT ($1::sealed_text).sealed", await sealed_for(conn, world.worker, "new"))
        names = await pool.fetch(
            "SELECT substring(wrapped FOR 8) AS name FROM person_key ORDER BY created_at, person_id"
        )
        assert added in {row["name"] for row in names}
        assert destroy_old_keys(file) == 1
        async with pool.acquire() as conn:
            assert (await load_setup(conn, world.customer)).contacts[0].name == "Mother Mia"

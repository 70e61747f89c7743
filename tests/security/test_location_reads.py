"""Line 8: every read of a location is audited; its subject may see it, but never what tells of a live or held alarm."""

from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

import asyncpg
import orjson
import pytest

from config.limits import MAP_LOOK_MS
from engine.core.errors import Conflict, NotFound, Unavailable
from engine.core.ids import IncidentId, PersonId
from engine.core.units import utc_from_ms
from engine.geo.trail_partitions import keep_days
from engine.people.contests import contest, list_contests
from engine.people.export import export_person
from engine.people.reasons import reasons_about
from engine.people.tokens import Principal
from engine.safetap import incident_work as work
from engine.safetap.desk import close
from engine.safetap.incident_reads import note_detail_read, note_read
from engine.safetap.watched import who_watched
from gateway_ws.console_session import ConsoleSession
from gateway_ws.engine_calls import EngineCalls
from tests.fakes import ManualClock
from tests.integration.safetap.test_intake import take
from tests.integration.safetap.world import NOW_MS, World

LATER_MS = NOW_MS + 60_000
PARTS = ("trail", "call_card", "report", "cap", "evidence")


@pytest.fixture
async def world(pool: asyncpg.Pool) -> World:
    return await World(pool).build()


async def looked_at_everything(world: World, incident_id: IncidentId) -> None:
    desk = world.principal(world.dispatcher)
    async with world.pool.acquire() as conn, conn.transaction():
        await note_detail_read(conn, incident_id=incident_id, actor=desk, now_ms=LATER_MS)
        for part in PARTS:
            await note_read(conn, incident_id=incident_id, actor=desk, what=part, now_ms=LATER_MS)
    calls = EngineCalls(ManualClock(LATER_MS), world.pool)
    await calls.note_map_look(desk)


async def copy_of(world: World) -> dict[str, list[dict[str, object]]]:
    async with world.pool.acquire() as conn, conn.transaction():
        copy = await export_person(conn, world.worker, org_id=world.org_id, actor_id=world.worker, now_ms=LATER_MS)
    assert isinstance(orjson.loads(orjson.dumps(copy)), dict), "it is JSON"
    sections = copy["sections"]
    assert isinstance(sections, dict)
    return sections


async def decided(world: World) -> int:
    """A decision in which the worker and somebody else were weighed."""
    own = {"worker_id": str(world.worker), "cost": 4.5, "eta_s": 240, "terms": {"eta": 4.0, "idle": 0.5}}
    other = {"worker_id": str(uuid4()), "cost": 4.0, "eta_s": 200, "terms": {"eta": 4.0}}
    detail = {"candidates": [other, own], "ruled_out": {"held": 1}}
    return await world.pool.fetchval(
        """INSERT INTO dispatch_log (org_id, booking_id, worker_id, outcome, detail, took_us, at)
           VALUES ($1, $2, NULL, 'nobody', $3::text::jsonb, 1, $4) RETURNING dispatch_id""",
        world.org_id, world.booking_id, orjson.dumps(detail).decode(), utc_from_ms(NOW_MS),
    )  # fmt: skip


async def seen(world: World) -> list[object]:
    async with world.pool.acquire() as conn:
        return sorted(str(one["what"]) for one in await who_watched(conn, world.worker))


async def test_line_8_the_subject_sees_every_look_once_the_alarm_is_over_and_none_before(world: World) -> None:
    incident_id = IncidentId(await take(world, world.received(booking_id=world.booking_id)))
    await looked_at_everything(world, incident_id)
    desk = world.principal(world.dispatcher)
    for reason in ("safe", "reviewed"):
        assert await seen(world) == [], "live, then held"
        async with world.pool.acquire() as conn:
            await close(conn, incident_id=incident_id, actor=desk, reason=reason, now_ms=LATER_MS)
    parts = [f"incident.{part}_read" for part in ("detail", *PARTS)]
    assert await seen(world) == sorted([*parts, "map.read"])
    rows = await world.pool.fetch("SELECT actor_id, subject FROM audit_log WHERE action LIKE 'incident.%\\_read'")
    assert {tuple(row) for row in rows} == {(world.dispatcher, f"person:{world.worker}")}, "who, and whom"


async def test_line_8_the_copy_and_the_reasons_say_nothing_of_an_alarm_that_is_live_or_held(world: World) -> None:
    dispatch_id = await decided(world)
    async with world.pool.acquire() as conn:
        await keep_days(conn, now_ms=NOW_MS, kept_days=30)
        slot = await conn.fetchval("UPDATE worker SET duty = 'off' RETURNING slot")
        at = [utc_from_ms(NOW_MS) + timedelta(seconds=seconds) for seconds in (-60, 30)]
        await conn.executemany(
            "INSERT INTO trail VALUES ($1, $2, $3, 411500000, -86100000, 50, 100, -1)",
            [(one, world.org_id, slot) for one in at],
        )
        calm = await copy_of(world)
        assert len(calm["trail"]) == 2
    incident_id = IncidentId(await take(world, world.received(booking_id=world.booking_id)))
    desk = world.principal(world.dispatcher)
    async with world.pool.acquire() as conn, conn.transaction():
        await work.add_note(conn, incident_id=incident_id, actor=desk, text="secret", now_ms=LATER_MS)
    for reason in ("safe", "reviewed"):
        secret = await copy_of(world)
        assert secret["incidents"] == secret["messages"] == []
        assert [row["at"] for row in secret["trail"]] == ["2023-11-14T22:12:20.000Z"], (
            "off duty, only the alarm counts it"
        )
        async with world.pool.acquire() as conn, conn.transaction():
            assert await reasons_about(conn, world.worker, limit=10) == []
            with pytest.raises(NotFound):
                await contest(
                    conn, contest_id=uuid4(), worker=world.principal(world.worker), dispatch_id=dispatch_id,
                    text="why", now_ms=LATER_MS,
                )  # fmt: skip
        async with world.pool.acquire() as conn:
            await close(conn, incident_id=incident_id, actor=desk, reason=reason, now_ms=LATER_MS)
    over = await copy_of(world)
    assert [row["incident_id"] for row in over["incidents"]] == [str(incident_id)]
    assert len(over["trail"]) == 2
    assert {name: len(rows) for name, rows in over.items() if name in ("person", "worker", "bookings")} == {
        "person": 1, "worker": 1, "bookings": 1,
    }  # fmt: skip


async def test_a_worker_sees_why_without_anybody_else_and_contests_it_once(world: World) -> None:
    dispatch_id, worker = await decided(world), world.principal(world.worker)
    async with world.pool.acquire() as conn, conn.transaction():
        (why,) = await reasons_about(conn, world.worker, limit=10)
        assert why == {
            "dispatch_id": dispatch_id, "at": "2023-11-14T22:13:20.000Z", "outcome": "nobody", "was_asked": False,
            "place": 2, "of": 2, "cost_min": 4.5, "eta_s": 240, "terms": {"eta": 4.0, "idle": 0.5},
        }  # fmt: skip
        await contest(
            conn, contest_id=uuid4(), worker=worker, dispatch_id=dispatch_id, text="I was nearer", now_ms=LATER_MS
        )
        with pytest.raises(Conflict):
            await contest(
                conn, contest_id=uuid4(), worker=worker, dispatch_id=dispatch_id, text="again", now_ms=LATER_MS
            )
        (row,) = await list_contests(conn, org_id=world.org_id, person_id=None, limit=10)
        assert (row["text"], row["answer"]) == ("I was nearer", None)
        stranger = world.principal(world.customer)
        with pytest.raises(NotFound):
            await contest(
                conn, contest_id=uuid4(), worker=stranger, dispatch_id=dispatch_id, text="mine", now_ms=LATER_MS
            )


class Record:
    """Stands for Postgres: takes the looks, or is away."""

    def __init__(self) -> None:
        self.looks: list[Principal] = []
        self.is_away = False

    async def note_map_look(self, desk: Principal) -> None:
        if self.is_away:
            raise Unavailable
        self.looks.append(desk)


async def test_line_8_a_console_is_on_record_once_however_it_moves_the_map() -> None:
    clock, record, desk = ManualClock(LATER_MS), Record(), World(pool=None).principal(PersonId(uuid4()))  # type: ignore[arg-type]
    services = SimpleNamespace(clock=clock, calls=record)
    session = ConsoleSession(desk, None, services)  # type: ignore[arg-type]
    noted = []
    for advance_ms in (0, 1_000, MAP_LOOK_MS, 0):
        await clock.advance_ms(advance_ms)
        await session.note_look()
        noted.append(len(record.looks))
    assert noted == [1, 1, 2, 2]
    await clock.advance_ms(MAP_LOOK_MS)
    record.is_away = True
    await session.note_look()  # the desk still sees its people
    record.is_away = False
    await session.note_look()
    assert len(record.looks) == 3

"""What humans do with an incident."""

import asyncio
from uuid import UUID, uuid4

import orjson
import pytest

from config.limits import CLOSE_REASON_CHARS_MAX, FOLLOW_UP_MS
from engine.core.errors import ClenzyError, Conflict, InvalidInput, NotAllowed, NotFound
from engine.core.ids import IncidentId, OrgId, PersonId
from engine.core.units import ms_from_utc
from engine.core.vocabulary import IncidentKind, IncidentState, Role
from engine.safetap.desk import acknowledge, close, says_reviewed
from engine.safetap.incident_views import Position, incident_detail, incident_view, list_incidents
from engine.safetap.policy import default_policy, parse_policy
from engine.safetap.trigger_store import store_trigger
from tests.integration.safetap.world import NOW_MS, World

LATER_MS = NOW_MS + 5_000


@pytest.fixture
async def incident_id(world: World) -> IncidentId:
    async with world.pool.acquire() as conn:
        return IncidentId(await store_trigger(conn, world.received(booking_id=world.booking_id), new_id=uuid4))


async def ack(world: World, incident_id: UUID, person_id: PersonId, *, now_ms: int = LATER_MS) -> dict[str, object]:
    async with world.pool.acquire() as conn:
        actor = world.principal(person_id)
        return await acknowledge(conn, incident_id=IncidentId(incident_id), actor=actor, now_ms=now_ms)


async def end(world: World, incident_id: UUID, person_id: PersonId, reason: str = "safe") -> dict[str, object]:
    async with world.pool.acquire() as conn:
        actor = world.principal(person_id)
        return await close(conn, incident_id=IncidentId(incident_id), actor=actor, reason=reason, now_ms=LATER_MS)


async def test_an_acknowledgement_is_told_audited_and_followed_up(world: World, incident_id: IncidentId) -> None:
    view = await ack(world, incident_id, world.dispatcher)
    assert (view["state"], view["acknowledged_by"], view["version"]) == ("acknowledged", "Dora Dispatcher", 2)
    timer = await world.pool.fetchrow("SELECT * FROM incident_timer")
    assert (timer["step"], timer["loop"], ms_from_utc(timer["due_at"])) == (1, 1, LATER_MS + FOLLOW_UP_MS)
    assert await world.events() == ["triggered", "acknowledged"]
    audit = await world.pool.fetchrow("SELECT * FROM audit_log")
    assert (audit["actor_id"], audit["action"]) == (world.dispatcher, "incident.acknowledged")
    assert audit["subject"] == f"incident:{incident_id}"
    shown = await world.pool.fetchval("SELECT body::text FROM outbox ORDER BY event_id DESC LIMIT 1")
    assert orjson.loads(shown) == view


async def test_the_first_acknowledgement_wins_and_the_second_sees_whose_it_was(
    world: World, incident_id: IncidentId
) -> None:
    views = await asyncio.gather(
        *(ack(world, incident_id, who) for who in (world.dispatcher, world.other_dispatcher, world.admin))
    )
    assert len({view["acknowledged_by"] for view in views}) == 1
    assert await world.events() == ["triggered", "acknowledged"]
    again = await ack(world, incident_id, world.dispatcher, now_ms=LATER_MS + 1_000)
    assert again == views[0]


async def test_closing_ends_the_ladder_and_keeps_the_hold(world: World, incident_id: IncidentId) -> None:
    view = await end(world, incident_id, world.admin, "  police are there ")
    assert (view["state"], view["close_reason"], view["next_step_at"]) == ("closed", "police are there", None)
    assert await world.pool.fetchval("SELECT count(*) FROM incident_timer") == 0
    assert await world.pool.fetchval("SELECT count(*) FROM safety_hold WHERE released_at IS NULL") == 1
    assert await world.events() == ["triggered", "closed"]
    with pytest.raises(Conflict):
        await ack(world, incident_id, world.dispatcher)


async def test_a_second_closing_changes_nothing(world: World, incident_id: IncidentId) -> None:
    first = await end(world, incident_id, world.admin, "safe")
    assert await end(world, incident_id, world.dispatcher, "another reason") == first


async def test_the_hold_goes_when_somebody_says_that_they_looked(world: World, incident_id: IncidentId) -> None:
    await end(world, incident_id, world.admin, "safe")
    await end(world, incident_id, world.dispatcher, "Reviewed: spoke to her, false alarm")
    hold = await world.pool.fetchrow("SELECT * FROM safety_hold")
    assert hold["released_by"] == world.dispatcher
    assert await world.events() == ["triggered", "closed", "hold_released"]
    await end(world, incident_id, world.dispatcher, "reviewed again")
    assert await world.events() == ["triggered", "closed", "hold_released"]


async def test_closing_with_a_review_does_both_at_once(world: World, incident_id: IncidentId) -> None:
    await end(world, incident_id, world.admin, "reviewed")
    assert await world.pool.fetchval("SELECT count(*) FROM safety_hold WHERE released_at IS NULL") == 0
    assert await world.events() == ["triggered", "closed", "hold_released"]


@pytest.mark.parametrize(
    ("reason", "releases"),
    [
        ("reviewed", True),
        ("Reviewed: all well", True),
        ("REVIEWED - all well", True),
        ("not reviewed", False),
        ("reviewedly", False),
        ("", False),
    ],
)
def test_the_word_that_releases_a_hold(reason: str, *, releases: bool) -> None:
    assert says_reviewed(reason) is releases


@pytest.mark.parametrize("reason", ["", "   ", "x" * (CLOSE_REASON_CHARS_MAX + 1)])
async def test_a_closing_needs_a_reason(world: World, incident_id: IncidentId, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await end(world, incident_id, world.admin, reason)
    assert refused.value.field == "reason"


async def test_nobody_acts_on_their_own_alarm(world: World) -> None:
    """Even one who has become a dispatcher since."""
    async with world.pool.acquire() as conn:
        own = await store_trigger(conn, world.received(world.dispatcher), new_id=uuid4)
    for act in (ack, end):
        with pytest.raises(NotAllowed):
            await act(world, own, world.dispatcher)
    assert (await ack(world, own, world.other_dispatcher))["state"] == "acknowledged"


async def test_a_party_to_the_booking_never_acts(world: World, incident_id: IncidentId) -> None:
    await world.pool.execute("UPDATE booking SET customer_id = $1", world.other_dispatcher)
    for act in (ack, end):
        with pytest.raises(NotAllowed):
            await act(world, incident_id, world.other_dispatcher)


async def test_only_the_desk_acts(world: World, incident_id: IncidentId) -> None:
    for person_id in (world.worker, world.customer):
        for act in (ack, end):
            with pytest.raises(NotAllowed):
                await act(world, incident_id, person_id)


@pytest.mark.parametrize("change", ["status = 'suspended'", "role = 'worker'"])
async def test_who_no_longer_works_at_the_desk_does_not_act(world: World, incident_id: IncidentId, change: str) -> None:
    await world.pool.execute(f"UPDATE person SET {change} WHERE person_id = $1", world.dispatcher)
    with pytest.raises(NotAllowed):
        await ack(world, incident_id, world.dispatcher)


async def test_another_organisations_incident_does_not_exist(world: World, incident_id: IncidentId) -> None:
    other = await World(world.pool).build()
    calls: list[ClenzyError] = []
    for act in (ack, end):
        with pytest.raises(NotFound) as refused:
            await act(other, incident_id, other.dispatcher)
        calls.append(refused.value)
    async with world.pool.acquire() as conn:
        with pytest.raises(NotFound):
            await incident_view(conn, incident_id, org_id=other.org_id)
        assert await list_incidents(conn, org_id=other.org_id, limit=10) == ([], None)
    assert len(calls) == 2


async def test_pages_are_newest_first_and_complete(world: World) -> None:
    expected = []
    async with world.pool.acquire() as conn:
        for n in range(5):
            person_id = PersonId(uuid4())
            await world.add_person(conn, person_id, Role.WORKER, f"Worker {n}")
            received = world.received(person_id, at_ms=NOW_MS + n // 2)
            expected.append(str(await store_trigger(conn, received, new_id=uuid4)))
        seen: list[object] = []
        after: Position | None = None
        for _page in range(3):
            items, after = await list_incidents(conn, org_id=world.org_id, limit=2, after=after)
            seen += [item["incident_id"] for item in items]
    assert after is None
    assert sorted(seen) == sorted(expected)
    assert seen[0] == expected[-1]


@pytest.mark.usefixtures("incident_id")
async def test_pages_filter_by_state(world: World) -> None:
    async with world.pool.acquire() as conn:
        opened, _ = await list_incidents(conn, org_id=world.org_id, state=IncidentState.OPEN, limit=10)
        closed, _ = await list_incidents(conn, org_id=world.org_id, state=IncidentState.CLOSED, limit=10)
    assert [len(opened), len(closed)] == [1, 0]


async def test_the_detail_tells_who_did_what(world: World, incident_id: IncidentId) -> None:
    await ack(world, incident_id, world.dispatcher)
    async with world.pool.acquire() as conn:
        detail = await incident_detail(conn, incident_id, org_id=OrgId(world.org_id))
    events = detail["events"]
    assert isinstance(events, list)
    assert [(event["kind"], event["actor"]) for event in events] == [
        ("triggered", "Walter Worker"),
        ("acknowledged", "Dora Dispatcher"),
    ]
    assert detail["notices"] == []


async def test_a_drill_is_closed_like_anything_else(world: World) -> None:
    async with world.pool.acquire() as conn:
        drill = await store_trigger(conn, world.received(kind=IncidentKind.DRILL), new_id=uuid4)
    assert (await end(world, drill, world.admin, "reviewed"))["is_drill"] is True
    assert await world.events() == ["triggered", "closed"]


@pytest.fixture
async def shared(world: World) -> IncidentId:
    """An incident whose close two people must agree on."""
    await world.set_policy(two_person_close=True)
    async with world.pool.acquire() as conn:
        return IncidentId(await store_trigger(conn, world.received(booking_id=world.booking_id), new_id=uuid4))


async def test_one_person_alone_only_asks_and_the_follow_up_stays(world: World, shared: IncidentId) -> None:
    await ack(world, shared, world.dispatcher)
    timer = await world.pool.fetchrow("SELECT step, loop, due_at FROM incident_timer")
    for _ in range(2):
        view = await end(world, shared, world.dispatcher, "reviewed, all is well")
        assert (view["state"], view["close_reason"]) == ("acknowledged", None)
        asked = view["close_asked"]
        assert isinstance(asked, dict)
        assert (asked["person_id"], asked["name"]) == (str(world.dispatcher), "Dora Dispatcher")
        assert (asked["reason"], asked["at"][:10]) == ("reviewed, all is well", "2023-11-14")
    told = await world.pool.fetchval("SELECT body FROM outbox WHERE kind = 'incident' ORDER BY event_id DESC LIMIT 1")
    assert orjson.loads(told)["close_asked"] == asked, "the frame of the asking itself says so"
    assert await world.pool.fetchrow("SELECT step, loop, due_at FROM incident_timer") == timer
    assert await world.pool.fetchval("SELECT count(*) FROM safety_hold WHERE released_at IS NULL") == 1
    view = await end(world, shared, world.admin, "reviewed with Dora")
    assert (view["state"], view["close_reason"], view["close_asked"]) == ("closed", "reviewed with Dora", None)
    assert await world.pool.fetchval("SELECT count(*) FROM safety_hold WHERE released_at IS NULL") == 0
    assert await world.pool.fetchval("SELECT count(*) FROM incident_timer") == 0
    wanted = ["triggered", "acknowledged", "close_asked", "close_asked", "closed", "hold_released"]
    assert await world.events() == wanted


async def test_an_open_ladder_goes_on_while_a_second_person_is_missing(world: World, shared: IncidentId) -> None:
    due_at = await world.pool.fetchval("SELECT due_at FROM incident_timer")
    assert (await end(world, shared, world.dispatcher))["state"] == "open"
    assert await world.pool.fetchval("SELECT due_at FROM incident_timer") == due_at


async def test_a_further_alarm_makes_the_asking_void(world: World, shared: IncidentId) -> None:
    await end(world, shared, world.dispatcher)
    async with world.pool.acquire() as conn:
        await store_trigger(conn, world.received(booking_id=world.booking_id), new_id=uuid4)
        assert (await incident_view(conn, shared))["close_asked"] is None
    asked = await end(world, shared, world.admin)
    assert asked["state"] == "open", "the first to ask again"
    assert asked["close_asked"]["name"] == "Ada Admin"  # type: ignore[index]
    assert (await end(world, shared, world.dispatcher))["state"] == "closed"


async def test_who_is_alone_at_the_desk_is_told_that_nobody_could_agree(world: World, shared: IncidentId) -> None:
    colleagues = [world.other_dispatcher, world.admin]
    await world.pool.execute("UPDATE person SET status = 'suspended' WHERE person_id = ANY($1)", colleagues)
    with pytest.raises(Conflict, match="the only one at the desk"):
        await end(world, shared, world.dispatcher)
    assert await world.events() == ["triggered"]
    await world.pool.execute("UPDATE person SET status = 'active' WHERE person_id = $1", world.admin)
    assert (await end(world, shared, world.dispatcher))["close_asked"] is not None
    await world.pool.execute("UPDATE person SET status = 'suspended' WHERE person_id = $1", world.dispatcher)
    assert (await end(world, shared, world.admin))["state"] == "closed", "who asked before they left counts"


async def test_a_drill_needs_nobody_else(world: World) -> None:
    await world.set_policy(two_person_close=True)
    async with world.pool.acquire() as conn:
        drill = await store_trigger(conn, world.received(kind=IncidentKind.DRILL), new_id=uuid4)
    assert (await end(world, drill, world.dispatcher))["state"] == "closed"


@pytest.mark.parametrize("changes", [{"two_person_close": "yes"}, {"two_person_close": True, "safe_pin": "closes"}])
def test_a_policy_that_two_people_could_not_keep_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_policy(default_policy() | changes)
    assert refused.value.field == "two_person_close"

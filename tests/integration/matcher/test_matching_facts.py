"""From a row in Postgres to who is asked: each hard rule rules out with its reason, each wish only costs."""

import asyncpg
import orjson
import pytest

from engine.core.ids import BookingId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import OfferState, Role
from engine.matcher.dispatch import Dispatcher
from engine.people.tokens import Principal
from tests.fakes import ManualClock
from tests.integration.matcher.town import Town

pytestmark = pytest.mark.integration

KINDS = ("certificate", "tool", "vehicle", "part", "language")
MIN_MS = 60_000


@pytest.fixture
async def kit(town: Town, pool: asyncpg.Pool) -> None:
    """One item of each kind, its code its kind."""
    rows = [(town.org_id, kind, kind, kind, bit) for bit, kind in enumerate(KINDS)]
    await pool.executemany("INSERT INTO kit_item VALUES ($1, $2, $3, $4, $5)", rows)


class Desk:
    """Says what is so, and asks who would go."""

    def __init__(self, town: Town, pool: asyncpg.Pool, dispatcher: Dispatcher, clock: ManualClock) -> None:
        self.town, self.pool, self.dispatcher, self.clock = town, pool, dispatcher, clock

    async def needs(self, *codes: str) -> None:
        await self.pool.executemany(
            """INSERT INTO service_kit
               SELECT service_id, org_id, $2 FROM service WHERE org_id = $1 AND code = 'cleaning'""",
            [(self.town.org_id, code) for code in codes],
        )

    async def gives(self, worker: Principal, code: str, *, expires_ms: int | None = None) -> None:
        at = None if expires_ms is None else utc_from_ms(expires_ms)
        await self.pool.execute(
            "INSERT INTO worker_kit VALUES ($1, $2, $3, $4)", worker.person_id, self.town.org_id, code, at
        )

    async def decide(self, booking_id: BookingId) -> dict:
        self.dispatcher.feed.notified("")
        await self.dispatcher.feed.read()
        await self.dispatcher.dispatch_due()
        detail = (await self.town.log(booking_id))[-1]["detail"]
        return orjson.loads(detail)


@pytest.fixture
def desk(town: Town, pool: asyncpg.Pool, dispatcher: Dispatcher, clock: ManualClock) -> Desk:
    return Desk(town, pool, dispatcher, clock)


@pytest.mark.usefixtures("kit")
@pytest.mark.parametrize("kind", KINDS[:3])
async def test_who_lacks_what_is_needed_is_ruled_out_by_its_name(town: Town, desk: Desk, kind: str):
    await town.add_worker(0.1)
    has = await town.add_worker(3)
    await desk.gives(has, kind)
    await desk.needs(kind)
    booking_id = await town.book()
    detail = await desk.decide(booking_id)
    assert (await town.asked(booking_id)).person_id == has.person_id
    assert detail["ruled_out"] == {kind: 1}
    assert detail["policy"] == "standard@1"


@pytest.mark.usefixtures("kit")
async def test_an_expired_certificate_is_none(town: Town, desk: Desk, clock: ManualClock):
    await desk.gives(await town.add_worker(1), "certificate", expires_ms=clock.now_ms() - 1)
    await desk.needs("certificate")
    assert (await desk.decide(await town.book()))["ruled_out"] == {"certificate": 1}


@pytest.mark.usefixtures("kit")
async def test_parts_languages_and_levels_cost_and_rule_nobody_out(town: Town, desk: Desk):
    near, has = await town.add_worker(0.1), await town.add_worker(1)
    for code in ("part", "language"):
        await desk.gives(has, code)
    await desk.needs("part", "language")
    await town.pool.execute("UPDATE service SET level_wanted = 0.5")
    await town.pool.execute("INSERT INTO worker_level VALUES ($1, 0, 0.4)", has.person_id)
    booking_id = await town.book()
    ranked = (await desk.decide(booking_id))["candidates"]
    assert [each["slot"] for each in ranked] == [has.slot, near.slot]
    terms = [{name: each["terms"][name] for name in ("parts", "language", "level")} for each in ranked]
    assert terms[0] == {"parts": 0, "language": 0, "level": pytest.approx(1.5, abs=1e-3)}
    assert terms[1] == {"parts": 12, "language": 5, "level": 7.5}
    for each in ranked:
        assert sum(each["terms"].values()) == pytest.approx(each["cost"], abs=2e-3)


async def test_the_customers_wishes_count_and_a_block_is_a_rule(town: Town, desk: Desk):
    blocked, near, preferred = [await town.add_worker(km) for km in (0.1, 0.5, 1.5)]
    customer = await town.add_person(Role.CUSTOMER)
    await town.pool.executemany(
        "INSERT INTO customer_worker VALUES ($1, $2, $3, $4)",
        [
            (customer.person_id, blocked.person_id, "desk", "blocked"),
            (customer.person_id, blocked.person_id, "customer", "preferred"),
            (customer.person_id, preferred.person_id, "customer", "preferred"),
        ],
    )
    booking_id = await town.book(customer)
    detail = await desk.decide(booking_id)
    assert [each["slot"] for each in detail["candidates"]] == [preferred.slot, near.slot]
    assert detail["ruled_out"] == {"blocked": 1}
    assert [each["terms"]["preference"] for each in detail["candidates"]] == [0, 6]


async def test_shifts_rule_out_before_they_begin_and_cost_beyond_their_end(town: Town, desk: Desk, clock: ManualClock):
    later, ends_soon, over = [await town.add_worker(km) for km in (0.1, 0.2, 0.3)]
    now_ms = clock.now_ms()
    for worker, begins, ends in ((later, 30, 90), (ends_soon, -60, 20), (over, -90, -30)):
        span = [utc_from_ms(now_ms + minutes * MIN_MS) for minutes in (begins, ends)]
        await town.pool.execute("INSERT INTO shift VALUES ($1, $2, $3)", worker.person_id, *span)
    detail = await desk.decide(await town.book())
    assert detail["ruled_out"] == {"shift": 2}
    (only,) = detail["candidates"]
    assert (only["slot"], only["terms"]["overtime"]) == (ends_soon.slot, pytest.approx(20, abs=1e-2))


async def test_nobody_is_asked_whose_working_time_would_end_before_the_job(town: Town, desk: Desk, clock: ManualClock):
    workers = [await town.add_worker(km) for km in (0.1, 0.2, 0.3)]
    await town.pool.execute("INSERT INTO working_time_rule VALUES ($1, 600, NULL, NULL)", town.org_id)
    for worker, hours in zip(workers, (11, 9.5, 8.5), strict=True):
        since = utc_from_ms(clock.now_ms() - int(hours * 60 * MIN_MS))
        await town.pool.execute("UPDATE duty_period SET began_at = $2 WHERE worker_id = $1", worker.person_id, since)
    booking_id = await town.book()
    assert (await desk.decide(booking_id))["ruled_out"] == {"working_time": 2}
    assert (await town.asked(booking_id)).slot == workers[2].slot


async def test_duty_is_kept_as_it_changes(town: Town, clock: ManualClock):
    worker = await town.add_worker(1)
    for minutes, duty in ((5, "off"), (60, "on"), (10, "off")):
        await clock.advance_ms(minutes * MIN_MS)
        at = utc_from_ms(clock.now_ms())
        await town.pool.execute(
            "UPDATE worker SET duty = $2, duty_since = $3, updated_at = $3 WHERE worker_id = $1",
            worker.person_id, duty, at,
        )  # fmt: skip
    rows = await town.pool.fetch("SELECT ended_at - began_at AS span FROM duty_period ORDER BY began_at")
    assert [row["span"].total_seconds() / 60 for row in rows] == [5, 10]


async def test_a_no_under_a_hold_is_counted_for_nothing(town: Town, desk: Desk, clock: ManualClock):
    said_no, held = await town.add_worker(1), await town.add_worker(2)
    await town.hold(person_id=held.person_id)
    for worker in (said_no, held):
        for state in [OfferState.DECLINED] * 5:
            await _past_offer(town, worker, state, clock.now_ms() - MIN_MS)
    other = await town.add_worker(3)
    for _ in range(20):
        await _past_offer(town, other, OfferState.ACCEPTED, clock.now_ms() - MIN_MS)
    await desk.dispatcher.feed.read()
    gaps = desk.dispatcher.table._columns["acceptance_gap"]
    assert gaps[said_no.slot] > 0
    assert gaps[held.slot] == gaps[other.slot] == 0


async def _past_offer(town: Town, worker: Principal, state: OfferState, at_ms: int) -> None:
    booking_id = await town.book()
    await town.pool.execute("UPDATE booking SET state = 'cancelled', next_attempt_at = NULL")
    at = utc_from_ms(at_ms)
    await town.pool.execute(
        """INSERT INTO offer (offer_id, org_id, booking_id, worker_id, state, cost_min, eta_s, sent_at, expires_at)
           VALUES (gen_random_uuid(), $1, $2, $3, $4, 1, 60, $5, $5)""",
        town.org_id, booking_id, worker.person_id, state.value, at,
    )  # fmt: skip


async def test_where_the_organisation_does_not_work_nobody_is_sent(town: Town, desk: Desk, pool: asyncpg.Pool):
    await town.add_worker(1)
    ring = "[[-8.7,41.2],[-8.5,41.2],[-8.5,41.3],[-8.7,41.3],[-8.7,41.2]]"
    at = utc_from_ms(desk.clock.now_ms())
    await pool.execute(
        """INSERT INTO zone (zone_id, org_id, region_id, kind, name, geometry, version, active, created_at, updated_at)
           VALUES (gen_random_uuid(), $1, $2, 'service_area', 'North', $3::text::jsonb, 1, true, $4, $4)""",
        town.org_id, town.region_id, f'{{"type":"MultiPolygon","coordinates":[[{ring}]]}}', at,
    )  # fmt: skip
    assert (await desk.decide(await town.book()))["ruled_out"] == {"zone": 1}
    inside = await town.book(north_km=6)
    assert "zone" not in (await desk.decide(inside))["ruled_out"]

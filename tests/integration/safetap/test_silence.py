"""People on jobs who are not heard of: asked first, then an incident, exactly one. Time is the test's."""

import math
import random
from collections.abc import Iterable
from itertools import pairwise
from uuid import UUID, uuid4

import orjson
import pytest

from config.limits import OUTAGE_PHONES_MIN, SILENCE_LEASE_MS
from engine.core.ids import PersonId
from engine.core.units import MS_PER_S, deg_to_e7, ms_from_utc, utc_from_ms
from engine.core.vocabulary import SENT_KINDS, IncidentKind, Role, WatchPhase
from engine.outbox.listener import Wake
from engine.safetap.desk import close
from engine.safetap.escalation_loop import EscalationLoop
from engine.safetap.silence import watch_store
from engine.safetap.silence.usual import Seen, job_ratio, log_ratio
from engine.safetap.silence.usual_store import History
from engine.safetap.silence.watch import SIGNALS
from engine.safetap.silence.watch_loop import WatchLoop
from engine.safetap.trigger_store import store_trigger
from tests.integration.safetap.world import NOW_MS, World

MIN = 60_000
DOOR = (41.15, -8.61)
LAT_M = 1 / 111_320


@pytest.fixture
async def jobs(world: World) -> World:
    """The world's job as it is watched, with a day of trail to write to."""
    await world.pool.execute(
        "CREATE TABLE trail_any PARTITION OF trail FOR VALUES FROM ('2023-11-01') TO ('2023-12-01')"
    )
    await world.pool.execute("UPDATE worker SET duty = 'on'")
    return world


@pytest.fixture
def loop(world: World) -> WatchLoop:
    return WatchLoop(pool=world.pool, new_id=uuid4)


async def look(world: World, loop: WatchLoop, now_ms: int) -> None:
    """Look at everything that is due at an instant, until nothing is."""
    async with world.pool.acquire() as conn:
        for _ in range(20):
            if not await loop.cycle(conn, now_ms):
                return
    raise AssertionError("a watch is due again and again at one instant")


async def walk(world: World, points: Iterable[tuple[int, float]], *, slot: int = 0) -> None:
    """Write fixes: when (ms), and how many metres north of the door."""
    await world.pool.executemany(
        "INSERT INTO trail VALUES ($1, $2, $3, $4, $5, 50, 0, -1)",
        [
            (utc_from_ms(at_ms), world.org_id, slot, deg_to_e7(DOOR[0] + metres * LAT_M), deg_to_e7(DOOR[1]))
            for at_ms, metres in points
        ],
    )


async def known_phone(world: World) -> None:
    """Let the worker's phone have reported every five seconds until the world begins."""
    await walk(world, [(NOW_MS - n * 5_000, 0) for n in range(40)])


async def watch_of(world: World, person_id: PersonId | None = None) -> dict[str, object]:
    row = await world.pool.fetchrow("SELECT * FROM silence_watch WHERE person_id = $1", person_id or world.worker)
    assert row is not None
    return dict(row)


async def move(world: World, state: str, at_ms: int) -> None:
    await world.pool.execute(
        "UPDATE booking SET state = $2, updated_at = $3 WHERE booking_id = $1",
        world.booking_id,
        state,
        utc_from_ms(at_ms),
    )


async def set_watch_policy(world: World, **rules: object) -> None:
    await world.pool.execute(
        """INSERT INTO silence_policy VALUES ($1, $2, NULL, $3::text::jsonb, 1, $4)""",
        uuid4(), world.org_id, orjson.dumps(rules).decode(), utc_from_ms(NOW_MS),
    )  # fmt: skip


async def kinds(world: World) -> list[str]:
    rows = await world.pool.fetch("SELECT kind FROM silence_event ORDER BY event_id")
    return [row["kind"] for row in rows]


async def test_a_silent_phone_is_asked_then_an_incident_and_only_one(jobs: World, loop: WatchLoop) -> None:
    await walk(jobs, [(NOW_MS + n * 5_000, 0) for n in range(24)])
    heard_ms = NOW_MS + 115_000
    await look(jobs, loop, NOW_MS + 120_000)
    due = ms_from_utc((await watch_of(jobs))["due_at"])  # type: ignore[arg-type]
    assert due == heard_ms + 300_000
    await look(jobs, loop, due)
    assert (await watch_of(jobs))["stage"] == "asked"
    events = await jobs.pool.fetch(
        "SELECT topic, kind FROM outbox WHERE kind IN ('check.in', 'silence') ORDER BY event_id"
    )
    assert [tuple(row) for row in events] == [
        (f"user:{jobs.worker}", "check.in"), (f"desk:{jobs.org_id}", "silence")
    ]  # fmt: skip
    await look(jobs, loop, due + 179_000)
    assert await jobs.pool.fetchval("SELECT count(*) FROM incident") == 0
    await look(jobs, loop, due + 180_000)
    incident = await jobs.incident()
    assert (incident["kind"], incident["booking_id"]) == ("silence", jobs.booking_id)
    await look(jobs, loop, due + 600_000)
    assert await jobs.pool.fetchval("SELECT count(*) FROM safetap_trigger") == 1
    escalations = EscalationLoop(pool=jobs.pool, wake=Wake(), new_id=uuid4)
    async with jobs.pool.acquire() as conn:
        assert await escalations.cycle(conn, due + 180_000) == 1
        await close(
            conn, incident_id=incident["incident_id"], actor=jobs.principal(jobs.dispatcher),
            reason="a flat battery", now_ms=due + 700_000,
        )  # fmt: skip
    await look(jobs, loop, due + 700_000)
    watch = await watch_of(jobs)
    assert (watch["stage"], watch["round"]) == ("calm", 2)
    await look(jobs, loop, due + 1_000_000)
    await look(jobs, loop, due + 1_180_000)
    assert await jobs.pool.fetchval("SELECT count(*) FROM incident") == 2, "another silence is another alarm"


async def test_a_phone_that_talks_again_needs_no_answer(jobs: World, loop: WatchLoop) -> None:
    await known_phone(jobs)
    await look(jobs, loop, NOW_MS + 300_000)
    assert (await watch_of(jobs))["stage"] == "asked"
    await walk(jobs, [(NOW_MS + 310_000, 0)])
    await look(jobs, loop, NOW_MS + 480_000)
    watch = await watch_of(jobs)
    assert (watch["stage"], watch["calm_at"]) == ("calm", utc_from_ms(NOW_MS))
    assert await kinds(jobs) == ["asked", "calmed"]
    assert await jobs.pool.fetchval("SELECT count(*) FROM incident") == 0


async def test_a_stop_on_the_way_and_the_way_back(jobs: World, loop: WatchLoop) -> None:
    await move(jobs, "en_route", NOW_MS)
    await walk(jobs, [(NOW_MS + n * 10_000, 6_000 - 10 * min(n, 60) * 5) for n in range(151)])
    # Moved for ten minutes, then stood for fifteen.
    await look(jobs, loop, NOW_MS + 1_440_000)
    assert (await watch_of(jobs))["stage"] == "calm"
    await look(jobs, loop, NOW_MS + 1_500_000)
    watch = await watch_of(jobs)
    assert (watch["stage"], watch["signal"]) == ("asked", "long_stop")
    await walk(jobs, [(NOW_MS + 1_505_000 + n * 10_000, 3_000 - 80 * n) for n in range(10)])
    await look(jobs, loop, NOW_MS + 1_680_000)
    assert (await watch_of(jobs))["stage"] == "calm"
    await walk(jobs, [(NOW_MS + 1_700_000 + n * 10_000, 2_200 + 200 * n) for n in range(60)])
    await look(jobs, loop, NOW_MS + 2_290_000)
    assert (await watch_of(jobs))["signal"] == "off_site", "ever farther from the door"


async def test_leaving_the_site_in_the_middle_of_the_job(jobs: World, loop: WatchLoop) -> None:
    await walk(jobs, [(NOW_MS + n * 10_000, 0 if n < 30 else 900) for n in range(60)])
    await look(jobs, loop, NOW_MS + 590_000)
    assert (await watch_of(jobs))["stage"] == "calm"
    await walk(jobs, [(NOW_MS + 600_000, 900)])
    await look(jobs, loop, NOW_MS + 600_000)
    assert (await watch_of(jobs))["signal"] == "off_site"


async def test_a_drawn_site_is_what_counts(jobs: World, loop: WatchLoop) -> None:
    zone_id = uuid4()
    at = utc_from_ms(NOW_MS - 60_000)
    await jobs.pool.execute(
        "INSERT INTO zone VALUES ($1, $2, NULL, 'site', 'Hospital', '{}', NULL, true, 1, $3, $3)",
        zone_id,
        jobs.org_id,
        at,
    )
    await jobs.pool.execute("INSERT INTO zone_presence VALUES ($1, $2, $3)", jobs.worker, zone_id, at)
    await jobs.pool.execute(
        "INSERT INTO zone_event VALUES (1, $1, $2, $3, 'enter', 'moved', $4, $4)", jobs.org_id, zone_id, jobs.worker, at
    )
    await walk(jobs, [(NOW_MS + n * 10_000, 900) for n in range(100)])
    await look(jobs, loop, NOW_MS + 990_000)
    assert (await watch_of(jobs))["stage"] == "calm", "far from the door, but inside the hospital"
    left = utc_from_ms(NOW_MS + 1_000_000)
    await jobs.pool.execute("DELETE FROM zone_presence")
    await jobs.pool.execute(
        "INSERT INTO zone_event VALUES (2, $1, $2, $3, 'exit', 'moved', $4, $4)",
        jobs.org_id,
        zone_id,
        jobs.worker,
        left,
    )
    await jobs.pool.execute("DELETE FROM trail")
    await walk(jobs, [(NOW_MS + 1_000_000 + n * 10_000, 50) for n in range(32)])
    await look(jobs, loop, NOW_MS + 1_310_000)
    assert (await watch_of(jobs))["signal"] == "off_site", "at the door, but out of the drawn site"


async def test_a_missed_check_in_is_heard_though_the_phone_is_off(jobs: World, loop: WatchLoop) -> None:
    await set_watch_policy(jobs, check_in_every_s=600, silent_s=None, watches_customers=True)
    await look(jobs, loop, NOW_MS)
    assert (await watch_of(jobs, jobs.customer))["check_in_at"] == utc_from_ms(NOW_MS + 600_000)
    await look(jobs, loop, NOW_MS + 600_000)
    await look(jobs, loop, NOW_MS + 780_000)
    rows = await jobs.pool.fetch("SELECT person_id, kind FROM incident")
    assert {row["person_id"]: row["kind"] for row in rows} == {
        jobs.worker: "check_in_missed", jobs.customer: "check_in_missed"
    }  # fmt: skip


async def test_who_else_ends_the_job_does_not_end_the_watch(jobs: World, loop: WatchLoop) -> None:
    await known_phone(jobs)
    await walk(jobs, [(NOW_MS + 10_000, 0)])
    await move(jobs, "cancelled", NOW_MS + 20_000)
    assert (await watch_of(jobs))["phase"] == "leaving"
    await look(jobs, loop, NOW_MS + 310_000)
    assert (await watch_of(jobs))["signal"] == "silence"
    await look(jobs, loop, NOW_MS + 490_000)
    assert (await jobs.incident())["kind"] == "silence"


async def test_a_worker_who_is_heard_of_after_the_job_is_watched_no_more(jobs: World, loop: WatchLoop) -> None:
    await move(jobs, "cancelled", NOW_MS + 20_000)
    await look(jobs, loop, NOW_MS + 20_000)
    assert (await watch_of(jobs))["phase"] == "leaving"
    await walk(jobs, [(NOW_MS + 30_000, 0)])
    await look(jobs, loop, NOW_MS + 50_000)
    assert await jobs.pool.fetchval("SELECT count(*) FROM silence_watch") == 0


async def test_a_job_that_its_worker_ends_is_watched_no_more(jobs: World, loop: WatchLoop) -> None:
    await known_phone(jobs)
    await look(jobs, loop, NOW_MS + 300_000)
    assert (await watch_of(jobs))["stage"] == "asked"
    await move(jobs, "completed", NOW_MS + 310_000)
    assert await jobs.pool.fetchval("SELECT count(*) FROM silence_watch") == 0
    await look(jobs, loop, NOW_MS + 900_000)
    assert await jobs.pool.fetchval("SELECT count(*) FROM incident") == 0


async def test_who_called_for_help_themselves_is_not_asked(jobs: World, loop: WatchLoop) -> None:
    async with jobs.pool.acquire() as conn:
        await store_trigger(conn, jobs.received(), new_id=uuid4)
    await look(jobs, loop, NOW_MS + 900_000)
    assert (await watch_of(jobs))["stage"] == "calm"
    assert await kinds(jobs) == []
    await jobs.pool.execute("UPDATE incident SET is_drill = true")
    await look(jobs, loop, NOW_MS + 930_000)
    assert (await watch_of(jobs))["stage"] == "asked", "a drill cares for nobody"


async def add_phones(world: World, count: int, heard_ms: int) -> None:
    for _ in range(count):
        person_id = PersonId(uuid4())
        async with world.pool.acquire() as conn:
            await world.add_person(conn, person_id, Role.WORKER, "One More")
        slot = await world.pool.fetchval(
            "INSERT INTO worker (worker_id, updated_at, duty) VALUES ($1, $2, 'on') RETURNING slot",
            person_id, utc_from_ms(NOW_MS),
        )  # fmt: skip
        await walk(world, [(heard_ms - n * 10_000, 500) for n in range(10)], slot=slot)


async def test_many_phones_silent_at_once_are_one_fact_and_no_alarm(jobs: World, loop: WatchLoop) -> None:
    await known_phone(jobs)
    await set_watch_policy(jobs, check_in_every_s=3_600)
    lost_ms = NOW_MS + 100_000
    await walk(jobs, [(NOW_MS + n * 5_000, 0) for n in range(1, 21)])
    await add_phones(jobs, OUTAGE_PHONES_MIN, lost_ms)
    await look(jobs, loop, lost_ms + 320_000)
    assert (await watch_of(jobs))["stage"] == "calm"
    outage = await jobs.pool.fetchrow("SELECT * FROM silence_outage WHERE ended_at IS NULL")
    assert (outage["region_id"], outage["phones"], outage["silent"]) == (None, 5, 5)
    await look(jobs, loop, NOW_MS + 3_600_000)
    assert (await watch_of(jobs))["signal"] == "check_in_missed", "the clock goes on"
    await look(jobs, loop, NOW_MS + 3_780_000)
    assert (await jobs.incident())["kind"] == "check_in_missed"
    assert await jobs.pool.fetchval("SELECT count(*) FROM silence_outage") == 1


async def test_after_an_outage_silence_counts_from_its_end(jobs: World, loop: WatchLoop) -> None:
    await known_phone(jobs)
    lost_ms = NOW_MS + 100_000
    await walk(jobs, [(NOW_MS + n * 5_000, 0) for n in range(1, 21)])
    await add_phones(jobs, OUTAGE_PHONES_MIN, lost_ms)
    await look(jobs, loop, lost_ms + 320_000)
    back_ms = lost_ms + 600_000
    for slot in range(1, 4):
        await walk(jobs, [(back_ms, 500)], slot=slot)
    await look(jobs, loop, back_ms + 5_000)
    ended = await jobs.pool.fetchval("SELECT ended_at FROM silence_outage")
    assert ended == utc_from_ms(back_ms + 5_000)
    assert (await watch_of(jobs))["stage"] == "calm"
    for slot in range(1, 4):
        await walk(jobs, [(back_ms + 300_000, 500)], slot=slot)
    await look(jobs, loop, back_ms + 305_000)
    assert (await watch_of(jobs))["signal"] == "silence", "who did not come back is asked after"


async def test_a_watcher_that_dies_between_claim_and_act_is_taken_over_by_one(jobs: World, loop: WatchLoop) -> None:
    await known_phone(jobs)
    await look(jobs, loop, NOW_MS + 300_000)
    climbs_ms = NOW_MS + 480_000
    async with jobs.pool.acquire() as dead, jobs.pool.acquire() as alive:
        claims = await watch_store.claim(dead, climbs_ms)
        assert len(claims) == 1
        assert await loop.cycle(alive, climbs_ms + SILENCE_LEASE_MS - 1) == 0
        other = WatchLoop(pool=jobs.pool, new_id=uuid4)
        assert await other.cycle(alive, climbs_ms + SILENCE_LEASE_MS) == 1
        assert await loop.take(dead, claims, climbs_ms + SILENCE_LEASE_MS) == 0, "its claim is void"
    assert (await jobs.incident())["kind"] == "silence"
    assert await jobs.pool.fetchval("SELECT count(*) FROM safetap_trigger") == 1


async def test_what_is_usual_is_learned_like_a_plain_reference(jobs: World) -> None:
    durations = [3_000, 3_600, 4_200, 200_000, 5_000, 10]
    service_id = await jobs.pool.fetchval("SELECT service_id FROM service")
    for seconds in durations:
        booking_id: UUID = uuid4()
        at = utc_from_ms(NOW_MS)
        await jobs.pool.execute(
            """INSERT INTO booking (booking_id, org_id, region_id, customer_id, service_id, address_id, state, version,
                                    worker_id, tz, created_at, updated_at, search_until)
               VALUES ($1, $2, $3, $4, $5, $6, 'completed', 2, $7, 'UTC', $8, $8, $8)""",
            booking_id, jobs.org_id, jobs.region_id, jobs.customer, service_id, jobs.address_id, jobs.worker, at,
        )  # fmt: skip
        await jobs.pool.executemany(
            "INSERT INTO booking_event VALUES ($1, $2, $3, $4, 'worker', $5, '', $6)",
            [
                (booking_id, 1, "arrived", "in_progress", jobs.worker, at),
                (booking_id, 2, "in_progress", "completed", jobs.worker, utc_from_ms(NOW_MS + seconds * MS_PER_S)),
            ],
        )
    history = History()
    async with jobs.pool.acquire() as conn:
        await history.learn(conn, [jobs.org_id], now_ms=NOW_MS + 1)
    usual = history.usual(jobs.org_id, service_id, WatchPhase.IN_PROGRESS, duration_min=60, eta_promised_s=None)
    assert usual is not None
    seen = Seen.of(log_ratio(seconds, 3_600) for seconds in durations)
    belief = job_ratio(seen, seen)
    assert usual.median_s == round(3_600 * belief.median)
    assert usual.too_long_s == round(3_600 * belief.rarely_exceeded(3))
    assert 0.5 < belief.median < 1.2


def plain_facts(fixes: list[tuple[int, float]], limit_m: float) -> tuple[int, int | None, float]:
    """Say what fixes show, in the plainest way: since when standing, since when away, mean log gap."""
    stopped = fixes[-1][0]
    for at_ms, metres in reversed(fixes):
        if abs(metres - fixes[-1][1]) > 75:
            break
        stopped = at_ms
    away = None
    for at_ms, metres in reversed(fixes):
        if abs(metres) - 5 <= limit_m:
            break
        away = at_ms
    gaps = [math.log(max(1.0, (late - early) / 1000)) for (early, _), (late, _) in pairwise(fixes)]
    return stopped, away, sum(gaps) / len(gaps)


async def test_what_fixes_show_is_what_a_plain_reference_sees(jobs: World) -> None:
    for seed in range(8):
        await jobs.pool.execute("DELETE FROM trail")
        await jobs.pool.execute("UPDATE silence_watch SET lease_until = NULL")
        await compare_with_the_reference(jobs, random.Random(seed))


async def compare_with_the_reference(jobs: World, dice: random.Random) -> None:
    at_ms, metres, fixes = NOW_MS, 0.0, []
    for _ in range(80):
        at_ms += dice.choice((2_000, 5_000, 5_000, 400_000))
        metres = max(0.0, metres + dice.choice((0.0, 0.0, 0.0, 60.0, 400.0, -300.0)))
        fixes.append((at_ms, metres))
    await walk(jobs, fixes)
    fixes = [one for one in fixes if one[0] > at_ms - 5_400_000]
    async with jobs.pool.acquire() as conn, conn.transaction():
        claims = await watch_store.claim(conn, at_ms)
        (due,) = [
            one
            for one in await watch_store.load(conn, claims, History(), now_ms=at_ms)
            if one.watch.role is Role.WORKER
        ]
    stopped, away, gap = plain_facts(fixes, 300)
    assert due.facts.heard_ms == at_ms
    assert (due.facts.stopped_since_ms, due.facts.away_since_ms) == (stopped, away)
    assert due.reports is not None
    weight, seen = 20, len(fixes) - 1
    assert due.reports.usual_s == pytest.approx(math.exp((weight * math.log(10) + seen * gap) / (weight + seen)))


def test_every_kind_of_the_watch_is_no_phones() -> None:
    assert set(SENT_KINDS) | set(SIGNALS) == set(IncidentKind)
    assert not set(SENT_KINDS) & set(SIGNALS)

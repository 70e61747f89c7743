"""The keeper deletes what is old, all of it, and nothing else."""

from uuid import uuid4

import asyncpg
import pytest

from config import limits
from engine.core.units import utc_from_ms
from engine.run_keeper import JOBS, Job, Keeper
from tests.fakes import ManualClock

pytestmark = pytest.mark.integration


@pytest.fixture
def keeper(pool: asyncpg.Pool, clock: ManualClock) -> Keeper:
    return Keeper(pool=pool, clock=clock)


@pytest.fixture
async def person_id(pool: asyncpg.Pool, clock: ManualClock):
    at, org_id, region_id, person_id = utc_from_ms(clock.now_ms()), uuid4(), uuid4(), uuid4()
    await pool.execute("INSERT INTO org VALUES ($1, 'Test', $2)", org_id, at)
    await pool.execute("INSERT INTO region VALUES ($1, $2, 'City', 'PT', 'UTC', 0, 0)", region_id, org_id)
    await pool.execute(
        """INSERT INTO person (person_id, org_id, region_id, role, full_name, tokens_valid_after, tz, created_at)
           VALUES ($1, $2, $3, 'customer', 'Somebody', $4, 'UTC', $4)""",
        person_id,
        org_id,
        region_id,
        at,
    )
    return person_id


INSERTS = {
    "outbox": """INSERT INTO outbox (topic, kind, body, created_at, published_at)
                 SELECT 'user:' || $1::uuid, 'test', '{}', $2, $2 FROM generate_series(1, $3)""",
    "idempotency_keys": """INSERT INTO idempotency_key (person_id, key, request_hash, created_at)
                           SELECT $1, gen_random_uuid()::text, '', $2 FROM generate_series(1, $3)""",
    "refresh_tokens": """INSERT INTO refresh_token (token_hash, person_id, family_id, issued_at, expires_at)
                         SELECT uuid_send(gen_random_uuid()), $1, $1, $2, $2 FROM generate_series(1, $3)""",
    "enrolment_codes": """INSERT INTO enrolment_code (code_hash, person_id, created_at, expires_at, used_at)
                          SELECT uuid_send(gen_random_uuid()), $1, $2, $2, $2 FROM generate_series(1, $3)""",
    "zone_events": """WITH who AS (INSERT INTO worker (worker_id, updated_at) VALUES ($1, $2) ON CONFLICT DO NOTHING),
                           place AS (
                             INSERT INTO zone (zone_id, org_id, kind, name, geometry, active, version, created_at,
                                               updated_at)
                             SELECT gen_random_uuid(), org_id, 'site', 'Depot', '{}', true, 1, $2, $2
                               FROM person WHERE person_id = $1
                             RETURNING zone_id, org_id)
                      INSERT INTO zone_event
                      SELECT (extract(epoch FROM $2::timestamptz) * 1000)::bigint * 1000 + n, org_id, zone_id, $1,
                             'enter', 'moved', $2, $2
                        FROM place, generate_series(1, $3) n""",
    "silence_events": """INSERT INTO silence_event (booking_id, person_id, org_id, round, kind, at)
                         SELECT gen_random_uuid(), person_id, org_id, 1, 'answered', $2
                           FROM person, generate_series(1, $3) WHERE person_id = $1""",
    "silence_asks": """INSERT INTO silence_ask (ask_id, person_id, org_id, booking_id, round, state, due_at, created_at)
                       SELECT gen_random_uuid(), person_id, org_id, gen_random_uuid(), 1, 'sent', $2, $2
                         FROM person, generate_series(1, $3) WHERE person_id = $1""",
    "trip_shares": """INSERT INTO trip_share
                      SELECT gen_random_uuid(), gen_random_uuid(), $1,
                             uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), $2, $2
                        FROM generate_series(1, $3)""",
    "sign_in_failures": "INSERT INTO sign_in_failure SELECT uuid_send($1), $2 FROM generate_series(1, $3)",
}
TABLES = {
    "outbox": "outbox",
    "idempotency_keys": "idempotency_key",
    "refresh_tokens": "refresh_token",
    "enrolment_codes": "enrolment_code",
    "zone_events": "zone_event",
    "silence_events": "silence_event",
    "silence_asks": "silence_ask",
    "trip_shares": "trip_share",
    "sign_in_failures": "sign_in_failure",
}


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
async def test_what_is_old_goes_and_what_is_not_stays(
    pool: asyncpg.Pool, keeper: Keeper, clock: ManualClock, person_id, job: Job
):
    old_ms = clock.now_ms() - job.kept_ms
    await pool.execute(INSERTS[job.name], person_id, utc_from_ms(old_ms), 3)
    await pool.execute(INSERTS[job.name], person_id, utc_from_ms(old_ms + 1), 2)
    assert await keeper.run_job(job) == 3
    assert await pool.fetchval(f"SELECT count(*) FROM {TABLES[job.name]}") == 2
    assert await keeper.run_job(job) == 0


async def test_clients_can_tell_up_to_where_the_history_is_gone(pool: asyncpg.Pool, keeper: Keeper, clock: ManualClock):
    insert = "INSERT INTO outbox (seq, topic, kind, body, created_at, published_at) VALUES ($1, 't', 'k', '{}', $2, $2)"
    old, young = (utc_from_ms(clock.now_ms() - JOBS[0].kept_ms + late) for late in (0, 1))
    # Published together, and deleted in the order of their ids, which need not be that of their numbers.
    for seq, at in ((2, old), (1, young), (4, old), (3, old), (5, young)):
        await pool.execute(insert, seq, at)
    assert await keeper.run_job(JOBS[0]) == 3
    assert await pool.fetchval("SELECT floor_seq FROM outbox_epoch") == 4
    assert await keeper.run_job(JOBS[0]) == 0
    assert await pool.fetchval("SELECT floor_seq FROM outbox_epoch") == 4


async def test_an_event_not_yet_published_stays_however_old(pool: asyncpg.Pool, keeper: Keeper):
    await pool.execute(
        "INSERT INTO outbox (topic, kind, body, created_at) VALUES ('user:x', 'test', '{}', $1)", utc_from_ms(1)
    )
    assert await keeper.run_job(JOBS[0]) == 0


async def test_a_spent_token_stays_until_it_would_have_expired(
    pool: asyncpg.Pool, keeper: Keeper, clock: ManualClock, person_id
):
    job = next(job for job in JOBS if job.name == "refresh_tokens")
    await pool.execute(INSERTS["refresh_tokens"], person_id, utc_from_ms(clock.now_ms() + 1), 1)
    await pool.execute("UPDATE refresh_token SET used_at = issued_at, revoked_at = issued_at")
    assert await keeper.run_job(job) == 0
    clock.step_ms(1)
    assert await keeper.run_job(job) == 1


async def test_deletes_in_batches_and_can_be_stopped_between_them(
    pool: asyncpg.Pool, keeper: Keeper, clock: ManualClock, person_id, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.run_keeper.KEEPER_BATCH_MAX", 10)
    job = JOBS[0]
    await pool.execute(INSERTS["outbox"], person_id, utc_from_ms(0), 25)
    left_after_a_batch: list[int] = []

    async def pause(delay_ms: float) -> None:
        assert delay_ms == limits.KEEPER_PAUSE_MS
        left_after_a_batch.append(await pool.fetchval("SELECT count(*) FROM outbox"))

    monkeypatch.setattr(clock, "sleep_ms", pause)
    assert await keeper.run_job(job) == 25
    assert left_after_a_batch == [15, 5]

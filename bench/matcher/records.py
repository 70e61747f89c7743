"""What the record of a decision costs an offer: the same with and without it, in turns, on a durable Postgres.

The path is the running one from the frame to the commit. Gate: every record gives its decision again, to the bit.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import numpy as np

from bench.escalation import Server
from bench.report import Row, less_is_better
from clenzy.migrations import migrate
from config.limits import ETA_CANDIDATES_MAX, NEAR_LOSERS_MAX, SEARCH_RADIUS_M_MAX
from engine.core.clock import SystemClock
from engine.core.database import Connection
from engine.core.ids import PersonId
from engine.core.units import utc_from_ms
from engine.matcher import decision as deciding
from engine.matcher import kernels
from engine.matcher.ask import Ask
from engine.matcher.cost_policy import DEFAULT_POLICY
from engine.matcher.decision import Circumstances, Decision, decide
from engine.matcher.decision_detail import detail_of
from engine.matcher.decision_record import decode
from engine.matcher.decision_replay import replay
from engine.matcher.dispatch_store import Claim, LogEntry, Proposal, claim_due, save_offers
from engine.matcher.frame import ALL_READY, Apart, Candidates, Frame, Ready, build_frame, build_query
from engine.matcher.offer_policy import DEFAULT_OFFER_POLICY
from engine.matcher.offers import next_round
from engine.matcher.recorder import Recorder
from engine.matcher.shortlist import shortlist_of
from engine.people.keyring import Keyring, ensure_keyring
from engine.people.sealing import Sealing
from engine.risk.score import Risk

OFFERS: Final = 240
WORKERS: Final = 2_000
LAT_DEG, LNG_DEG = 50.0, 9.0
EXCLUDED_SHARE: Final = 0.2
"""Of the workers, by each of three rules."""
RECORD_US_MAX: Final = 750
"""What the record may add to an offer: a twentieth of the 15 ms from a booking to the offer at a worker's phone."""

FOUND: Final = """
WITH o AS (INSERT INTO org VALUES ($1, 'Bench', $2)),
     r AS (INSERT INTO region VALUES ($1, $1, 'Bench', 'DE', 'Europe/Berlin', 50, 9)),
     p AS (INSERT INTO person (person_id, org_id, region_id, role, full_name, tokens_valid_after, tz, created_at)
           SELECT id, $1, $1, role, 'Somebody', $2, 'Europe/Berlin', $2
             FROM (SELECT $1 AS id, 'customer' AS role UNION ALL SELECT unnest($3::uuid[]), 'worker') AS somebody),
     w AS (INSERT INTO worker (worker_id, skills, rating, duty, idle_since, updated_at)
           SELECT unnest($3::uuid[]), 1, 5, 'on', $2, $2),
     s AS (INSERT INTO service VALUES ($1, $1, 'cleaning', 'Cleaning', 0, 60, 4800, 'EUR')),
     places AS (SELECT gen_random_uuid() AS id FROM generate_series(1, $4)),
     doors AS (INSERT INTO address (address_id, org_id, region_id, customer_id, line, lat, lng, tz)
               SELECT id, $1, $1, $1, 'Street 1', 50, 9, 'Europe/Berlin' FROM places)
INSERT INTO booking (booking_id, org_id, region_id, customer_id, service_id, address_id, state, version, tz,
                     created_at, updated_at, search_until, next_attempt_at)
SELECT id, $1, $1, $1, $1, id, 'searching', 1, 'Europe/Berlin', $2, $2, $2::timestamptz + interval '1 hour', $2
  FROM places
"""


def record_rows(random: np.random.Generator) -> list[Row]:
    """Return what an offer takes with its record beside one without."""
    deciding.warm_up()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        server.start()
        try:
            migrate(server.postgres.url)
            return [asyncio.run(_measured(server.postgres.url, _crowd(random), Path(folder)))]
        finally:
            server.stop()


def _crowd(random: np.random.Generator) -> Frame:
    mask = np.full(WORKERS, int(ALL_READY) | 1, np.int32)
    for bit in (Ready.FREE, Ready.HEARD, Ready.IN_SHIFT):
        mask[random.random(WORKERS) < EXCLUDED_SHARE] &= ~int(bit)
    return build_frame(
        Candidates(
            slots=np.arange(WORKERS),
            mask=mask,
            lat_deg=LAT_DEG + random.normal(0, 0.03, WORKERS),
            lng_deg=LNG_DEG + random.normal(0, 0.03, WORKERS),
            rating=random.uniform(3, 5, WORKERS),
            experience=random.random(WORKERS),
            idle_s=random.uniform(0, 4_000, WORKERS),
            fix_age_s=random.uniform(0, 30, WORKERS),
        ),
        origin_lat_deg=LAT_DEG,
        origin_lng_deg=LNG_DEG,
    )


async def _measured(url: str, frame: Frame, folder: Path) -> Row:
    clock = SystemClock()
    now_ms = clock.now_ms()
    sealing = Sealing(Keyring(ensure_keyring(folder / "keys.json")))  # nothing is sealed here
    workers = [PersonId(uuid4()) for _ in range(OFFERS)]
    ids = [PersonId(UUID(int=slot + 1)) for slot in range(WORKERS)]
    recorder = Recorder(clock=clock, worker_id=ids.__getitem__)
    ask = Ask(LAT_DEG, LNG_DEG, 0, 0.3)
    took_us: dict[bool, list[float]] = {True: [], False: []}
    async with asyncpg.create_pool(url, min_size=1, max_size=2, init=sealing.prepare) as pool, pool.acquire() as conn:
        await conn.execute(FOUND, uuid4(), utc_from_ms(now_ms), workers, OFFERS)
        await conn.execute("ANALYZE")
        claims = await claim_due(conn, now_ms=clock.now_ms(), limit=OFFERS)
        await recorder.begin(conn, DEFAULT_POLICY, now_ms=now_ms)
        for turn, (claim, worker_id) in enumerate(zip(claims, workers, strict=True)):
            has_record = turn % 2 == 0
            began_ns = time.perf_counter_ns()
            decision = decide(shortlist_of(frame, ask, Apart.nobody()), None, UNNAMED)
            kept = recorder.made(decision, window_id=None) if has_record else None
            detail = detail_of(decision, worker_id=ids.__getitem__)
            await _save(conn, claim, decision, worker_id, LogEntry("offered", detail, 0, kept))
            took_us[has_record].append((time.perf_counter_ns() - began_ns) / 1_000)
        bodies = [row["body"] for row in await conn.fetch("SELECT body FROM decision_record")]
    near_us = _near_us(frame, ask)
    is_same = all(replay(decode(body), DEFAULT_POLICY.weights) == [] for body in bodies)
    without_us = median(took_us[False]) - near_us
    return less_is_better(
        f"offer with its record ({round(median(map(len, bodies)))} bytes), {WORKERS:,} workers",
        median(took_us[True]),
        without_us,
        anchor_name="the same offer without, in turns",
        unit="us",
        most=round(without_us + RECORD_US_MAX),
        gate=is_same and len(bodies) == OFFERS // 2,
    )


UNNAMED: Final = Circumstances(DEFAULT_POLICY.label, Risk(0.3, {}), 12_000, asks_again=False)


async def _save(
    conn: Connection,
    claim: Claim,
    decision: Decision,
    worker_id: PersonId,
    entry: LogEntry,
) -> None:
    first = decision.to_ask[0]
    asked = await save_offers(
        conn,
        claim,
        [Proposal(worker_id, first.cost_min, first.eta_s)],
        asking=next_round(DEFAULT_OFFER_POLICY, []),
        new_id=uuid4,
        entry=entry,
        now_ms=SystemClock().now_ms(),
    )
    assert asked == [worker_id]


def _near_us(frame: Frame, ask: Ask) -> float:
    """Return what a look for near losers takes by itself: a shortlist finds them on its way, for the record alone."""
    query = build_query(frame, ask, radius_m=SEARCH_RADIUS_M_MAX, weights=DEFAULT_POLICY.weights)
    need = query.need.copy()
    need[kernels.NEED_READY], need[kernels.NEED_KIT] = 1 << ask.skill_bit, 0
    wanted = ETA_CANDIDATES_MAX + NEAR_LOSERS_MAX
    rows, costs, buffer = np.empty(wanted, np.int32), np.empty(wanted, np.float32), np.empty(kernels.BLOCK, np.float32)
    took_us = []
    for _ in range(OFFERS):
        began_ns = time.perf_counter_ns()
        kernels.top_k(frame.matrix, frame.mask, need, query.numbers, rows, costs, buffer)
        took_us.append((time.perf_counter_ns() - began_ns) / 1_000)
    return median(took_us)

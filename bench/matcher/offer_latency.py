"""From a booking to the offer frame on a worker's socket, through the whole product: 2,000 live workers.

Every part is a process of its own: Postgres, Redis, gateway, matcher, relay. The workers are phones on sockets that
send fixes all the while. A booking is created by the statement that the API uses; its time begins before that, and
ends when the frame that rings is read from a worker's socket.

The anchor is the loop that many products begin with, in the same run on the same stores and the same gateway: told of a
booking, ask Redis GEOSEARCH for the nearest, take the first who is free, write an offer, publish it. It scores nothing,
keeps no reasons and would lose offers with its process.
"""

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, cast
from uuid import UUID, uuid4

import asyncpg
import numpy as np
import psycopg
from redis.asyncio import Redis

from bench.matcher.ringing import Phones
from bench.report import Row, less_is_better
from bench.stream.product import ORG, READY_S_MAX, Product, product
from bench.stream.rig import rig
from bench.stream.servers import ROOT
from clenzy.ports import any_free
from engine.booking.booking_store import NewBooking, create_booking, transition
from engine.core.clock import SystemClock
from engine.core.database import Connection
from engine.core.ids import BookingId, PersonId, RegionId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import BookingState, Role
from engine.people.keyring import FILE_NAME, Keyring, ensure_keyring
from engine.people.sealing import Sealing
from engine.people.tokens import Principal

WORKERS: Final = 2_000
BOOKINGS: Final = 200
WARM_UP: Final = 20
P50_MS_MAX, P99_MS_MAX = 15.0, 60.0
ANSWER_S_MAX: Final = 15.0
JOB_MIN: Final = 5
"""Short jobs: at this rate of bookings longer ones would be more work than hands, and given out in windows."""
PAUSE_S: Final = 0.05
"""Between two bookings: what is measured is one offer, not a queue of them."""
REGION: Final = RegionId(UUID(int=2))
SERVICE: Final = "cleaning"


def latency_rows(random: np.random.Generator) -> list[Row]:
    """Return the rows of the median and the 99th percentile; an offer to two, or to nobody, fails them."""
    with ExitStack() as stack:
        under_test = stack.enter_context(product(rig(seconds=1, seed=7), workers=WORKERS, clock_scale=1))
        _open_shop(under_test)
        phones = stack.enter_context(
            Phones(under_test.port, under_test.worker_tokens, from_ms=under_test.fix_now_ms(), random=random)
        )
        bench = Bench(under_test, phones, random)
        with process(under_test, "engine.run_notify"):
            theirs = asyncio.run(bench.with_loop())
            with process(under_test, "engine.run_matcher"):
                ours = asyncio.run(bench.with_matcher())
        is_right = bench.is_right()
    for name, each in (("ours", ours), ("the loop", theirs)):
        print(f"  {name}: p50 {np.percentile(each, 50):.1f} ms, p99 {np.percentile(each, 99):.1f} ms of {len(each)}")
    return [
        less_is_better(
            f"booking to offer frame, {WORKERS:,} live workers, p{percent}",
            float(np.percentile(ours, percent)),
            float(np.percentile(theirs, percent)),
            anchor_name="nearest first by GEOSEARCH in a Python loop, no reasons kept, same run",
            unit="ms",
            most=most,
            gate=is_right,
        )
        for percent, most in ((50, P50_MS_MAX), (99, P99_MS_MAX))
    ]


@contextmanager
def process(under_test: Product, module: str) -> Iterator[None]:
    """Run one of the product's processes until the end of the block."""
    port = any_free()
    environment = {**under_test.environment, "CLENZY_OPS_PORT": str(port)}
    with subprocess.Popen((sys.executable, "-m", module), env=environment, cwd=ROOT) as child:  # noqa: S603 - our own
        try:
            _await_ready(f"http://127.0.0.1:{port}/readyz")
            yield
        finally:
            child.terminate()


class Bench:
    """Creates bookings and waits for them to ring."""

    def __init__(self, under_test: Product, phones: Phones, random: np.random.Generator) -> None:
        self._under_test = under_test
        self._phones = phones
        self._random = random
        self._made: list[UUID] = []
        """Those that the matcher was to give out."""

    async def with_matcher(self) -> list[float]:
        """Return the milliseconds of each booking that the product gave out."""
        async with self._pool() as pool:
            took_ms = [await self._ms(pool, await self._customer(pool)) for _ in range(WARM_UP + BOOKINGS)]
        return took_ms[WARM_UP:]

    async def with_loop(self) -> list[float]:
        """Return the milliseconds of each booking that the anchor's loop gave out."""
        redis: Redis = Redis.from_url(self._under_test.redis_url)
        lats, lngs = self._phones.places_deg
        async with self._pool() as pool:
            rows = await pool.fetch("SELECT worker_id FROM worker ORDER BY slot")
            workers = [str(row["worker_id"]) for row in rows]
            for each in zip(lngs.tolist(), lats.tolist(), workers, strict=True):
                await redis.geoadd("anchor:workers", each)
            told: asyncio.Queue[str] = asyncio.Queue()
            async with pool.acquire() as listening, pool.acquire() as conn:

                def hear(*said: object) -> None:
                    told.put_nowait(str(said[3]))

                await listening.add_listener("clenzy_booking", hear)
                loop = asyncio.create_task(_nearest_first(told, redis, conn))
                took_ms = [await self._ms(pool, await self._customer(pool)) for _ in range(WARM_UP + BOOKINGS)]
                loop.cancel()
                await listening.remove_listener("clenzy_booking", hear)
        await redis.aclose()
        self._made.clear()
        return took_ms[WARM_UP:]

    def is_right(self) -> bool:
        """Return whether each booking rang once, at the worker whom Postgres names."""
        with psycopg.connect(self._under_test.database_url) as conn:
            asked: dict[UUID, int] = dict(
                conn.execute("SELECT o.booking_id, w.slot FROM offer o JOIN worker w USING (worker_id)")
            )
        heard = {each: self._phones.rang.get(str(each), []) for each in self._made}
        return all(len(rang) == 1 and rang[0][0] + 1 == asked.get(each) for each, rang in heard.items())

    async def _ms(self, pool: asyncpg.Pool, customer: Principal) -> float:
        booking_id, clock = BookingId(uuid4()), SystemClock()
        lats, lngs = self._phones.places_deg
        row = int(self._random.integers(len(lats)))
        booking = NewBooking(booking_id, uuid4(), SERVICE, float(lats[row]), float(lngs[row]), "Rua 1")
        self._made.append(booking_id)
        async with pool.acquire() as conn:
            began_s = time.perf_counter()
            await create_booking(conn, customer=customer, booking=booking, now_ms=clock.now_ms())
        until_s = began_s + ANSWER_S_MAX
        while str(booking_id) not in self._phones.rang and time.perf_counter() < until_s:  # noqa: ASYNC110 - another thread hears the phones
            await asyncio.sleep(0.001)
        rang = self._phones.rang.get(str(booking_id))
        async with pool.acquire() as conn, conn.transaction():
            await transition(
                conn, booking_id=booking_id, to=BookingState.CANCELLED, actor=customer, reason="", now_ms=clock.now_ms()
            )
        await asyncio.sleep(PAUSE_S)
        return (rang[0][1] - began_s) * 1_000 if rang else ANSWER_S_MAX * 1_000

    async def _customer(self, pool: asyncpg.Pool) -> Principal:
        person_id, now_ms = PersonId(uuid4()), SystemClock().now_ms()
        await pool.execute(
            "INSERT INTO person (person_id, org_id, region_id, role, full_name, tokens_valid_after, tz, created_at)"
            " VALUES ($1, $2, $3, 'customer', 'Somebody', $4, 'Europe/Lisbon', $4)",
            person_id, ORG, REGION, utc_from_ms(now_ms),
        )  # fmt: skip
        return Principal(person_id, Role.CUSTOMER, ORG, REGION, None, uuid4(), now_ms, now_ms + 900_000)

    def _pool(self) -> asyncpg.pool.Pool:
        keys = ensure_keyring(Path(self._under_test.environment["CLENZY_STATE_DIR"]) / "keys" / FILE_NAME)
        return asyncpg.create_pool(
            self._under_test.database_url, min_size=3, max_size=4, init=Sealing(Keyring(keys)).prepare
        )


async def _nearest_first(told: asyncio.Queue[str], redis: Redis, conn: Connection) -> None:
    while True:
        await told.get()
        due = await conn.fetch(
            "SELECT b.booking_id, a.lat, a.lng FROM booking b JOIN address a USING (address_id)"
            " WHERE b.state = 'searching'"
        )
        for booking in due:
            near = await redis.geosearch(
                "anchor:workers", longitude=booking["lng"], latitude=booking["lat"], radius=12, unit="km",
                sort="ASC", count=10,
            )  # fmt: skip
            for name in cast("list[bytes]", near):
                worker_id = name.decode()
                free = await conn.fetchval(
                    "UPDATE booking SET next_attempt_at = NULL, state = 'offered' WHERE booking_id = $1"
                    " AND state = 'searching'"
                    " AND NOT EXISTS (SELECT FROM offer WHERE worker_id = $2 AND state = 'open') RETURNING booking_id",
                    booking["booking_id"], UUID(worker_id),
                )  # fmt: skip
                if free is None:
                    continue
                body = {"offer_id": str(uuid4()), "booking_id": str(free), "expires_at": "soon"}
                message = {"event_id": 1, "kind": "offer", "body": body}
                await redis.publish(f"fan:user:{worker_id}", json.dumps(message))
                break


def _open_shop(under_test: Product) -> None:
    with psycopg.connect(under_test.database_url) as conn:
        conn.execute(
            "INSERT INTO service VALUES (%s, %s, %s, 'Cleaning', 0, %s, 4800, 'EUR')", (uuid4(), ORG, SERVICE, JOB_MIN)
        )


def _await_ready(address: str) -> None:
    until_s = time.perf_counter() + READY_S_MAX
    while time.perf_counter() < until_s:
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - our own process
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"{address} is not ready")

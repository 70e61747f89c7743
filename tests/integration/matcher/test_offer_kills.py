"""Matchers and APIs killed at every named point of an offer's life, under load: nothing is lost or given twice.

Two lines of victims run side by side, one process after the other, each set to die where the last one did not.
Meanwhile customers book, workers say yes, no or nothing, several are asked at once, jobs are done, handed back or taken
over, and the desk assigns. When the last victim is dead, healthy processes finish, and the whole history is read and
judged.
"""

import asyncio
import random
import re
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest

from clenzy.ports import any_free
from config.limits import WORKER_SILENT_MS
from engine.booking.booking_store import transition
from engine.core.clock import SystemClock
from engine.core.crash_point import VARIABLE
from engine.core.errors import Conflict
from engine.core.ids import BookingId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import BookingState, Role
from engine.people.tokens import AccessTokens, Principal
from tests.conftest import TokenKeys
from tests.integration.matcher.nursery import Nursery
from tests.integration.matcher.offer_history import SETTLED, faults, read_history
from tests.integration.matcher.town import Town

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

MATCHER_POINTS = (
    "booking_claimed:2", "offer_chosen:2", "offer_written:2", "offer_saved:3", "postponement_written",
    "unserved_written", "unserved_saved", "offer_end_written", "offer_ended", "rematch_written",
)  # fmt: skip
API_POINTS = (
    "answer_locked", "answer_written:2", "answer_taken:2", "request_committed:3", "hand_back_written",
    "assignment_written", "job_taken",
)  # fmt: skip
SOURCES = (
    "api_rest/pipeline.py", "engine/matcher/desk_assignment.py", "engine/matcher/dispatch_store.py",
    "engine/matcher/hand_back.py", "engine/matcher/offer_answers.py", "engine/matcher/offer_store.py",
    "engine/matcher/rematch_store.py", "engine/matcher/take_over.py",
)  # fmt: skip
WORKERS = 12
SEARCHING_MAX = 6
POLICY = """
name = "several"
version = 1
[offers]
at_once = [2, 3]
[rematch]
times_max = 2
gain_min = 1
better_min = 1
near_min = 3
"""
CLOCK = SystemClock()
DEATH_S = 90
"""Within this a victim must have come by its point; the first one of a checkout compiles the kernels."""
SILENT, SAYS_NO, DROPS_OUT, DAWDLES = 0.2, 0.45, 0.5, 0.9
DAWDLERS_MAX = 4
DAWDLE_MS = 6_000
NEAR_KM, FAR_KM = 0.5, 8.0
BOOKING_AND_WORKER = """
SELECT b.booking_id, w.worker_id
  FROM booking b CROSS JOIN worker w
 WHERE b.state IN ('searching', 'offered')
   AND NOT EXISTS (SELECT FROM booking j WHERE j.worker_id = w.worker_id AND j.state = 'assigned')
 ORDER BY random() LIMIT 1
"""
UNSETTLED = """
SELECT EXISTS (SELECT FROM booking WHERE state <> ALL($1)) OR EXISTS (SELECT FROM offer WHERE state = 'open')
"""
JOB_ROAD = (BookingState.EN_ROUTE, BookingState.ARRIVED, BookingState.IN_PROGRESS, BookingState.COMPLETED)


def test_every_point_of_the_code_is_tried() -> None:
    root = Path(__file__).parents[3]
    named = {name for file in SOURCES for name in re.findall(r'crash_point\("(\w+)"\)', (root / file).read_text())}
    assert named == {point.partition(":")[0] for point in (*MATCHER_POINTS, *API_POINTS)}


class Life:
    """Customers, phones and a desk that know the API's address alone; what they do comes from one seed."""

    def __init__(self, town: Town, api_url: str, tokens: AccessTokens, chance: random.Random) -> None:
        self.town, self.chance = town, chance
        self._api_url, self._tokens = api_url, tokens
        self._seen: set[UUID] = set()
        self._ignored: list[UUID] = []
        self._far_off: set[Principal] = set()
        self.is_calming_down = False
        self.answers: Counter[str] = Counter()

    async def run(self, desk: Principal) -> None:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(self._api_url, timeout=timeout) as http, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._phones(http, tasks))
            tasks.create_task(self._customers())
            tasks.create_task(self._desk(http, desk))
            tasks.create_task(self._time())
            tasks.create_task(self._fixes())

    async def _customers(self) -> None:
        number = 0
        while not self.is_calming_down:
            if await self.town.pool.fetchval("SELECT count(*) FROM booking WHERE state = 'searching'") < SEARCHING_MAX:
                # Nobody can do every fourth: it is put off, and in the end unserved.
                number += 1
                await self.town.book(service_code="plumbing" if number % 4 == 0 else "cleaning")
            await CLOCK.sleep_ms(80)

    async def _time(self) -> None:
        """What time would do: an offer that nobody answers expires, and a search that is hopeless ends."""
        while True:
            now = utc_from_ms(CLOCK.now_ms())
            await self.town.pool.execute(
                "UPDATE offer SET expires_at = $2 WHERE offer_id = ANY($1) AND state = 'open'", self._ignored, now
            )
            await self.town.pool.execute(
                """UPDATE booking SET search_until = $1, next_attempt_at = $1
                    WHERE state = 'searching' AND search_until > $1
                      AND created_at < $1::timestamptz - make_interval(secs => $2)""",
                now,
                6.0 if self.is_calming_down else 1.5,
            )
            await CLOCK.sleep_ms(150)

    async def _fixes(self) -> None:
        while True:
            for worker in self.town.workers.values():
                await self.town.place(worker, FAR_KM if worker in self._far_off else NEAR_KM)
            await CLOCK.sleep_ms(WORKER_SILENT_MS // 10)

    async def _phones(self, http: aiohttp.ClientSession, tasks: asyncio.TaskGroup) -> None:
        while True:
            rows = await self.town.pool.fetch("SELECT offer_id, worker_id, replaces FROM offer WHERE state = 'open'")
            for row in rows:
                if row["offer_id"] not in self._seen:
                    self._seen.add(row["offer_id"])
                    mood = 1.0 if self.is_calming_down or row["replaces"] else self.chance.random()
                    tasks.create_task(self._rings(http, self.town.workers[row["worker_id"]], row["offer_id"], mood))
            await CLOCK.sleep_ms(40)

    async def _rings(self, http: aiohttp.ClientSession, worker: Principal, offer_id: UUID, mood: float) -> None:
        if mood < SILENT:
            self._ignored.append(offer_id)
            return
        says_yes = mood > SAYS_NO
        booking = await self._say(http, worker, f"/v1/offers/{offer_id}/{'accept' if says_yes else 'decline'}")
        if booking is None:
            return
        if not self.is_calming_down and self.chance.random() < DROPS_OUT:
            await self._say(http, worker, f"/v1/bookings/{booking['booking_id']}/hand-back")
        elif not self.is_calming_down and self.chance.random() < DAWDLES:
            await self._dawdle(worker, booking["booking_id"])
        await self.finish(worker)

    async def _dawdle(self, worker: Principal, booking_id: str) -> None:
        """Be far off for a while, or until somebody who is nearer has taken the job over."""
        if len(self._far_off) == DAWDLERS_MAX:
            return
        self._far_off.add(worker)
        until_ms = CLOCK.now_ms() + DAWDLE_MS
        await self.town.place(worker, FAR_KM)
        has_it = "SELECT worker_id = $2 FROM booking WHERE booking_id = $1"
        while CLOCK.now_ms() < until_ms and await self.town.pool.fetchval(has_it, booking_id, worker.person_id):
            await CLOCK.sleep_ms(50)
        self._far_off.discard(worker)

    async def finish(self, worker: Principal) -> None:
        """Do the job that this worker has, to its end."""
        row = await self.town.pool.fetchrow(
            "SELECT booking_id FROM booking WHERE worker_id = $1 AND state = 'assigned'", worker.person_id
        )
        if row is None:
            return
        booking_id, now_ms = BookingId(row["booking_id"]), CLOCK.now_ms()
        # Its phone and the desk's may both have begun.
        with suppress(Conflict):
            async with self.town.pool.acquire() as conn, conn.transaction():
                for to in JOB_ROAD:
                    await transition(conn, booking_id=booking_id, to=to, actor=worker, reason="", now_ms=now_ms)

    async def _desk(self, http: aiohttp.ClientSession, desk: Principal) -> None:
        while not self.is_calming_down:
            row = await self.town.pool.fetchrow(BOOKING_AND_WORKER)
            if row is not None:
                path = f"/v1/bookings/{row['booking_id']}/assign"
                if await self._say(http, desk, path, {"worker_id": str(row["worker_id"])}):
                    await self.finish(self.town.workers[row["worker_id"]])
            await CLOCK.sleep_ms(250)

    async def _say(self, http: aiohttp.ClientSession, person: Principal, path: str, body: object = None) -> dict | None:
        """Say it until somebody answers, as a phone does; return the booking that it brought."""
        key, name = uuid4().hex, path.rpartition("/")[2]
        headers = {"Authorization": f"Bearer {self._token(person)}", "Idempotency-Key": key}
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with http.post(path, json=body or {}, headers=headers) as response:
                    said = await response.json(content_type=None)
                    if response.status < 500:
                        self.answers[f"{name} {response.status}"] += 1
                        return said.get("booking") if response.status == 200 else None
            await CLOCK.sleep_ms(50)

    def _token(self, person: Principal) -> str:
        return self._tokens.issue(
            person_id=person.person_id, role=person.role, org_id=person.org_id, region_id=person.region_id,
            slot=person.slot, session_id=person.session_id, now_ms=CLOCK.now_ms(),
        )  # fmt: skip


async def die_at_each(nursery: Nursery, program: str, env: dict[str, str], points: tuple[str, ...]) -> None:
    """Start a victim for each point and see it die there; leave a healthy one running."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for point in points:
        pid = await nursery.start(program, env | {VARIABLE: point})
        status = None
        async with asyncio.timeout(DEATH_S):
            while status is None:
                await CLOCK.sleep_ms(25)
                status = await nursery.ends(pid)
        assert status == -signal.SIGKILL, f"{program} at {point}: {status}"
        print(f"{loop.time() - began:.1f} s", program, point)  # noqa: T201 - shown when it fails
    await nursery.start(program, env | {VARIABLE: ""})


@pytest.fixture
def env(tmp_path: Path, database_url: str, redis_url: str, token_keys: TokenKeys, person_keys: Path) -> dict[str, str]:
    for name, pem in (("private", token_keys.private_pem), ("public", token_keys.public_pem)):
        (tmp_path / f"{name}.pem").write_bytes(pem)
    (tmp_path / "policy.toml").write_text(POLICY)
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "CLENZY_STATE_DIR": str(tmp_path),
        "CLENZY_PERSON_KEYS_FILE": str(person_keys),
        "CLENZY_API_PORT": str(any_free()),
        "CLENZY_OPS_PORT": str(any_free()),
        "CLENZY_JWT_PRIVATE_KEY_FILE": str(tmp_path / "private.pem"),
        "CLENZY_JWT_PUBLIC_KEY_FILE": str(tmp_path / "public.pem"),
    }


async def test_nothing_is_lost_and_nothing_given_twice(
    pool: asyncpg.Pool, redis, env: dict[str, str], token_keys: TokenKeys, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - shown when it fails
    town = await Town(pool, redis, CLOCK).found()
    for number in range(WORKERS):
        await town.add_worker(0.2 + number / 10, skills=0b01)
    desk = await town.add_person(Role.DISPATCHER)
    tokens = AccessTokens(public_key_pem=token_keys.public_pem, private_key_pem=token_keys.private_pem)
    life = Life(town, f"http://127.0.0.1:{env['CLENZY_API_PORT']}", tokens, random.Random(seed))
    async with Nursery(tmp_path) as nursery, asyncio.TaskGroup() as tasks:
        living = tasks.create_task(life.run(desk))
        await asyncio.gather(
            die_at_each(nursery, "matcher", env, MATCHER_POINTS), die_at_each(nursery, "api", env, API_POINTS)
        )
        await until_taken_over(pool)
        life.is_calming_down = True
        await until_settled(pool, life)
        living.cancel()
    print(life.answers)  # noqa: T201 - shown when it fails
    history = await read_history(pool)
    assert faults(history) == []
    ends = {offer.reason or offer.state for offer in history.offers}
    assert {"accepted", "declined", "expired", "handed_back", "replaced", "taken"} <= ends
    states = {booking.state for booking in history.bookings}
    assert {BookingState.COMPLETED, BookingState.UNSERVED} <= states


async def until_taken_over(pool: asyncpg.Pool) -> None:
    async with asyncio.timeout(DEATH_S):
        while not await pool.fetchval("SELECT EXISTS (SELECT FROM offer WHERE state = 'replaced')"):
            await CLOCK.sleep_ms(50)


async def until_settled(pool: asyncpg.Pool, life: Life) -> None:
    async with asyncio.timeout(DEATH_S):
        while await pool.fetchval(UNSETTLED, [*SETTLED]):
            for worker in life.town.workers.values():
                await life.finish(worker)
            await CLOCK.sleep_ms(50)

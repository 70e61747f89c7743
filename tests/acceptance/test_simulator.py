"""The simulator against the real product: a city that survives a restart, a load run, a replay that adds up."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest

from sim.agents.city_life import CityOptions, live
from sim.agents.habits import WorkerHabits
from sim.agents.metrics import Tally
from sim.client.console_socket import ConsoleSocket, LiveMap
from sim.client.errors import Refused
from sim.client.rest import Rest, sign_in
from sim.replay.cells import check_consistent, read_present
from tests.acceptance import stack as stacks
from tests.acceptance.journey.crew import crew_of_two

ADMIN = "admin@demo.clenzy.test"
WORKERS = 40
CENTER = (41.15, -8.61)

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(420)]


@contextmanager
def running(folder: Path) -> Iterator[stacks.Stack]:
    stack = stacks.start(folder / "state")
    try:
        asyncio.run(stacks.wait_ready(stack))
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stacks.Stack]:
    with running(tmp_path_factory.mktemp("simulated")) as stack:
        yield stack


@pytest.fixture
def empty_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stacks.Stack]:
    """Where nobody is on duty: whom a city leaves behind would be asked first, for as long as a load run lasts."""
    with running(tmp_path_factory.mktemp("empty")) as stack:
        yield stack


@asynccontextmanager
async def city(stack: stacks.Stack, cache: Path) -> AsyncIterator[Tally]:
    """Run a small, hurried city; yield what it counts."""
    tally = Tally()
    options = CityOptions(
        api_url=stack.api_url,
        admin_email=ADMIN,
        admin_password=stack.password(ADMIN),
        workers=WORKERS,
        customers=12,
        bookings_per_min=120,
        profile="flat",
        alarms_per_hour=1_200,
        cache_file=cache,
        worker_habits=WorkerHabits(answer_s=(0.05, 0.2), set_out_s=(0.05, 0.2), at_door_s=(0.05, 0.1), work_scale=1e-4),
    )
    stop = asyncio.Event()
    living = asyncio.ensure_future(live(options, stop, tally=tally))
    try:
        yield tally
    finally:
        stop.set()
        await living


async def test_a_city_lives_survives_a_killed_gateway_and_starts_again_from_its_cache(
    stack: stacks.Stack, tmp_path: Path
) -> None:
    cache = tmp_path / "sign-ins.json"
    async with city(stack, cache) as tally, watching(stack) as live_map:
        await stacks.wait_for(lambda: tally.acks_total >= 2 * WORKERS, what="pings of everybody")
        await stacks.wait_for(lambda: tally.offers["accepted"] >= 3, what="accepted offers")
        await stacks.wait_for(lambda: tally.positions > 0, what="a live position at a customer's phone")
        await stacks.wait_for(lambda: len(live_map.workers) >= WORKERS, what="everybody on the console's map")
        stack.kill("gateway_ws")
        before = tally.acks_total
        await stacks.wait_for(
            lambda: tally.acks_total >= before + 2 * WORKERS, what="pings after the gateway came back"
        )
        await stacks.wait_for(lambda: tally.alarms["direct"] + tally.alarms["socket"] > 0, what="a committed alarm")
    assert not {reason: n for reason, n in tally.fixes_refused.items() if reason != "duplicate"}
    async with city(stack, cache) as again:
        await stacks.wait_for(lambda: again.acks_total >= WORKERS, what="pings of the second start")
    assert again.enrolled == 0
    assert not again.fixes_refused["jump"]
    assert check_consistent(await read_present(stack.environment["REDIS_URL"])).holds


@asynccontextmanager
async def watching(stack: stacks.Stack) -> AsyncIterator[LiveMap]:
    """Look at the whole city as the console does; yield the map."""
    async with aiohttp.ClientSession() as http:
        rest = Rest(http, stack.api_url)
        admin = await sign_in(rest, ADMIN, stack.password(ADMIN))
        console = ConsoleSocket(http=http, gateway_url=(await rest.get("/v1/config"))["gateway_url"], account=admin)
        running = asyncio.ensure_future(console.run())
        try:
            await console.connected.wait()
            lat, lng = CENTER
            await console.view(lng - 0.3, lat - 0.3, lng + 0.3, lat + 0.3, zoom=13)
            yield console.live_map
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_job_for_two_is_won_seat_by_seat_and_seen_as_one(stack: stacks.Stack) -> None:
    async with aiohttp.ClientSession() as http:
        rest = Rest(http, stack.api_url)
        admin = await sign_in(rest, ADMIN, stack.password(ADMIN))
        async with crew_of_two(rest, http, admin) as crew:
            booked = await crew.book()
            seats = {seat["booking_id"] for seat in booked["crew"]["seats"]}
            with pytest.raises(Refused, match="Bay North"):
                await crew.book()
            won = [await crew.takes(worker, seats) for worker in crew.workers]
            assert set(won) == seats, "each seat has its own worker"
            whole = await crew.phone.hears("assigned")
            assert {seat["worker"]["name"] for seat in whole["seats"]} == {"Mia", "Nuno"}
            for worker, seat in zip(crew.workers, won, strict=True):
                await worker.move(seat, "en_route")
            await crew.phone.sees(seats)
            await crew.workers[0].move(won[0], "arrived")
            with pytest.raises(Refused, match="still to come"):
                await crew.workers[0].move(won[0], "in_progress")
            await crew.workers[1].move(won[1], "arrived")
            for worker, seat in zip(crew.workers, won, strict=True):
                await worker.move(seat, "in_progress", "completed")
            await crew.phone.hears("completed")
            resources = (await rest.get("/v1/resources", account=admin))["items"]
            assert [each["in_use"] for each in resources] == [0]


async def test_a_short_load_run_has_no_error(empty_stack: stacks.Stack, tmp_path: Path) -> None:
    password, report = tmp_path / "password", tmp_path / "load.json"
    password.write_text(empty_stack.password(ADMIN))
    done = await run(
        *("loadtests", "--api-url", empty_stack.api_url, "--admin-email", ADMIN, "--password-file", str(password)),
        *("--workers", "20", "--customers", "6", "--seconds", "8", "--report", str(report)),
    )
    assert done.returncode == 0, done.stdout
    verdict = json.loads(report.read_text())
    assert verdict["errors"] == 0
    assert {row["row"] for row in verdict["rows"]} >= {"ping to cell", "book", "booking to completed", "confirm"}


async def test_a_replay_accounts_for_every_fix_and_finds_every_worker_in_its_cell(tmp_path: Path) -> None:
    trace, report = tmp_path / "trace.csv", tmp_path / "report.json"
    trace.write_text(a_trace_with_every_kind_of_dirt())
    done = await run(
        *("clenzy", "replay", str(trace), "--speed", "60", "--report", str(report)),
        *("--state-dir", str(tmp_path / "state"), "--accept", "1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(report.read_text())
    assert result["ok"], result["checks"]
    fixes = result["fixes"]
    assert fixes["sent"] == fixes["accepted"] + fixes["refused_total"]
    told = {reason: count for reason, count in fixes["refused"].items() if count}
    assert told == {"invalid": 2, "duplicate": 2, "inaccurate": 2, "jump": 2}
    assert result["redis"]["in_exactly_one_cell"] == 2
    assert result["bookings"]["made"] == result["bookings"]["offered"] == result["bookings"]["trips"] == 2
    assert result["bookings"]["states"] == {"confirmed": 2}
    assert result["ping_to_cell"]["count"] > 0
    assert result["eta"]["samples"] == 2


def a_trace_with_every_kind_of_dirt() -> str:
    """Two workers for six minutes, a fix every 15 s, and in each a place beyond the pole, a twin, a blur and a jump."""
    lines = ["worker,ts,lat,lng,accuracy_m,occupied"]
    for worker, lat in (("a", 41.15), ("b", 41.17)):
        for step in range(25):
            ts, lng = 1_372_636_800 + 15 * step, -8.65 + 0.001 * step
            lines.append(f"{worker},{ts},{lat},{lng:.4f},10,1")
            if step == 5:
                lines.append(f"{worker},{ts},{lat},{lng:.4f},10,1")
            for at, dirt in ((10, "95.0,-8.6,10"), (15, f"{lat},{lng:.4f},450"), (20, f"{lat + 1},{lng:.4f},10")):
                if step == at:
                    lines.append(f"{worker},{ts + 5},{dirt},1")
    return "\n".join(lines) + "\n"


async def run(*argv: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", *argv], capture_output=True, text=True, check=False, timeout=200
    )

"""Ladders under load: `python -m bench.escalation`. Real escalators in processes of their own on a durable Postgres.

Lateness is measured to the commit of the step (`track_commit_timestamp`), not to the clock that the escalator read.
Policies here wait 20 s between steps, so that within a row each incident takes exactly one.
"""

import argparse
import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import numpy as np
import orjson
import psycopg
import structlog
from rich.console import Console

from bench.report import Row, exit_code, less_is_better, save, show
from clenzy.child import store_account
from clenzy.migrations import migrate
from clenzy.ports import any_free
from clenzy.stores.home import store_home
from clenzy.stores.postgres import Postgres
from config.limits import SAFETAP_POOL_MAX
from engine.core.clock import SystemClock
from engine.outbox.listener import Listener, Wake
from engine.people.keyring import Keyring, ensure_keyring
from engine.people.sealing import Sealing
from engine.safetap.escalation_loop import EscalationLoop
from engine.safetap.incident_store import read_clock
from engine.safetap.policy import default_policy
from safetap_door.database import SERVER_SETTINGS

Disturb = Callable[[list["subprocess.Popen[bytes]"]], None]

ROOT: Final = Path(__file__).resolve().parent.parent
GOALERT_CYCLE_S: Final = 5.0
"""GoAlert's engine looks every 5 s (`engine/config.go`): what a step there may be late by without any load."""
READY_S_MAX: Final = 20
DONE_S_MAX: Final = 40
SPREAD_S: Final = 4
PER_S: Final = 50
KILL_AFTER_S: Final = 1

LATENESS: Final = """
SELECT (extract(epoch FROM pg_xact_commit_timestamp(e.xmin) - i.opened_at) * 1000)::float8 AS late_ms
  FROM incident_event e JOIN incident i USING (incident_id) JOIN incident_timer USING (incident_id)
 WHERE e.kind = 'step'
"""


class Server:
    """A durable Postgres that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.postgres = Postgres(
            store_home(folder, store_account()), password=secrets.token_urlsafe(16), port=any_free()
        )
        self.postgres.prepare()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it answers."""
        command = self.postgres.command()
        command = replace(command, argv=(*command.argv, "-c", "track_commit_timestamp=on"))
        self._process = subprocess.Popen(  # noqa: S603 - a program of our own
            command.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **command.popen_arguments()
        )
        until = time.perf_counter() + READY_S_MAX
        while not self.postgres.answers():
            if self._process.poll() is not None or time.perf_counter() > until:
                raise RuntimeError("the embedded Postgres does not answer")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop as a restart does: connections are cut, what is committed stays."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(READY_S_MAX)


@contextmanager
def escalators(url: str, count: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Run so many escalators, each in a process of its own, warm."""
    environment = {**os.environ, "BENCH_DATABASE_URL": url}
    command = (sys.executable, "-m", "bench.escalation", "--escalator")
    processes = [
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE)  # noqa: S603 - this very module
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            with process.stdout:
                assert process.stdout.readline() == b"ready\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def escalate(url: str) -> None:
    """Be one escalator until killed. Its log goes to stderr: who waited for `ready` has closed the other pipe."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    clock, due = SystemClock(), Wake()
    with tempfile.TemporaryDirectory() as folder:
        sealing = Sealing(Keyring(ensure_keyring(Path(folder) / "keys.json")))  # nothing is sealed here
    pool = await asyncpg.create_pool(
        url, min_size=0, max_size=SAFETAP_POOL_MAX, server_settings={**SERVER_SETTINGS}, init=sealing.prepare
    )
    loop = EscalationLoop(pool=pool, wake=due, new_id=uuid4)
    listener = Listener(pool=pool, clock=clock, handlers={"clenzy_safetap": due.set})
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listener.run())
        tasks.create_task(loop.run(clock))
        sys.stdout.write("ready\n")
        sys.stdout.flush()


async def claim_and_die(url: str) -> None:
    """Claim what is due as an escalator does, and never take it."""
    async with asyncpg.create_pool(url, min_size=0, max_size=1) as pool, pool.acquire() as conn:
        loop = EscalationLoop(pool=pool, wake=Wake(), new_id=uuid4)
        while not await loop.claim(conn, await read_clock(conn)):
            pass  # the others were faster


def found(url: str, dues: Sequence[datetime]) -> None:
    """Write an incident and its timer for each of `dues`; `opened_at` is when its first step is due."""
    org, region, admin = uuid4(), uuid4(), uuid4()
    now, policy = datetime.now(UTC), orjson.dumps(default_policy()).decode()
    people = [(uuid4(), uuid4(), due) for due in dues]
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM incident_timer")  # those of the row before: its history cannot be deleted
        connection.execute("INSERT INTO org VALUES (%s, 'Bench', %s)", (org, now))
        connection.execute(
            "INSERT INTO region VALUES (%s, %s, 'Porto', 'PT', 'Europe/Lisbon', 41.15, -8.61)", (region, org)
        )
        cursor = connection.cursor()
        cursor.executemany(
            "INSERT INTO person (person_id, org_id, region_id, role, email, full_name, tokens_valid_after, tz,"
            " created_at) VALUES (%s, %s, %s, %s, %s, 'Somebody', %s, 'Europe/Lisbon', %s)",
            [
                (person, org, region, role, f"{person}@clenzy.test", now, now)
                for person, role in [(admin, "admin"), *((one, "worker") for one, _, _ in people)]
            ],
        )
        connection.execute("INSERT INTO armed_desk VALUES (%s, %s, %s, %s, 'infinity')", (uuid4(), org, admin, now))
        cursor.executemany(
            "INSERT INTO incident (incident_id, org_id, region_id, person_id, person_role, kind, state, version,"
            " policy, opened_at) VALUES (%s, %s, %s, %s, 'worker', 'button', 'open', 1, %s, %s)",
            [(incident, org, region, person, policy, due) for person, incident, due in people],
        )
        cursor.executemany(
            "INSERT INTO incident_timer (incident_id, due_at, step) VALUES (%s, %s, 1)",
            [(incident, due) for _, incident, due in people],
        )


def lateness_ms(url: str, expected: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Wait until every first step is taken and return how late each was.

    Raises:
        RuntimeError: not all were within `DONE_S_MAX`.
    """
    until = time.perf_counter() + DONE_S_MAX
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            waiting = connection.execute("SELECT count(*) FROM incident_timer WHERE step = 1").fetchone()
            if waiting == (0,):
                break
            if time.perf_counter() > until:
                raise RuntimeError(f"steps not taken: {waiting}")
            time.sleep(0.02)
        rows = connection.execute(LATENESS).fetchall()
    return np.array([row[0] for row in rows]) if len(rows) == expected else np.array([])


def burst(url: str, timers: int) -> Row:
    """All timers are due at once."""
    with escalators(url, 2):
        due = datetime.now(UTC) + timedelta(seconds=2 + timers / 1_000)
        found(url, [due] * timers)
        if datetime.now(UTC) > due:
            raise RuntimeError("writing the timers took too long: this machine is too busy")
        late_ms = lateness_ms(url, timers)
    return less_is_better(
        f"{timers:,} timers due at once, 2 escalators: the last one",
        float(late_ms.max(initial=0)) / 1000,
        GOALERT_CYCLE_S,
        anchor_name="GoAlert's 5 s cycle (quoted)",
        unit="s",
        most=5,
        gate=bool(late_ms.size) and bool(late_ms.min() >= 0),
    )


def steady(url: str) -> Row:
    """Timers come due one after the other, and nothing goes wrong."""
    late_ms = _spread(url, None)
    return _row("lateness of a step, p99", float(np.percentile(late_ms, 99)) if late_ms.size else 0, 250, late_ms.size)


def killed(url: str) -> Row:
    """One of two escalators is killed while timers come due, and another between its claim and its commit."""

    def kill(processes: list["subprocess.Popen[bytes]"]) -> None:
        processes[0].kill()
        asyncio.run(claim_and_die(url))

    late_ms = _spread(url, kill)
    return _row("lateness after an escalator was killed, worst", float(late_ms.max(initial=0)), 1_500, late_ms.size)


def restarted(url: str, server: Server) -> Row:
    """Postgres is restarted while timers come due; what counts is from when it answers again."""
    away_ms = 0.0

    def restart(_processes: object) -> None:
        nonlocal away_ms
        started = time.perf_counter()
        server.stop()
        server.start()
        away_ms = (time.perf_counter() - started) * 1000

    late_ms = _spread(url, restart)
    worst_ms = max(0.0, float(late_ms.max(initial=0)) - away_ms)
    return _row("lateness after Postgres restarted, worst", worst_ms, 5_000, late_ms.size)


def _spread(url: str, disturb: Disturb | None) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    count = SPREAD_S * PER_S
    with escalators(url, 2) as processes:
        start = datetime.now(UTC) + timedelta(seconds=1.5)
        found(url, [start + timedelta(seconds=number / PER_S) for number in range(count)])
        if disturb is not None:
            time.sleep(max(0.0, (start - datetime.now(UTC)).total_seconds()) + KILL_AFTER_S)
            disturb(processes)
        return lateness_ms(url, count)


def _row(what: str, worst_ms: float, most_ms: float, count: int) -> Row:
    anchor_ms = GOALERT_CYCLE_S * 1000
    return less_is_better(
        what, worst_ms, anchor_ms, anchor_name="GoAlert's 5 s cycle (quoted)", unit="ms", most=most_ms, gate=count > 0
    )


def escalation_rows(*, timers: int, burst_only: bool = False) -> Iterator[Row]:
    """Yield how late steps are: many at once, one by one, after a kill, after a restart of Postgres."""
    with tempfile.TemporaryDirectory(prefix="clenzy-bench-", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder))
        server.start()
        try:
            url = server.postgres.url
            migrate(url)
            yield burst(url, timers)
            if not burst_only:
                yield steady(url)
                yield killed(url)
                yield restarted(url, server)
        finally:
            server.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every row; the exit code says whether each step was taken exactly once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timers", type=int, default=10_000)
    parser.add_argument("--burst-only", action="store_true", help="leave out the rows that take half a minute")
    parser.add_argument("--escalator", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.escalator:
        asyncio.run(escalate(os.environ["BENCH_DATABASE_URL"]))
        return 0
    rows = list(escalation_rows(timers=options.timers, burst_only=options.burst_only))
    show("Escalation", rows, Console())
    save("escalation", rows)
    return exit_code(rows)


if __name__ == "__main__":
    sys.exit(main())

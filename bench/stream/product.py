"""The real gateway for a benchmark: a process of its own, real Postgres, real Redis, real accounts."""

import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import psutil
import psycopg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client.parser import text_string_to_metric_families

from bench.embedded_redis import embedded_redis
from bench.stream.phones import trusting
from bench.stream.rig import Rig, pin
from bench.stream.servers import ROOT
from clenzy.child import store_account
from clenzy.migrations import migrate
from clenzy.ports import any_free
from clenzy.stores.home import store_home
from clenzy.stores.postgres import Postgres
from clenzy.tls import ensure_tls
from engine.core.clock import SystemClock
from engine.core.ids import OrgId, PersonId, RegionId, WorkerSlot
from engine.core.vocabulary import Role
from engine.people.tokens import AccessTokens

CLOCK_SCALE: Final = 600
"""How much faster than the wall the time of fixes runs, so that few phones may send as much as a city's."""
READY_S_MAX: Final = 60
STOP_S_MAX: Final = 15
ORG, _REGION = OrgId(UUID(int=1)), RegionId(UUID(int=2))


@dataclass(frozen=True, slots=True)
class Product:
    """What a benchmark acts on."""

    port: int
    pid: int
    redis_pid: int
    redis_url: str
    database_url: str
    epoch_ms: int
    """When the time of fixes and the wall agreed."""
    worker_tokens: Sequence[str]
    """Of the workers in slots 1, 2, 3 ...; all are on duty."""
    desk_token: str
    has_tls: bool
    environment: Mapping[str, str]
    """What the gateway was started with: another process of the same installation is given it too."""
    clock_scale: int = CLOCK_SCALE

    @property
    def url(self) -> str:
        """Where the gateway is."""
        return f"{'https' if self.has_tls else 'http'}://127.0.0.1:{self.port}"

    def memory_bytes(self) -> int:
        """Return what the gateway holds in memory now."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def fix_now_ms(self) -> int:
        """Return the present in the time of fixes."""
        return self.epoch_ms + (SystemClock().now_ms() - self.epoch_ms) * self.clock_scale

    def outcomes(self, counter: str) -> dict[str, int]:
        """Return what a counter of the gateway's metrics says by outcome."""
        text = _read(f"{self.url}/metrics")
        return {
            sample.labels["outcome"]: int(sample.value)
            for family in text_string_to_metric_families(text)
            if family.name == counter
            for sample in family.samples
            if sample.name.endswith("_total") and sample.value
        }

    def trail_rows(self) -> int:
        """Return how many fixes are in the trail."""
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute("SELECT count(*) FROM trail").fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def product(rig: Rig, *, workers: int, tls: bool = False, clock_scale: int = CLOCK_SCALE) -> Iterator[Product]:
    """Start stores and gateway, found an organisation with its workers, and end everything after the block."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="clenzy-bench-", ignore_cleanup_errors=True))
        )
        redis_url = stack.enter_context(embedded_redis())
        redis_pid = _redis_pid(redis_url)
        database_url = stack.enter_context(_postgres(folder))
        tokens, key_file = _keys(folder)
        epoch_ms = SystemClock().now_ms()
        worker_tokens, desk_token = _found(database_url, tokens, workers, epoch_ms)
        port = any_free()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CLENZY_")},
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "CLENZY_GATEWAY_PORT": str(port),
            "CLENZY_STATE_DIR": str(folder),
            "CLENZY_JWT_PUBLIC_KEY_FILE": str(key_file),
            "CLENZY_FIX_CLOCK_SCALE": str(clock_scale),
            "CLENZY_FIX_CLOCK_EPOCH_MS": str(epoch_ms),
            "CLENZY_LOG_LEVEL": "WARNING",
        }
        if tls:
            files = ensure_tls(folder, ["127.0.0.1"])
            environment |= {"CLENZY_TLS_CERT_FILE": str(files.certificate), "CLENZY_TLS_KEY_FILE": str(files.key)}
        pid = stack.enter_context(_gateway(environment, port, tls=tls))
        pin([pid], rig.server_cpu)
        yield Product(
            port, pid, redis_pid, redis_url, database_url, epoch_ms, worker_tokens, desk_token, tls, environment,
            clock_scale,
        )  # fmt: skip


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    server = Postgres(store_home(folder, store_account()), password=secrets.token_urlsafe(16), port=any_free())
    server.prepare()
    command = server.command()
    process = subprocess.Popen(  # noqa: S603 - a program of our own
        command.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **command.popen_arguments()
    )
    try:
        until = time.perf_counter() + READY_S_MAX
        while not server.answers():
            if process.poll() is not None or time.perf_counter() > until:
                raise RuntimeError("the embedded Postgres does not answer")
            time.sleep(0.05)
        migrate(server.url)
        yield server.url
    finally:
        process.send_signal(command.stop_signal)
        process.wait(STOP_S_MAX)


@contextmanager
def _gateway(environment: dict[str, str], port: int, *, tls: bool) -> Iterator[int]:
    process = subprocess.Popen((sys.executable, "-m", "gateway_ws"), env=environment, cwd=ROOT)
    try:
        until = time.perf_counter() + READY_S_MAX
        while not _is_ready(f"{'https' if tls else 'http'}://127.0.0.1:{port}/readyz"):
            if process.poll() is not None or time.perf_counter() > until:
                raise RuntimeError("the gateway is not ready")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()


def _found(database_url: str, tokens: AccessTokens, workers: int, now_ms: int) -> tuple[list[str], str]:
    """Create the organisation, `workers` workers on duty since an hour ago, one dispatcher; return their tokens."""
    at = datetime.fromtimestamp(now_ms / 1_000, UTC)
    since = at - timedelta(hours=1)
    people = [(uuid4(), Role.WORKER) for _ in range(workers)] + [(uuid4(), Role.DISPATCHER)]
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO org VALUES (%s, 'Bench', %s)", (ORG, at))
        connection.execute(
            "INSERT INTO region VALUES (%s, %s, 'Porto', 'PT', 'Europe/Lisbon', 41.15, -8.61)", (_REGION, ORG)
        )
        cursor = connection.cursor()
        cursor.executemany(
            "INSERT INTO person (person_id, org_id, region_id, role, full_name, tokens_valid_after, tz, created_at)"
            " VALUES (%s, %s, %s, %s, 'Somebody', %s, 'Europe/Lisbon', %s)",
            [(person_id, ORG, _REGION, role.value, since, since) for person_id, role in people],
        )
        cursor.executemany(
            "INSERT INTO worker (worker_id, slot, skills, duty, duty_since, updated_at)"
            " VALUES (%s, %s, 1, 'on', %s, %s)",
            [(person_id, slot, since, since) for slot, (person_id, _) in enumerate(people[:-1], 1)],
        )
    issued = [
        tokens.issue(
            person_id=PersonId(person_id),
            role=role,
            org_id=ORG,
            region_id=_REGION,
            slot=WorkerSlot(slot) if role is Role.WORKER else None,
            session_id=uuid4(),
            now_ms=now_ms,
        )
        for slot, (person_id, role) in enumerate(people, 1)
    ]
    return issued[:-1], issued[-1]


def _keys(folder: Path) -> tuple[AccessTokens, Path]:
    private = Ed25519PrivateKey.generate()
    public_pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private_pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "access.pem"
    file.write_bytes(public_pem)
    return AccessTokens(public_key_pem=public_pem, private_key_pem=private_pem), file


def _redis_pid(url: str) -> int:
    port = int(url.rpartition(":")[2].partition("/")[0])
    found = [
        each.pid for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr[1:] == (port,)
    ]
    assert found[0] is not None
    return found[0]


def _is_ready(address: str) -> bool:
    try:
        _read(address)
    except (urllib.error.URLError, OSError):
        return False
    return True


def _read(address: str) -> str:
    context = trusting() if address.startswith("https") else None
    with urllib.request.urlopen(address, timeout=5, context=context) as answer:  # noqa: S310 - our own server
        text: str = answer.read().decode()
    return text

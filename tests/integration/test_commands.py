"""The command line as people type it."""

import asyncio
import os
import smtplib
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from hashlib import sha256
from pathlib import Path

import numpy as np
import psycopg
import pytest
import redis
from cryptography import x509

from clenzy import doctor, ports, tls
from clenzy.account import NewRegion, NewUser, add_user
from clenzy.child import CannotStartError
from clenzy.doctor import Finding, Verdict
from clenzy.file_lock import file_lock
from clenzy.screen import Screen
from config.settings import Settings
from engine.geo.cell_sets import cell_key
from engine.geo.cells import cell_of
from engine.geo.fixes import RECORD
from engine.geo.slab import HEAD, page_key
from tests.servers import Servers, create_database, drop_database, named, wait_until

ROOT = Path(__file__).resolve().parents[2]


def clenzy(*arguments: str, given: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("CLENZY_", "DATABASE_", "REDIS_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "clenzy", *arguments],
        cwd=ROOT,
        env={**outside, "COLUMNS": "200", **variables},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def test_version() -> None:
    assert clenzy("version").stdout.strip() == "0.1.0"


def test_keys_are_made_once(tmp_path: Path) -> None:
    first = clenzy("keys", "--state-dir", str(tmp_path))
    private = tmp_path / "keys" / "jwt_private.pem"
    before = private.read_bytes()
    assert f"CLENZY_JWT_PRIVATE_KEY_FILE={private}" in first.stdout
    assert private.stat().st_mode & 0o077 == 0
    clenzy("keys", "--state-dir", str(tmp_path))
    assert private.read_bytes() == before


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    done = clenzy("doctor", "--state-dir", str(tmp_path), CLENZY_API_PORT="eighty")
    assert done.returncode == 1
    assert "CLENZY_API_PORT" in done.stderr or "api_port" in done.stderr


def test_migrate_brings_a_database_up(servers: Servers) -> None:
    create_database(servers.database_url, "test_command_migrate", template="template1")
    url = named(servers.database_url, "test_command_migrate")
    assert "0001.foundation" in clenzy("migrate", DATABASE_URL=url).stdout
    assert clenzy("migrate", DATABASE_URL=url).stdout.strip() == "nothing to do"
    drop_database(servers.database_url, "test_command_migrate")


def test_a_database_that_is_away_is_told_without_its_password() -> None:
    url = f"postgresql://clenzy:hunter2@127.0.0.1:{ports.any_free()}/clenzy"
    done = clenzy("migrate", DATABASE_URL=url)
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert "hunter2" not in done.stderr


def test_doctor_finds_all_well(database_url: str, redis_url: str, tmp_path: Path) -> None:
    done = clenzy("doctor", "--state-dir", str(tmp_path), DATABASE_URL=database_url, REDIS_URL=redis_url)
    assert done.returncode == 0, done.stdout
    for subject in ("python", "fsync", "open files", "clock", "postgres", "redis", "migrations"):
        assert subject in done.stdout


def test_doctor_fails_with_a_store_that_is_away(tmp_path: Path) -> None:
    url = f"redis://:hunter2@127.0.0.1:{ports.any_free()}/0"
    done = clenzy("doctor", "--state-dir", str(tmp_path), REDIS_URL=url)
    assert done.returncode == 1
    assert "check that it runs" in done.stdout
    assert "hunter2" not in done.stdout


def test_doctor_judges_by_limits() -> None:
    assert doctor.judge_clock(900).verdict is Verdict.OK
    assert doctor.judge_clock(-1_100).verdict is Verdict.FAIL
    assert doctor.check_open_files(1_024).verdict is Verdict.WARN
    assert doctor.check_open_files(65_536).verdict is Verdict.OK
    assert doctor.exit_code([Finding("x", Verdict.WARN, "")]) == 0
    assert doctor.exit_code([Finding("x", Verdict.FAIL, "")]) == 1


def test_geo_verify_tells_what_it_looked_at(redis_url: str, tmp_path: Path) -> None:
    def verify() -> "subprocess.CompletedProcess[str]":
        return clenzy("geo", "verify", "--state-dir", str(tmp_path), REDIS_URL=redis_url)

    with redis.Redis.from_url(redis_url) as client:
        record = np.zeros(1, RECORD)
        record["ts_ms"], record["lat_e7"], record["lng_e7"] = 1, 411_500_000, -86_100_000
        record["cell"] = cell_of(41.15, -8.61)
        client.setrange(page_key(1), HEAD.size + 4, record.tobytes())
        client.sadd("geo:pages", 1)
        client.sadd(cell_key(cell_of(41.15, -8.61)), 2_048 << 31)
        right = verify()
        assert (right.returncode, right.stderr) == (0, "")
        assert right.stdout.startswith("looked at 1 workers with a place, 0 without one, and 1 cells\n")
        client.sadd(cell_key(cell_of(42.15, -8.61)), 2_048 << 31)
        wrong = verify()
        mended = clenzy("geo", "verify", "--repair", "--state-dir", str(tmp_path), REDIS_URL=redis_url)
    assert wrong.returncode == 1
    assert "WRONG: 1 workers in a cell where they do not belong: slots 2048" in wrong.stdout
    assert mended.returncode == 0, mended.stderr
    assert mended.stdout.startswith("mended: 0 workers missing from their cell, 1 entries too many, 0 pages")
    assert "every worker is in exactly the right cell" in mended.stdout


def test_geo_verify_says_why_it_cannot_look(tmp_path: Path) -> None:
    nowhere = f"redis://:hunter2@127.0.0.1:{ports.any_free()}/0"
    away = clenzy("geo", "verify", "--state-dir", str(tmp_path), REDIS_URL=nowhere)
    assert (away.returncode, away.stdout) == (2, "")
    assert "cannot look" in away.stderr
    assert "hunter2" not in away.stderr
    unset = clenzy("geo", "verify", "--state-dir", str(tmp_path))
    assert (unset.returncode, "set REDIS_URL" in unset.stderr) == (1, True)


def test_a_first_admin_founds_the_organisation(database_url: str) -> None:
    settings = Settings(database_url=database_url)
    region = NewRegion("Porto", "pt", "Europe/Lisbon", 41.15, -8.61)
    first = NewUser("admin", "Ada@example.test", "Ada", "correct horse", "Acme", region)
    person_id = add_user(settings, first, Screen())
    add_user(settings, NewUser("worker", "wim@example.test", "Wim", "correct horse", "", None), Screen())
    with psycopg.connect(database_url) as connection:
        people = connection.execute(
            "SELECT person_id::text, email, role, is_demo FROM person ORDER BY created_at"
        ).fetchall()
        assert people[0] == (person_id, "ada@example.test", "admin", False)
        assert people[1][1:] == ("wim@example.test", "worker", False)
        assert connection.execute("SELECT count(*) FROM worker").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM escalation_policy").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM audit_log").fetchone() == (2,)


def test_a_device_is_added_with_a_url_and_a_code(database_url: str) -> None:
    settings = Settings(database_url=database_url)
    region = NewRegion("Porto", "pt", "Europe/Lisbon", 41.15, -8.61)
    worker = NewUser("worker", "wim@example.test", "Wim", "correct horse", "Acme", region)
    worker_id = add_user(settings, worker, Screen())
    done = clenzy(
        "device", "add", "Wim@example.test", "--app", "traccar", "--label", "Old phone",
        "--gateway-url", "https://gateway.test", DATABASE_URL=database_url,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (url,) = (line.split()[1] for line in done.stdout.splitlines() if line.startswith("URL"))
    token = url.removeprefix("https://gateway.test/ingest/traccar?id=")
    with psycopg.connect(database_url) as connection:
        (row,) = connection.execute("SELECT person_id::text, kind, label, token_hash FROM device").fetchall()
    assert row[:3] == (worker_id, "traccar", "Old phone")
    assert row[3] == sha256(token.encode()).digest()
    for email, app, reason in (("nobody@example.test", "traccar", "No active worker"), ("wim@x.test", "fax", "fax")):
        refused = clenzy("device", "add", email, "--app", app, DATABASE_URL=database_url)
        assert refused.returncode == 1
        assert reason in refused.stderr


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        (NewUser("admin", "ada@example.test", "Ada", "correct horse", "Nowhere", None), "no such organisation"),
        (NewUser("admin", "ada@example.test", "Ada", "short", "", None), "password"),
        (NewUser("admin", "ada@example.test", "Ada", "x" * 201, "", None), "password"),  # none that could sign in
        (NewUser("king", "ada@example.test", "Ada", "correct horse", "", None), "role"),
    ],
)
def test_an_account_that_cannot_be_made_is_told_why(database_url: str, user: NewUser, reason: str) -> None:
    with pytest.raises(CannotStartError, match=reason):
        add_user(Settings(database_url=database_url), user, Screen())


def test_certificates_are_renewed_and_the_authority_stays(tmp_path: Path) -> None:
    start = datetime.now(UTC)
    files = tls.ensure_tls(tmp_path, ["10.0.0.5", "localhost"], start)
    authority, certificate = files.authority.read_bytes(), files.certificate.read_bytes()
    assert tls.ensure_tls(tmp_path, ["localhost"], start).certificate.read_bytes() == certificate
    renewed = tls.ensure_tls(tmp_path, ["localhost"], start + timedelta(days=340)).certificate.read_bytes()
    moved = tls.ensure_tls(tmp_path, ["10.0.0.6"], start).certificate.read_bytes()
    assert len({certificate, renewed, moved}) == 3
    assert files.authority.read_bytes() == authority
    valid = x509.load_pem_x509_certificate(moved)
    assert valid.not_valid_after_utc - valid.not_valid_before_utc < timedelta(days=825)
    assert (tmp_path / "tls" / "ca.key").stat().st_mode & 0o077 == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)


def test_the_demo_mailbox_takes_mail(tmp_path: Path) -> None:
    port = ports.any_free()
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@x.test", "b@x.test", "An incident"
    message.set_content("Somebody needs you.")
    with subprocess.Popen([sys.executable, "-m", "clenzy.mailbox", str(port), str(tmp_path)], cwd=ROOT) as process:
        wait_until(lambda: ports.answers(port), what="the mailbox")
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.send_message(message)
        process.terminate()
        assert process.wait(10) == 0
    kept = list(tmp_path.glob("*.eml"))
    assert len(kept) == 1
    assert "An incident" in kept[0].read_text()


def test_next_free_port_steps_over_what_is_taken() -> None:
    first = ports.any_free(together=4)
    one, other = ports.Claims(), ports.Claims()
    assert one.next_free(first) == first
    assert one.next_free(first) == first + 1, "its own claim counts"
    assert other.next_free(first) == first + 2, "another's too, though nothing listens there yet"
    one.release()
    assert not other.take(first + 2)
    assert other.take(first)
    with socket.create_server(("127.0.0.1", first + 3)):
        assert not one.take(first + 3)
    other.release()


async def test_a_file_lock_is_for_one_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []

    async def use(name: str) -> None:
        async with file_lock(tmp_path / "lock"):
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")

    await asyncio.gather(use("a"), use("b"))
    assert order in (["a in", "a out", "b in", "b out"], ["b in", "b out", "a in", "a out"])


def test_migrate_wants_to_know_which_database(tmp_path: Path) -> None:
    done = clenzy("migrate", "--state-dir", str(tmp_path))
    assert done.returncode == 1
    assert "set DATABASE_URL" in done.stderr


INTERRUPTED_AT_AN_IMPORT = """
import os, runpy, signal, sys

def interrupt(event, arguments):
    if event == "import" and arguments[0] == "asyncio":
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(interrupt)
sys.argv = ["clenzy", "--help"]
runpy.run_module("clenzy", run_name="__main__", alter_sys=True)
"""


def test_ctrl_c_while_the_command_line_loads_ends_it_quietly() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_AN_IMPORT],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

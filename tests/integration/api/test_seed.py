"""The demo's seed: once, twice, with other passwords, and as the program that the supervisor runs."""

import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import orjson

from engine.people.passwords import verify_password
from engine.people.seed import DEMO_ACCOUNTS, DEMO_ORG_ID
from engine.run_seed import seed
from engine.safetap.policy import default_policy, parse_policy

NOW_MS = 1_700_000_000_000
WORDS = {account.email: f"password of {account.role}" for account in DEMO_ACCOUNTS}


async def everything(pool: asyncpg.Pool) -> dict[str, list[tuple[object, ...]]]:
    tables = ("org", "region", "service", "person", "worker", "escalation_policy")
    return {table: [tuple(row) for row in await pool.fetch(f"SELECT * FROM {table} ORDER BY 1")] for table in tables}


async def test_a_second_run_changes_nothing(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await seed(conn, passwords=WORDS, now_ms=NOW_MS)
        first = await everything(pool)
        await seed(conn, passwords=WORDS, now_ms=NOW_MS + 60_000)
    assert await everything(pool) == first
    assert {name: len(rows) for name, rows in first.items()} == {
        "org": 1,
        "region": 1,
        "service": 4,
        "person": 5,
        "worker": 1,
        "escalation_policy": 1,
    }


async def test_the_policy_is_one_that_safetap_can_read(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await seed(conn, passwords={}, now_ms=NOW_MS)
    row = await pool.fetchrow("SELECT org_id, region_id, body::text FROM escalation_policy")
    assert (row["org_id"], row["region_id"]) == (DEMO_ORG_ID, None)
    assert parse_policy(orjson.loads(row["body"])) == parse_policy(default_policy())


async def test_new_passwords_replace_old_ones_and_end_their_sessions(pool: asyncpg.Pool) -> None:
    email = DEMO_ACCOUNTS[0].email
    hash_of = "SELECT password_hash, tokens_valid_after FROM person WHERE email = $1"
    async with pool.acquire() as conn:
        await seed(conn, passwords=WORDS, now_ms=NOW_MS)
        old = await conn.fetchrow(hash_of, email)
        await seed(conn, passwords={email: "another one"}, now_ms=NOW_MS + 1000)
        new = await conn.fetchrow(hash_of, email)
        untouched = await conn.fetchrow(hash_of, DEMO_ACCOUNTS[1].email)
    assert verify_password(old["password_hash"], WORDS[email])
    assert verify_password(new["password_hash"], "another one")
    assert new["tokens_valid_after"] > old["tokens_valid_after"]
    assert verify_password(untouched["password_hash"], WORDS[DEMO_ACCOUNTS[1].email])


async def test_an_account_without_a_password_cannot_sign_in(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await seed(conn, passwords={}, now_ms=NOW_MS)
    assert await pool.fetchval("SELECT count(password_hash) FROM person") == 0


def run_program(database_url: str, given: bytes, folder: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "engine.run_seed"],
        input=given,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "CLENZY_STATE_DIR": str(folder)},
        capture_output=True,
        timeout=60,
        check=False,
    )


async def test_the_program_reads_passwords_from_its_input(
    database_url: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    done = run_program(database_url, orjson.dumps(WORDS), tmp_path)
    assert done.returncode == 0, done.stderr
    rows = await pool.fetch("SELECT email, password_hash FROM person")
    assert all(verify_password(row["password_hash"], WORDS[row["email"]]) for row in rows)
    assert len(rows) == 5


async def test_the_program_fails_loudly_on_nonsense(database_url: str, tmp_path: Path) -> None:
    done = run_program(database_url, b'["not", "an object"]', tmp_path)
    assert done.returncode != 0
    assert b"dict" in done.stderr

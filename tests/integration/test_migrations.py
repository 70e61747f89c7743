"""The schema on a real Postgres."""

from concurrent.futures import ThreadPoolExecutor

import asyncpg
import psycopg

from clenzy.migrations import migrate, migrations_folder, pending
from tests.servers import Servers, create_database, drop_database, named


def test_every_file_is_applied_once(servers: Servers) -> None:
    name = "test_migrations"
    create_database(servers.database_url, name, template="template1")
    url = named(servers.database_url, name)
    every = sorted(path.stem for path in migrations_folder().glob("*.sql"))
    assert pending(url) == every
    assert migrate(url) == every
    assert migrate(url) == []
    assert pending(url) == []
    drop_database(servers.database_url, name)


def test_two_at_once_apply_each_file_once(servers: Servers) -> None:
    name = "test_migrations_race"
    create_database(servers.database_url, name, template="template1")
    url = named(servers.database_url, name)
    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(migrate, [url] * 4))
    assert sorted(map(len, applied))[:3] == [0, 0, 0]
    assert sum(map(len, applied)) == len(list(migrations_folder().glob("*.sql")))
    drop_database(servers.database_url, name)


def test_a_killed_migration_does_not_lock_the_next_one_out(servers: Servers) -> None:
    name = "test_migrations_killed"
    create_database(servers.database_url, name, template="template1")
    url = named(servers.database_url, name)
    with psycopg.connect(url) as connection:  # as it is left by a kill at the very first start
        connection.execute(
            "CREATE TABLE yoyo_lock (locked int DEFAULT 1, ctime timestamp, pid int, PRIMARY KEY (locked))"
        )
        connection.execute("INSERT INTO yoyo_lock (ctime, pid) VALUES ('2020-01-01', 1)")
    assert len(migrate(url)) == len(list(migrations_folder().glob("*.sql")))
    drop_database(servers.database_url, name)


async def test_dollar_quoted_functions_arrive_whole(pool: asyncpg.Pool) -> None:
    bodies = await pool.fetch(
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'wake_%'"
    )
    assert len(bodies) >= 4
    for row in bodies:
        assert row["prosrc"].strip().startswith("BEGIN")
        assert "pg_notify" in row["prosrc"]
        assert row["prosrc"].strip().endswith("END")


def test_a_database_of_the_template_is_empty_and_ours_alone(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM person").fetchone() == (0,)


def test_events_from_before_they_had_numbers_stay(servers: Servers) -> None:
    """What was published keeps no number, what waits will get one from the relay; nothing is lost or told twice."""
    name = "test_migrations_outbox"
    create_database(servers.database_url, name, template="template1")
    url = named(servers.database_url, name)
    files = {path.stem[:4]: path.read_text() for path in migrations_folder().glob("*.sql")}
    insert = "INSERT INTO outbox (topic, kind, body, created_at, published_at) VALUES ('t', %s, '{}', %s, %s)"
    with psycopg.connect(url, autocommit=True) as connection:
        for number in ("0001", "0002", "0003"):
            connection.execute(files[number])
        connection.execute(insert, ("published", "2026-01-01", "2026-01-01"))
        connection.execute(insert, ("waiting", "2026-01-01", None))
        connection.execute(files["0004"])
        rows = connection.execute("SELECT kind, seq, published_at IS NULL FROM outbox ORDER BY event_id").fetchall()
        assert rows == [("published", None, False), ("waiting", None, True)]
        assert connection.execute("SELECT floor_seq FROM outbox_epoch").fetchall() == [(0,)]
    drop_database(servers.database_url, name)

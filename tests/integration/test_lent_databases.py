"""A database that is lent again is as a new copy of the template is."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest

from tests.databases import Connection, Databases, look_at
from tests.servers import Servers


@pytest.fixture(scope="module")
def databases(servers: Servers, worker_id: str) -> Databases:
    return Databases(servers.database_url, f"test_lent_{worker_id}")


@contextmanager
def lent(databases: Databases) -> Iterator[Connection]:
    url = databases.lend()
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn
    databases.take_back(url)


def test_what_a_test_has_written_is_gone(databases: Databases) -> None:
    with lent(databases) as conn:
        new, url = look_at(conn), conn.info.dbname
        conn.execute("INSERT INTO org VALUES (%s, 'Somebody', '2023-01-01T00:00:00Z')", (uuid4(),))
        conn.execute("UPDATE match_region SET holder = %s", (uuid4(),))
        conn.execute("DELETE FROM zone_watch")
        conn.execute("SELECT setval(%s::regclass, 77)", (next(iter(new.sequences)),))
        assert look_at(conn) != new
    with lent(databases) as conn:
        assert conn.info.dbname == url
        assert look_at(conn) == new


def test_what_may_only_be_added_to_is_gone_too(databases: Databases) -> None:
    with lent(databases) as conn:
        new = look_at(conn)
        conn.execute("SET session_replication_role = replica")
        conn.execute("INSERT INTO audit_chain VALUES (1, 1, 'before', 'after')")
    with lent(databases) as conn:
        assert look_at(conn) == new


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE new (n int)",
        "ALTER TABLE org ADD COLUMN new text",
        "ALTER TABLE address ADD CONSTRAINT refuses CHECK (line = '') NOT VALID",
        "ALTER TABLE audit_log DISABLE TRIGGER audit_log_kept",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "DROP INDEX trip_share_age",
        "ALTER TABLE booking ALTER COLUMN notes SET DEFAULT 'new'",
        "ALTER DATABASE {} SET work_mem = '1MB'",
    ],
)
def test_one_whose_schema_was_changed_is_not_lent_again(databases: Databases, change: str) -> None:
    with lent(databases) as conn:
        name, new = conn.info.dbname, look_at(conn)
        conn.execute(change.format(name).encode())
    with lent(databases) as conn:
        assert conn.info.dbname != name
        assert look_at(conn) == new


def test_one_that_lets_nobody_in_is_not_lent_again(databases: Databases) -> None:
    with lent(databases) as conn:
        name = conn.info.dbname
        with psycopg.connect(databases.url, autocommit=True) as elsewhere:
            elsewhere.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false'.encode())
    with lent(databases) as conn:
        assert conn.info.dbname != name


def test_who_is_still_connected_is_cut_off(databases: Databases) -> None:
    url = databases.lend()
    with psycopg.connect(url) as late:
        late.execute("LOCK TABLE org")
        databases.take_back(url)
        assert databases.lend() == url
        with pytest.raises(psycopg.OperationalError):
            late.execute("SELECT 1")
    databases.take_back(url)

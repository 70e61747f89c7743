"""Brings a database to this build's schema: the numbered SQL files of `migrations/`, forward only."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import yoyo
from yoyo.backends import DatabaseBackend

LOCK_KEY = 0x636C656E7A79
"""Key of the advisory lock ("clenzy"): two processes that migrate at once do it one after the other."""


def migrations_folder() -> Path:
    """Return where the SQL files are: beside this package, in a checkout as in an installed wheel."""
    spec = find_spec("clenzy")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.parent / "migrations"


def migrate(database_url: str) -> list[str]:
    """Apply what is missing, each file in a transaction of its own; return the ids applied now.

    Raises:
        psycopg.Error: the database is away, or a statement failed (its file then left no trace).
    """
    with _locked(database_url), _backend(database_url) as backend:
        missing = backend.to_apply(yoyo.read_migrations(str(migrations_folder())))
        names = [migration.id for migration in missing]
        backend.apply_migrations(missing)
        return names


def pending(database_url: str) -> list[str]:
    """Return the ids that `migrate` would apply."""
    with _locked(database_url), _backend(database_url) as backend:
        return [migration.id for migration in backend.to_apply(yoyo.read_migrations(str(migrations_folder())))]


@contextmanager
def _locked(database_url: str) -> Iterator[None]:
    """Hold the advisory lock, which ends with its connection."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        yield


@contextmanager
def _backend(database_url: str) -> Iterator[DatabaseBackend]:
    scheme_for_psycopg_3 = urlsplit(database_url)._replace(scheme="postgresql+psycopg")
    backend = yoyo.get_backend(urlunsplit(scheme_for_psycopg_3))
    try:
        backend.break_lock()  # yoyo's own lock is a row, which a killed process leaves behind; ours is held
        yield backend
    finally:
        backend.connection.close()

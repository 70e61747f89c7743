"""Databases with the current schema, lent to one test after another.

To copy the template takes far longer than to take away what a test has written. A database is lent again when only
rows and sequences differ from the template's, which are put back; else it is dropped, and the next is a new copy.
"""

from dataclasses import dataclass, field
from itertools import count

import psycopg
from psycopg import sql

from tests.servers import TEMPLATE, create_database, drop_database, named

TERMINATE_MS = 10_000

DISCONNECT = """
SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# A copy has the template's object ids; whatever is made, altered or replaced in it differs here.
SCHEMA = """
SELECT md5(string_agg(line, ',' ORDER BY line)) FROM (
  SELECT concat_ws(' ', 'class', oid, relname, relkind, reloptions) FROM pg_class WHERE oid >= 16384
   UNION ALL
  SELECT concat_ws(' ', 'column', attrelid, attname, atttypid, attnotnull, atthasdef, attisdropped)
    FROM pg_attribute WHERE attrelid >= 16384
   UNION ALL
  SELECT concat_ws(' ', 'default', oid, adbin) FROM pg_attrdef
   UNION ALL
  SELECT concat_ws(' ', 'constraint', oid, convalidated) FROM pg_constraint WHERE oid >= 16384
   UNION ALL
  SELECT concat_ws(' ', 'index', indexrelid, indisvalid) FROM pg_index WHERE indexrelid >= 16384
   UNION ALL
  SELECT concat_ws(' ', 'trigger', oid, tgenabled) FROM pg_trigger
   UNION ALL
  SELECT concat_ws(' ', 'function', oid, xmin) FROM pg_proc WHERE oid >= 16384
   UNION ALL
  SELECT concat_ws(' ', 'setting', setrole, setconfig)
    FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS whole (line)
"""
RELATIONS = """
SELECT relname FROM pg_class WHERE relkind = %s AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
ROWS = sql.SQL("SELECT coalesce(jsonb_agg(t ORDER BY t::text), '[]')::text FROM {} AS t")
FILL = sql.SQL("INSERT INTO {0} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_recordset(NULL::{0}, %s)")
SEQUENCE = sql.SQL("SELECT last_value, is_called FROM {}")

Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Template:
    """What a database must hold to be as good as a new copy."""

    schema: object
    rows: dict[str, object]
    """Of each table that has some, as a JSON array."""
    sequences: dict[str, tuple[object, ...]]


@dataclass
class Databases:
    """The databases of one server."""

    url: str
    prefix: str
    _numbers: "count[int]" = field(default_factory=lambda: count(1))
    _clean: list[str] = field(default_factory=list)
    _template: Template | None = None

    def lend(self) -> str:
        """Return the URL of a database that is as the template is."""
        if self._template is None:
            with psycopg.connect(named(self.url, TEMPLATE), autocommit=True) as conn:
                self._template = look_at(conn)
        if self._clean:
            return self._clean.pop()
        name = f"{self.prefix}_{next(self._numbers)}"
        create_database(self.url, name, template=TEMPLATE)
        return named(self.url, name)

    def take_back(self, url: str) -> None:
        """Make a database ready for the next test, or drop it."""
        assert self._template is not None, "nothing was lent"
        try:
            with psycopg.connect(url, autocommit=True) as conn:
                is_clean = put_back(conn, self._template)
        except psycopg.Error:  # it lets nobody in, or its user may not do this
            is_clean = False
        if is_clean:
            self._clean.append(url)
        else:
            drop_database(self.url, url.rpartition("/")[2])


def look_at(conn: Connection) -> Template:
    """Read what is in the template."""
    return Template(
        schema=conn.execute(SCHEMA).fetchone(),
        rows={table: _rows(conn, table) for table in _filled(conn)},
        sequences={name: _sequence(conn, name) for name in _relations(conn, "S")},
    )


def put_back(conn: Connection, template: Template) -> bool:
    """Give a database the template's rows and sequences again; return whether it is as the template is then."""
    conn.execute(DISCONNECT, (TERMINATE_MS,))
    if conn.execute(SCHEMA).fetchone() != template.schema:
        return False
    conn.execute("SET session_replication_role = replica")  # no trigger and no reference minds what is deleted
    for table in _filled(conn) | template.rows.keys():
        wanted = template.rows.get(table)
        if wanted is None or wanted != _rows(conn, table):
            conn.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            conn.execute(sql.SQL("VACUUM {}").format(sql.Identifier(table)))
            if wanted is not None:
                conn.execute(FILL.format(sql.Identifier(table)), (wanted,))
    for name, state in template.sequences.items():
        if state != _sequence(conn, name):
            conn.execute("SELECT setval(%s::regclass, %s, %s)", (name, *state))
    return True


def _relations(conn: Connection, kind: str) -> list[str]:
    return [str(name) for (name,) in conn.execute(RELATIONS, (kind,))]


def _filled(conn: Connection) -> set[str]:
    """Return the tables that have rows; one statement asks them all, for most have none."""
    tables = _relations(conn, "r")
    asked = sql.SQL(", ").join(sql.SQL("EXISTS (SELECT FROM {})").format(sql.Identifier(table)) for table in tables)
    found = conn.execute(sql.SQL("SELECT {}").format(asked)).fetchone() or ()
    return {table for table, has_rows in zip(tables, found, strict=True) if has_rows}


def _rows(conn: Connection, table: str) -> object:
    row = conn.execute(ROWS.format(sql.Identifier(table))).fetchone()
    assert row is not None
    return row[0]


def _sequence(conn: Connection, name: str) -> tuple[object, ...]:
    row = conn.execute(SEQUENCE.format(sql.Identifier(name))).fetchone()
    assert row is not None
    return row

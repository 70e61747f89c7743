"""What people say for the matcher, in Postgres: kit, levels, shifts, working time, what services need, and wishes.

Each writing replaces what was said before of the same thing. The triggers of migration 0014 wake the matcher.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from config.limits import KIT_BITS
from engine.core.database import Connection
from engine.core.errors import InvalidInput, NotFound
from engine.core.ids import OrgId, PersonId
from engine.core.units import rfc3339

Row = dict[str, object]

KIT: Final = "SELECT code, kind, name FROM kit_item WHERE org_id = $1 ORDER BY kind, code"
KIT_OF_ORG: Final = "SELECT code, kind, bit FROM kit_item WHERE org_id = $1 FOR UPDATE"
SAVE_KIT: Final = """
INSERT INTO kit_item (org_id, code, kind, name, bit) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (org_id, code) DO UPDATE SET name = excluded.name
"""
LOCK_ORG: Final = "SELECT FROM org WHERE org_id = $1 FOR UPDATE"

IS_WORKER: Final = """
SELECT EXISTS (SELECT FROM worker w JOIN person p ON p.person_id = w.worker_id
                WHERE w.worker_id = $1 AND p.org_id = $2)
"""
WORKER_KIT: Final = "SELECT code, expires_at FROM worker_kit WHERE worker_id = $1 ORDER BY code"
WORKER_LEVELS: Final = "SELECT skill_bit, level FROM worker_level WHERE worker_id = $1 ORDER BY skill_bit"
SKILL_BITS: Final = "SELECT code, skill_bit FROM service WHERE org_id = $1 ORDER BY code"
SHIFTS: Final = "SELECT starts_at, ends_at FROM shift WHERE worker_id = $1 ORDER BY starts_at"
BLOCKED_CUSTOMERS: Final = """
SELECT customer_id FROM customer_worker WHERE worker_id = $1 AND said_by = 'desk' ORDER BY customer_id
"""
ADD_KIT: Final = "INSERT INTO worker_kit (worker_id, org_id, code, expires_at) VALUES ($1, $2, $3, $4)"
ADD_LEVEL: Final = "INSERT INTO worker_level (worker_id, skill_bit, level) VALUES ($1, $2, $3)"
ADD_SHIFT: Final = "INSERT INTO shift (worker_id, starts_at, ends_at) VALUES ($1, $2, $3)"
ADD_WISH: Final = """
INSERT INTO customer_worker (customer_id, worker_id, said_by, wish) VALUES ($1, $2, $3, $4)
"""
FORGET_WORKER: Final = (
    "DELETE FROM worker_kit WHERE worker_id = $1",
    "DELETE FROM worker_level WHERE worker_id = $1",
    "DELETE FROM shift WHERE worker_id = $1",
    "DELETE FROM customer_worker WHERE worker_id = $1 AND said_by = 'desk'",
)
CUSTOMERS_OF_ORG: Final = """
SELECT person_id FROM person WHERE org_id = $1 AND role = 'customer' AND person_id = ANY($2::uuid[])
"""

SERVICE: Final = "SELECT level_wanted FROM service WHERE service_id = $1 AND org_id = $2"
SERVICE_KIT: Final = "SELECT code FROM service_kit WHERE service_id = $1 ORDER BY code"
SET_LEVEL_WANTED: Final = "UPDATE service SET level_wanted = $3 WHERE service_id = $1 AND org_id = $2"
ADD_SERVICE_KIT: Final = "INSERT INTO service_kit (service_id, org_id, code) VALUES ($1, $2, $3)"

RULE: Final = "SELECT daily_min, weekly_min, rest_min FROM working_time_rule WHERE org_id = $1"
SAVE_RULE: Final = """
INSERT INTO working_time_rule (org_id, daily_min, weekly_min, rest_min) VALUES ($1, $2, $3, $4)
ON CONFLICT (org_id) DO UPDATE
   SET daily_min = excluded.daily_min, weekly_min = excluded.weekly_min, rest_min = excluded.rest_min
"""

WISHES: Final = """
SELECT worker_id, wish FROM customer_worker WHERE customer_id = $1 AND said_by = 'customer' ORDER BY worker_id
"""
LANGUAGES: Final = "SELECT code FROM customer_language WHERE customer_id = $1 ORDER BY code"
# Who was sent to them: nobody learns by asking who else works here.
KNOWN_WORKERS: Final = """
SELECT DISTINCT worker_id FROM booking WHERE customer_id = $1 AND worker_id = ANY($2::uuid[])
"""
ADD_LANGUAGE: Final = "INSERT INTO customer_language (customer_id, org_id, code) VALUES ($1, $2, $3)"


async def read_kit(conn: Connection, org_id: OrgId) -> list[Row]:
    """Return what the organisation has named."""
    return [dict(row) for row in await conn.fetch(KIT, org_id)]


async def save_kit(conn: Connection, org_id: OrgId, items: Sequence[tuple[str, str, str]]) -> None:
    """Name items, `(code, kind, name)`, or rename known ones; a bit once given stays its item's.

    Raises:
        InvalidInput: a known code is of another kind, or there are more items than bits.
    """
    await conn.execute(LOCK_ORG, org_id)
    known = {row["code"]: row for row in await conn.fetch(KIT_OF_ORG, org_id)}
    free = sorted(set(range(KIT_BITS)) - {row["bit"] for row in known.values()}, reverse=True)
    for code, kind, name in items:
        if code in known and known[code]["kind"] != kind:
            raise InvalidInput(f"{code} is a {known[code]['kind']}: what is known keeps its kind.", field="items")
        if code not in known and not free:
            raise InvalidInput(f"At most {KIT_BITS} items.", field="items")
        await conn.execute(SAVE_KIT, org_id, code, kind, name, known[code]["bit"] if code in known else free.pop())


async def read_worker(conn: Connection, worker_id: PersonId, org_id: OrgId) -> Row:
    """Return what is said of a worker.

    Raises:
        NotFound: no worker of the organisation.
    """
    await _check_worker(conn, worker_id, org_id)
    codes = {row["skill_bit"]: row["code"] for row in reversed(await conn.fetch(SKILL_BITS, org_id))}
    return {
        "worker_id": worker_id,
        "kit": [
            {"code": row["code"], "expires_at": row["expires_at"] and rfc3339(row["expires_at"])}
            for row in await conn.fetch(WORKER_KIT, worker_id)
        ],
        "levels": {
            codes[row["skill_bit"]]: round(row["level"], 4)
            for row in await conn.fetch(WORKER_LEVELS, worker_id)
            if row["skill_bit"] in codes
        },
        "shifts": [
            {"starts_at": rfc3339(row["starts_at"]), "ends_at": rfc3339(row["ends_at"])}
            for row in await conn.fetch(SHIFTS, worker_id)
        ],
        "blocked_customers": [row["customer_id"] for row in await conn.fetch(BLOCKED_CUSTOMERS, worker_id)],
    }


async def save_worker(
    conn: Connection,
    worker_id: PersonId,
    org_id: OrgId,
    *,
    kit: Sequence[tuple[str, object]],
    levels: dict[str, float],
    shifts: Sequence[tuple[object, object]],
    blocked_customers: Sequence[UUID],
) -> None:
    """Write what is said of a worker, all of it anew.

    Raises:
        NotFound: no worker of the organisation.
        InvalidInput: an item, a skill or a customer is not the organisation's.
    """
    await _check_worker(conn, worker_id, org_id)
    bits = {row["code"]: row["skill_bit"] for row in await conn.fetch(SKILL_BITS, org_id)}
    _check_known(levels, bits, "levels")
    _check_known([code for code, _ in kit], await _kinds(conn, org_id), "kit")
    found = {row["person_id"] for row in await conn.fetch(CUSTOMERS_OF_ORG, org_id, list(blocked_customers))}
    _check_known(blocked_customers, found, "blocked_customers")
    for statement in FORGET_WORKER:
        await conn.execute(statement, worker_id)
    await conn.executemany(ADD_KIT, [(worker_id, org_id, code, expires_at) for code, expires_at in kit])
    of_bit = {bits[code]: level for code, level in levels.items()}
    await conn.executemany(ADD_LEVEL, [(worker_id, bit, level) for bit, level in of_bit.items()])
    await conn.executemany(ADD_SHIFT, [(worker_id, *shift) for shift in shifts])
    await conn.executemany(ADD_WISH, [(each, worker_id, "desk", "blocked") for each in set(blocked_customers)])


async def read_service(conn: Connection, service_id: UUID, org_id: OrgId) -> Row:
    """Return what a service needs.

    Raises:
        NotFound: no service of the organisation.
    """
    level = await conn.fetchval(SERVICE, service_id, org_id)
    if level is None:
        raise NotFound
    kit = [row["code"] for row in await conn.fetch(SERVICE_KIT, service_id)]
    return {"service_id": service_id, "level_wanted": round(level, 4), "kit": kit}


async def save_service(
    conn: Connection, service_id: UUID, org_id: OrgId, *, level_wanted: float, kit: Sequence[str]
) -> None:
    """Write what a service needs.

    Raises:
        NotFound: no service of the organisation.
        InvalidInput: an item is not the organisation's.
    """
    if await conn.fetchval(SERVICE, service_id, org_id) is None:
        raise NotFound
    _check_known(kit, await _kinds(conn, org_id), "kit")
    await conn.execute(SET_LEVEL_WANTED, service_id, org_id, level_wanted)
    await conn.execute("DELETE FROM service_kit WHERE service_id = $1", service_id)
    await conn.executemany(ADD_SERVICE_KIT, [(service_id, org_id, code) for code in dict.fromkeys(kit)])


async def read_rule(conn: Connection, org_id: OrgId) -> Row:
    """Return the working-time rule; null where there is no limit."""
    row: asyncpg.Record | None = await conn.fetchrow(RULE, org_id)
    return {"daily_min": None, "weekly_min": None, "rest_min": None} if row is None else dict(row)


async def save_rule(
    conn: Connection, org_id: OrgId, *, daily_min: int | None, weekly_min: int | None, rest_min: int | None
) -> None:
    """Write the working-time rule."""
    await conn.execute(SAVE_RULE, org_id, daily_min, weekly_min, rest_min)


async def read_wishes(conn: Connection, customer_id: PersonId) -> Row:
    """Return what a customer wishes."""
    rows = await conn.fetch(WISHES, customer_id)
    return {
        "preferred": [row["worker_id"] for row in rows if row["wish"] == "preferred"],
        "blocked": [row["worker_id"] for row in rows if row["wish"] == "blocked"],
        "languages": [row["code"] for row in await conn.fetch(LANGUAGES, customer_id)],
    }


async def save_wishes(
    conn: Connection,
    customer_id: PersonId,
    org_id: OrgId,
    *,
    preferred: Sequence[UUID],
    blocked: Sequence[UUID],
    languages: Sequence[str],
) -> None:
    """Write what a customer wishes, all of it anew.

    Raises:
        InvalidInput: a worker never came to them or is wished both ways, or nobody named this language.
    """
    if set(preferred) & set(blocked):
        raise InvalidInput("A worker is either preferred or blocked.", field="blocked")
    known = {row["worker_id"] for row in await conn.fetch(KNOWN_WORKERS, customer_id, [*preferred, *blocked])}
    _check_known(preferred, known, "preferred")
    _check_known(blocked, known, "blocked")
    spoken = {code for code, kind in (await _kinds(conn, org_id)).items() if kind == "language"}
    _check_known(languages, spoken, "languages")
    await conn.execute("DELETE FROM customer_worker WHERE customer_id = $1 AND said_by = 'customer'", customer_id)
    await conn.execute("DELETE FROM customer_language WHERE customer_id = $1", customer_id)
    wishes = dict.fromkeys(preferred, "preferred") | dict.fromkeys(blocked, "blocked")
    await conn.executemany(ADD_WISH, [(customer_id, who, "customer", wish) for who, wish in wishes.items()])
    await conn.executemany(ADD_LANGUAGE, [(customer_id, org_id, code) for code in dict.fromkeys(languages)])


async def _kinds(conn: Connection, org_id: OrgId) -> dict[str, str]:
    return {row["code"]: row["kind"] for row in await conn.fetch(KIT, org_id)}


async def _check_worker(conn: Connection, worker_id: PersonId, org_id: OrgId) -> None:
    if not await conn.fetchval(IS_WORKER, worker_id, org_id):
        raise NotFound


def _check_known(said: Iterable[object], known: Iterable[object], field: str) -> None:
    unknown = sorted({str(each) for each in said} - {str(each) for each in known})
    if unknown:
        raise InvalidInput(f"Unknown: {', '.join(unknown[:5])}.", field=field)

"""Schedules of who is on call in Postgres, their overrides, and the record of shifts handed over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import orjson
import structlog

from config.limits import OVERRIDE_MS_MAX, OVERRIDES_PER_SCHEDULE_MAX, SCHEDULES_PER_ORG_MAX
from engine.core.database import Connection
from engine.core.errors import Conflict, InvalidInput, NotFound
from engine.core.ids import OrgId, PersonId, ScheduleId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.people.audit import append_audit
from engine.safetap.on_call import Override, Schedule, end_of_turn_ms, on_call, parse_schedule

log = structlog.get_logger(__name__)

# A deleted schedule still serves the policies that were frozen while it stood.
SCHEDULES: Final = "SELECT schedule_id, body::text AS body FROM on_call_schedule WHERE schedule_id = ANY($1::uuid[])"

OVERRIDES: Final = """
SELECT schedule_id, override_id, replaces, person_id, starts_at, ends_at
  FROM on_call_override
 WHERE schedule_id = ANY($1::uuid[]) AND ends_at > $2
 ORDER BY schedule_id, created_at, override_id
"""

COLUMNS: Final = "schedule_id, name, body::text AS body, version, created_at, updated_at"

OF_ORG: Final = """
SELECT :columns FROM on_call_schedule WHERE org_id = $1 AND deleted_at IS NULL ORDER BY lower(name), schedule_id
""".replace(":columns", COLUMNS)

ONE: Final = """
SELECT :columns FROM on_call_schedule WHERE schedule_id = $1 AND org_id = $2 AND deleted_at IS NULL FOR UPDATE
""".replace(":columns", COLUMNS)

COUNT: Final = "SELECT count(*) FROM on_call_schedule WHERE org_id = $1 AND deleted_at IS NULL"

ADD: Final = """
INSERT INTO on_call_schedule (schedule_id, org_id, name, body, version, created_at, updated_at)
VALUES ($1, $2, $3, $4::text::jsonb, 1, $5, $5)
"""

CHANGE: Final = """
UPDATE on_call_schedule SET name = $2, body = $3::text::jsonb, version = version + 1, updated_at = $4
 WHERE schedule_id = $1
"""

DELETE: Final = "UPDATE on_call_schedule SET deleted_at = $2 WHERE schedule_id = $1"

STAFF: Final = """
SELECT person_id FROM person WHERE org_id = $1 AND role IN ('dispatcher', 'admin') AND person_id = ANY($2::uuid[])
"""

COUNT_OVERRIDES: Final = "SELECT count(*) FROM on_call_override WHERE schedule_id = $1 AND ends_at > $2"

ADD_OVERRIDE: Final = """
INSERT INTO on_call_override (override_id, schedule_id, replaces, person_id, starts_at, ends_at, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""

DELETE_OVERRIDE: Final = """
DELETE FROM on_call_override WHERE override_id = $1 AND schedule_id = $2 RETURNING override_id
"""

ADD_HANDOVER: Final = """
INSERT INTO shift_handover (handover_id, org_id, schedule_id, from_person, to_person, until, note, incidents,
                            by_person, at)
SELECT $1, $2, $3, $4, $5, $6, $7,
       ARRAY(SELECT incident_id FROM incident WHERE org_id = $2 AND state <> 'closed' ORDER BY opened_at), $8, $9
RETURNING handover_id, from_person, to_person, until, note, incidents, by_person, at
"""

HANDOVERS: Final = """
SELECT handover_id, from_person, to_person, until, note, incidents, by_person, at
  FROM shift_handover WHERE org_id = $1 AND schedule_id = $2
 ORDER BY at DESC, handover_id DESC LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule as it was written."""

    schedule_id: ScheduleId
    name: str
    body: dict[str, object]
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StoredOverride:
    """An exception, and its name."""

    override_id: UUID
    override: Override


@dataclass(frozen=True, slots=True)
class Handover:
    """A shift that one person gave to another, until the rotation goes on as written."""

    handover_id: UUID
    from_person: PersonId
    to_person: PersonId
    until: datetime
    note: str
    incidents: Sequence[UUID]
    by_person: PersonId
    at: datetime


@dataclass(frozen=True, slots=True)
class Editor:
    """Who writes, for which organisation, and when (Unix ms)."""

    org_id: OrgId
    person_id: PersonId
    now_ms: int


async def load_schedules(
    conn: Connection, schedule_ids: Sequence[ScheduleId], *, now_ms: int
) -> dict[ScheduleId, Schedule]:
    """Return schedules with the overrides that have not ended; one that cannot be read is left out and logged."""
    overrides: dict[ScheduleId, list[Override]] = {}
    for row in await conn.fetch(OVERRIDES, schedule_ids, utc_from_ms(now_ms)):
        overrides.setdefault(row["schedule_id"], []).append(_override(row))
    found = {}
    for row in await conn.fetch(SCHEDULES, schedule_ids):
        schedule_id = ScheduleId(row["schedule_id"])
        try:
            found[schedule_id] = parse_schedule(orjson.loads(row["body"]), overrides=overrides.get(schedule_id, ()))
        except (InvalidInput, orjson.JSONDecodeError) as error:
            log.error("schedule.unreadable", schedule_id=str(schedule_id), reason=str(error))  # noqa: TRY400 - no bug
    return found


async def list_schedules(conn: Connection, *, org_id: OrgId) -> list[StoredSchedule]:
    """Return an organisation's schedules by name."""
    return [_stored(row) for row in await conn.fetch(OF_ORG, org_id)]


async def find_schedule(conn: Connection, schedule_id: ScheduleId, *, org_id: OrgId) -> StoredSchedule:
    """Return a schedule; it stays locked until the transaction ends.

    Raises:
        NotFound: there is no such schedule in the organisation.
    """
    row = await conn.fetchrow(ONE, schedule_id, org_id)
    if row is None:
        raise NotFound
    return _stored(row)


async def list_overrides(conn: Connection, schedule_id: ScheduleId, *, now_ms: int) -> list[StoredOverride]:
    """Return the exceptions that have not ended, in the order in which they apply."""
    rows = await conn.fetch(OVERRIDES, [schedule_id], utc_from_ms(now_ms))
    return [StoredOverride(row["override_id"], _override(row)) for row in rows]


async def add_schedule(
    conn: Connection, schedule_id: ScheduleId, *, name: str, body: Mapping[str, object], by: Editor
) -> None:
    """Write a new schedule.

    Raises:
        InvalidInput: it breaks a rule, or names people who are not of the desk.
        Conflict: the name is taken, or the organisation has too many.
    """
    await _check(conn, body, by)
    if await conn.fetchval(COUNT, by.org_id) >= SCHEDULES_PER_ORG_MAX:
        raise Conflict(f"An organisation has up to {SCHEDULES_PER_ORG_MAX} schedules.")
    try:
        await conn.execute(ADD, schedule_id, by.org_id, name, orjson.dumps(body).decode(), utc_from_ms(by.now_ms))
    except asyncpg.UniqueViolationError:
        raise Conflict("Another schedule has this name.") from None
    await _audit(conn, "schedule.added", schedule_id, by)


async def change_schedule(
    conn: Connection,
    schedule_id: ScheduleId,
    *,
    name: str,
    body: Mapping[str, object],
    version: int | None,
    by: Editor,
) -> None:
    """Write a schedule anew.

    Raises:
        NotFound: there is none. InvalidInput: it breaks a rule. Conflict: the name is taken, or the version is not its.
    """
    had = await find_schedule(conn, schedule_id, org_id=by.org_id)
    if version is not None and version != had.version:
        raise Conflict("The schedule has changed; read it again.")
    await _check(conn, body, by)
    try:
        await conn.execute(CHANGE, schedule_id, name, orjson.dumps(body).decode(), utc_from_ms(by.now_ms))
    except asyncpg.UniqueViolationError:
        raise Conflict("Another schedule has this name.") from None
    await _audit(conn, "schedule.changed", schedule_id, by)


async def delete_schedule(conn: Connection, schedule_id: ScheduleId, *, by: Editor) -> None:
    """Delete a schedule. Ladders that are being climbed still go by it.

    Raises:
        NotFound: there is none.
    """
    await find_schedule(conn, schedule_id, org_id=by.org_id)
    await conn.execute(DELETE, schedule_id, utc_from_ms(by.now_ms))
    await _audit(conn, "schedule.deleted", schedule_id, by)


async def add_override(
    conn: Connection, schedule_id: ScheduleId, *, override_id: UUID, override: Override, by: Editor
) -> None:
    """Write an exception.

    Raises:
        NotFound: there is no such schedule. InvalidInput: its times or people break a rule. Conflict: too many.
    """
    await find_schedule(conn, schedule_id, org_id=by.org_id)
    _check_times(override, by.now_ms)
    named = {one for one in (override.replaces, override.person_id) if one is not None}
    if not named:
        raise InvalidInput("Say who stands in, or whom they replace.", field="person_id")
    await _check_staff(conn, named, by, field="person_id")
    if await conn.fetchval(COUNT_OVERRIDES, schedule_id, utc_from_ms(by.now_ms)) >= OVERRIDES_PER_SCHEDULE_MAX:
        raise Conflict(f"A schedule has up to {OVERRIDES_PER_SCHEDULE_MAX} overrides to come.")
    await _write_override(conn, schedule_id, override_id, override, by)
    await _audit(conn, "schedule.override_added", schedule_id, by)


async def delete_override(conn: Connection, schedule_id: ScheduleId, override_id: UUID, *, by: Editor) -> None:
    """Take an exception back.

    Raises:
        NotFound: there is no such schedule or override.
    """
    await find_schedule(conn, schedule_id, org_id=by.org_id)
    if await conn.fetchval(DELETE_OVERRIDE, override_id, schedule_id) is None:
        raise NotFound
    await _audit(conn, "schedule.override_deleted", schedule_id, by)


async def hand_over(
    conn: Connection,
    schedule_id: ScheduleId,
    *,
    handover_id: UUID,
    from_person: PersonId,
    to_person: PersonId,
    note: str,
    by: Editor,
) -> Handover:
    """Record that somebody took over a shift, and let them be on call from now on until the shift's written end.

    Raises:
        NotFound: there is no such schedule.
        InvalidInput: who takes over is not of the desk, or the same person.
        Conflict: who hands over is not on call.
    """
    stored = await find_schedule(conn, schedule_id, org_id=by.org_id)
    await _check_staff(conn, {to_person}, by, field="to_person")
    if to_person == from_person:
        raise InvalidInput("Somebody else.", field="to_person")
    overrides = [one.override for one in await list_overrides(conn, schedule_id, now_ms=by.now_ms)]
    schedule = parse_schedule(stored.body, overrides=overrides)
    until_ms = end_of_turn_ms(schedule, from_person, by.now_ms)
    if from_person not in on_call(schedule, by.now_ms) or until_ms is None:
        raise Conflict("Who hands over is not on call.")
    override = Override(by.now_ms, until_ms, from_person, to_person)
    await _write_override(conn, schedule_id, handover_id, override, by)
    row = await conn.fetchrow(
        ADD_HANDOVER,
        handover_id,
        by.org_id,
        schedule_id,
        from_person,
        to_person,
        utc_from_ms(until_ms),
        note,
        by.person_id,
        utc_from_ms(by.now_ms),
    )
    await _audit(conn, "schedule.handed_over", schedule_id, by)
    assert row is not None
    return Handover(**dict(row))


async def list_handovers(conn: Connection, schedule_id: ScheduleId, *, org_id: OrgId, limit: int) -> list[Handover]:
    """Return the newest records of shifts handed over."""
    return [Handover(**dict(row)) for row in await conn.fetch(HANDOVERS, org_id, schedule_id, limit)]


async def _write_override(
    conn: Connection, schedule_id: ScheduleId, override_id: UUID, override: Override, by: Editor
) -> None:
    await conn.execute(
        ADD_OVERRIDE,
        override_id,
        schedule_id,
        override.replaces,
        override.person_id,
        utc_from_ms(override.starts_at_ms),
        utc_from_ms(override.ends_at_ms),
        by.person_id,
        utc_from_ms(by.now_ms),
    )


async def _check(conn: Connection, body: Mapping[str, object], by: Editor) -> None:
    schedule = parse_schedule(body)
    for number, layer in enumerate(schedule.layers):
        await _check_staff(conn, set(layer.people), by, field=f"layers[{number}].people")


async def _check_staff(conn: Connection, people: set[PersonId], by: Editor, *, field: str) -> None:
    if len(await conn.fetch(STAFF, by.org_id, list(people))) < len(people):
        raise InvalidInput("Dispatchers and admins of the organisation.", field=field)


def _check_times(override: Override, now_ms: int) -> None:
    if not override.starts_at_ms < override.ends_at_ms <= override.starts_at_ms + OVERRIDE_MS_MAX:
        raise InvalidInput(f"After its start, by {OVERRIDE_MS_MAX // 86_400_000} days at most.", field="ends_at")
    if override.ends_at_ms <= now_ms:
        raise InvalidInput("In the future.", field="ends_at")


async def _audit(conn: Connection, action: str, schedule_id: ScheduleId, by: Editor) -> None:
    await append_audit(
        conn,
        org_id=by.org_id,
        actor_id=by.person_id,
        action=action,
        subject=f"schedule:{schedule_id}",
        now_ms=by.now_ms,
    )


def _override(row: asyncpg.Record) -> Override:
    return Override(ms_from_utc(row["starts_at"]), ms_from_utc(row["ends_at"]), row["replaces"], row["person_id"])


def _stored(row: asyncpg.Record) -> StoredSchedule:
    return StoredSchedule(**{**dict(row), "body": orjson.loads(row["body"])})

"""What the zone watch keeps in Postgres: whose turn it is, who is in which zone, and the events.

Presence, events and what is told of them commit together, and every write names the generation that its watch was given
when its turn began. Whoever was superseded meanwhile writes nothing any more, however late it wakes up.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import numpy as np

from config.limits import ZONE_STALL_MS
from engine.core.database import Connection
from engine.core.ids import OrgId, PersonId, ZoneId
from engine.core.units import ms_from_utc, rfc3339, utc_from_ms
from engine.core.vocabulary import ZoneEventKind
from engine.geo.fixes import SlotArray
from engine.geo.zone_presence import Change
from engine.outbox.events import Event, append_events, desk_topic

WATCH_LOCK: Final = 0x7A_6F6E6573
"""Key of the advisory lock that makes one watch the active one (`zones` in ASCII)."""

# Both end with the connection, or when the pool takes it back.
TAKE_TURN: Final = "SELECT pg_try_advisory_lock($1), set_config('idle_session_timeout', $2, false)"
BEGIN: Final = "UPDATE zone_watch SET generation = generation + 1 RETURNING generation, last_event_id"
STANDING: Final = "SELECT generation, last_event_id FROM zone_watch"
ADVANCE: Final = "UPDATE zone_watch SET last_event_id = $2 WHERE generation = $1 AND last_event_id = $3 RETURNING true"

PRESENCE: Final = """
SELECT w.slot, p.worker_id, p.zone_id, p.entered_at, p.dwell_told
  FROM zone_presence p JOIN worker w USING (worker_id)
"""
WORKERS: Final = """
SELECT w.slot, w.worker_id, p.org_id
  FROM worker w JOIN person p ON p.person_id = w.worker_id
 WHERE w.slot = ANY($1::int[])
"""
OFF_DUTY: Final = """
SELECT DISTINCT w.slot FROM zone_presence JOIN worker w USING (worker_id) WHERE w.duty = 'off'
"""

ADD_EVENTS: Final = """
INSERT INTO zone_event (event_id, org_id, zone_id, worker_id, kind, reason, at, detected_at)
SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::timestamptz[],
                     $8::timestamptz[])
"""
LEAVE: Final = """
DELETE FROM zone_presence p USING unnest($1::uuid[], $2::uuid[]) AS gone (worker_id, zone_id)
 WHERE p.worker_id = gone.worker_id AND p.zone_id = gone.zone_id
"""
ENTER: Final = """
INSERT INTO zone_presence (worker_id, zone_id, entered_at, dwell_told)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::boolean[])
ON CONFLICT DO NOTHING
"""
STAY: Final = """
UPDATE zone_presence p SET entered_at = stay.entered_at, dwell_told = stay.dwell_told
  FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::boolean[])
       AS stay (worker_id, zone_id, entered_at, dwell_told)
 WHERE p.worker_id = stay.worker_id AND p.zone_id = stay.zone_id
"""


class SupersededError(Exception):
    """Another watch has had its turn since."""


class MismatchError(Exception):
    """What is stored is not what this watch goes by: somebody else has written to it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the events are, and in whose turn."""

    generation: int
    last_event_id: int


@dataclass(frozen=True, slots=True)
class Known:
    """A worker as the watch knows them."""

    worker_id: PersonId
    org_id: OrgId


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """A change on its way to Postgres. Ids follow one another without gaps."""

    event_id: int
    worker_id: PersonId
    change: Change
    detected_ms: int


@dataclass(frozen=True, slots=True)
class StoredPresence:
    """Everybody's zones as they are stored, one pair a row."""

    slots: SlotArray
    zone_ids: list[ZoneId]
    entered_ms: SlotArray
    dwell_told: "np.typing.NDArray[np.bool_]"


async def take_turn(conn: Connection) -> bool:
    """Make the watch on this connection the active one until the connection ends, unless there is another."""
    return bool(await conn.fetchval(TAKE_TURN, WATCH_LOCK, str(ZONE_STALL_MS)))


async def begin(conn: Connection) -> Standing:
    """Begin a turn: every earlier one is superseded."""
    row = await conn.fetchrow(BEGIN)
    assert row is not None
    return Standing(row["generation"], row["last_event_id"])


async def standing(conn: Connection) -> Standing:
    """Return where the events stand."""
    row = await conn.fetchrow(STANDING)
    assert row is not None
    return Standing(row["generation"], row["last_event_id"])


async def read_presence(conn: Connection) -> StoredPresence:
    """Return who is in which zone."""
    rows = await conn.fetch(PRESENCE)
    return StoredPresence(
        np.array([row["slot"] for row in rows], np.int64),
        [ZoneId(row["zone_id"]) for row in rows],
        np.array([ms_from_utc(row["entered_at"]) for row in rows], np.int64),
        np.array([row["dwell_told"] for row in rows], np.bool_),
    )


async def read_workers(conn: Connection, slots: Collection[int]) -> dict[int, Known | None]:
    """Return who the workers of `slots` are; `None`: there is no such worker."""
    rows = await conn.fetch(WORKERS, slots)
    found = {row["slot"]: Known(PersonId(row["worker_id"]), OrgId(row["org_id"])) for row in rows}
    return {slot: found.get(slot) for slot in slots}


async def read_off_duty(conn: Connection) -> list[int]:
    """Return the slots of those who are off duty and still count as being in a zone."""
    return [row["slot"] for row in await conn.fetch(OFF_DUTY)]


async def store(conn: Connection, events: Sequence[PendingEvent], *, generation: int, now_ms: int) -> None:
    """Store events, what they do to the presence, and what the desks are told, in one transaction.

    Raises:
        SupersededError: another watch has begun a turn.
        MismatchError: the presence is not what these events start from, or one of their workers is gone.
    """
    async with conn.transaction():
        if not await conn.fetchval(ADVANCE, generation, events[-1].event_id, events[0].event_id - 1):
            raise SupersededError
        try:
            await conn.execute(ADD_EVENTS, *_columns(events))
            await _store_presence(conn, events)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise MismatchError from error
        await append_events(conn, [_told(event) for event in events], now_ms=now_ms)


async def _store_presence(conn: Connection, events: Iterable[PendingEvent]) -> None:
    """Store what is left of the presence after `events`: of one pair there may be several."""
    was: dict[tuple[PersonId, ZoneId], bool] = {}
    now: dict[tuple[PersonId, ZoneId], tuple[int, bool] | None] = {}
    for event in events:
        change = event.change
        pair = event.worker_id, change.zone.zone_id
        was.setdefault(pair, change.kind is not ZoneEventKind.ENTER)
        is_exit, is_dwell = change.kind is ZoneEventKind.EXIT, change.kind is ZoneEventKind.DWELL
        now[pair] = None if is_exit else (change.entered_ms, is_dwell)
    gone = [pair for pair, state in now.items() if was[pair] and state is None]
    come = [(*pair, utc_from_ms(state[0]), state[1]) for pair, state in now.items() if not was[pair] and state]
    stay = [(*pair, utc_from_ms(state[0]), state[1]) for pair, state in now.items() if was[pair] and state]
    for statement, rows in ((LEAVE, gone), (ENTER, come), (STAY, stay)):
        if rows:
            done = await conn.execute(statement, *map(list, zip(*rows, strict=True)))
            if int(done.split()[-1]) != len(rows):
                raise MismatchError


def _columns(events: Sequence[PendingEvent]) -> list[list[object]]:
    rows = [
        (
            event.event_id,
            event.change.zone.org_id,
            event.change.zone.zone_id,
            event.worker_id,
            event.change.kind.value,
            event.change.reason.value,
            utc_from_ms(event.change.at_ms),
            utc_from_ms(event.detected_ms),
        )
        for event in events
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _told(event: PendingEvent) -> Event:
    change, zone = event.change, event.change.zone
    body = {
        "event_id": event.event_id,
        "kind": change.kind.value,
        "reason": change.reason.value,
        "zone_id": str(zone.zone_id),
        "zone_kind": zone.kind.value,
        "zone_name": zone.name,
        "worker_id": str(event.worker_id),
        "slot": change.slot,
        "at": rfc3339(utc_from_ms(change.at_ms)),
        "detected_at": rfc3339(utc_from_ms(event.detected_ms)),
    }
    return Event(desk_topic(zone.org_id), "zone", body)

"""The watches in Postgres: claiming what is due, and writing what was decided of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import orjson
import structlog

from config.limits import SILENCE_BATCH_MAX, SILENCE_LEASE_MS
from engine.core.database import Connection
from engine.core.errors import InvalidInput
from engine.core.ids import BookingId, OrgId, PersonId, RegionId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.core.vocabulary import IncidentKind, Role, WatchPhase, WatchStage
from engine.safetap.safety_setup import ContactMode
from engine.safetap.silence.facts_store import CLAIMED
from engine.safetap.silence.policy import DEFAULT, WatchPolicy, parse_policy
from engine.safetap.silence.usual import Reporting, Seen, reporting
from engine.safetap.silence.usual_store import History, Usual
from engine.safetap.silence.watch import Facts, Outage, Watch

log = structlog.get_logger(__name__)

CLAIM: Final = """
UPDATE silence_watch
   SET fence = fence + 1, lease_until = $2
 WHERE (booking_id, person_id) IN (SELECT booking_id, person_id FROM silence_watch
                                    WHERE due_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)
                                    ORDER BY due_at
                                    LIMIT $3
                                      FOR UPDATE SKIP LOCKED)
RETURNING booking_id, person_id, org_id, fence, due_at
"""

REGIONS: Final = "SELECT DISTINCT region_id FROM person WHERE person_id = ANY($1::uuid[])"

ADVANCE: Final = """
UPDATE silence_watch w
   SET stage = done.stage, round = done.round, signal = done.signal, asked_at = done.asked_at, calm_at = done.calm_at,
       due_at = done.due_at, lease_until = NULL, silent_after_s = done.silent_after_s, report_s = done.report_s,
       usual_s = done.usual_s, overrun_after_s = done.overrun_after_s, check_in_at = done.check_in_at
  FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::integer[], $5::text[], $6::timestamptz[], $7::timestamptz[],
              $8::timestamptz[], $9::integer[], $10::real[], $11::integer[], $12::integer[], $13::timestamptz[])
    AS done (booking_id, person_id, stage, round, signal, asked_at, calm_at, due_at, silent_after_s, report_s,
             usual_s, overrun_after_s, check_in_at)
 WHERE w.booking_id = done.booking_id AND w.person_id = done.person_id
"""
END: Final = """
DELETE FROM silence_watch w USING unnest($1::uuid[], $2::uuid[]) AS done (booking_id, person_id)
 WHERE w.booking_id = done.booking_id AND w.person_id = done.person_id
"""
ADD_EVENTS: Final = """
INSERT INTO silence_event (booking_id, person_id, org_id, round, kind, signal, at)
SELECT booking_id, person_id, org_id, round, kind, signal, $1
  FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::integer[], $6::text[], $7::text[])
    AS new (booking_id, person_id, org_id, round, kind, signal)
"""
COUNT: Final = "SELECT count(*) FROM silence_watch WHERE due_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Claim:
    """A watch that this loop holds until its lease ends, unless its fence moves first."""

    booking_id: BookingId
    person_id: PersonId
    org_id: OrgId
    fence: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class Due:
    """A claimed watch with all that is known of it."""

    watch: Watch
    facts: Facts
    policy: WatchPolicy
    contact_mode: ContactMode
    reports: Reporting | None
    usual: Usual | None


@dataclass(frozen=True, slots=True)
class Advance:
    """A watch as it is to be written; `due_ms` is `None` where nobody watches any more."""

    due: Due
    watch: Watch
    due_ms: int | None
    check_in_ms: int | None


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """Something that the watch did, or that was answered."""

    watch: Watch
    kind: str
    signal: IncidentKind | None


async def claim(conn: Connection, now_ms: int) -> list[Claim]:
    """Lease what is due and free, the longest overdue first."""
    rows = await conn.fetch(CLAIM, utc_from_ms(now_ms), utc_from_ms(now_ms + SILENCE_LEASE_MS), SILENCE_BATCH_MAX)
    return [
        Claim(row["booking_id"], row["person_id"], row["org_id"], row["fence"], ms_from_utc(row["due_at"]))
        for row in rows
    ]


async def regions_of(conn: Connection, claims: Sequence[Claim]) -> list[RegionId]:
    """Return where the people of these claims are."""
    rows = await conn.fetch(REGIONS, [one.person_id for one in claims])
    return [RegionId(row["region_id"]) for row in rows]


async def load(conn: Connection, claims: Sequence[Claim], history: History, *, now_ms: int) -> list[Due]:
    """Lock the claimed watches and return those whose claim still holds, with what is known of each."""
    rows = await conn.fetch(
        CLAIMED,
        utc_from_ms(now_ms),
        DEFAULT.off_site_m,
        [one.booking_id for one in claims],
        [one.person_id for one in claims],
        [one.fence for one in claims],
    )
    return [_due(row, history) for row in rows]


async def advance(conn: Connection, advances: Sequence[Advance]) -> None:
    """Write watches that go on, and give their leases back. The caller holds the rows' locks."""
    rows = [
        (
            one.watch.booking_id, one.watch.person_id, one.watch.stage.value, one.watch.round,
            None if one.watch.signal is None else one.watch.signal.value, _utc(one.watch.asked_at_ms),
            utc_from_ms(one.watch.calm_at_ms), _utc(one.due_ms),
            None if one.due.reports is None else max(one.due.reports.silent_after_s, one.due.policy.silent_s or 0),
            None if one.due.reports is None else one.due.reports.usual_s,
            None if one.due.usual is None else one.due.usual.median_s,
            None if one.due.usual is None else max(one.due.usual.too_long_s, one.due.policy.overrun_s or 0),
            _utc(one.check_in_ms),
        )
        for one in advances
    ]  # fmt: skip
    if rows:
        await conn.execute(ADVANCE, *map(list, zip(*rows, strict=True)))


async def end(conn: Connection, watches: Sequence[Watch]) -> None:
    """Delete watches that are over."""
    if watches:
        await conn.execute(END, [one.booking_id for one in watches], [one.person_id for one in watches])


async def add_events(conn: Connection, events: Sequence[WatchEvent], *, now_ms: int) -> None:
    """Write what was done."""
    rows = [
        (
            one.watch.booking_id, one.watch.person_id, one.watch.org_id, one.watch.round, one.kind,
            None if one.signal is None else one.signal.value,
        )
        for one in events
    ]  # fmt: skip
    if rows:
        await conn.execute(ADD_EVENTS, utc_from_ms(now_ms), *map(list, zip(*rows, strict=True)))


async def count(conn: Connection) -> int:
    """Return how many people are watched."""
    watched = await conn.fetchval(COUNT)
    assert isinstance(watched, int)
    return watched


def read_policy(body: str | None, org_id: OrgId) -> WatchPolicy:
    """Return a stored policy; one that cannot be read gives way to the default, because silence is the worse error."""
    if body is None:
        return DEFAULT
    try:
        return parse_policy(orjson.loads(body))
    except (InvalidInput, orjson.JSONDecodeError) as error:
        log.error("silence.policy_unreadable", org_id=str(org_id), reason=str(error))  # noqa: TRY400 - no bug of ours
        return DEFAULT


def read_watch(row: asyncpg.Record) -> Watch:
    """Return the watch in a row of `silence_watch`."""
    return Watch(
        booking_id=row["booking_id"],
        person_id=row["person_id"],
        org_id=row["org_id"],
        role=Role(row["role"]),
        phase=WatchPhase(row["phase"]),
        phase_since_ms=ms_from_utc(row["phase_since"]),
        calm_at_ms=ms_from_utc(row["calm_at"]),
        stage=WatchStage(row["stage"]),
        round=row["round"],
        signal=None if row["signal"] is None else IncidentKind(row["signal"]),
        asked_at_ms=None if row["asked_at"] is None else ms_from_utc(row["asked_at"]),
    )


def _due(row: asyncpg.Record, history: History) -> Due:
    watch = read_watch(row)
    policy = read_policy(row["policy"], watch.org_id)
    reports = usual = None
    if watch.role is Role.WORKER:
        gaps = Seen(row["gaps"] or 0, row["gap_mean"] or 0.0, (row["gap_variance"] or 0.0) * (row["gaps"] or 0))
        reports = None if policy.silent_s is None else reporting(gaps, least_s=policy.silent_s)
        usual = history.usual(
            watch.org_id,
            row["service_id"],
            watch.phase,
            duration_min=row["duration_min"],
            eta_promised_s=row["eta_promised_s"],
        )
    facts = Facts(
        heard_ms=_ms(row["heard_at"]),
        stopped_since_ms=_ms(row["stopped_since"]),
        away_since_ms=_ms(row["away_since"]),
        silent_after_s=0 if reports is None else reports.silent_after_s,
        overrun_after_s=None if usual is None else usual.too_long_s,
        outage=None if row["began_at"] is None else Outage(ms_from_utc(row["began_at"]), _ms(row["ended_at"])),
        is_cared_for=row["is_cared_for"],
    )
    return Due(watch, facts, policy, ContactMode(row["contact_mode"]), reports, usual)


def _utc(at_ms: int | None) -> object:
    return None if at_ms is None else utc_from_ms(at_ms)


def _ms(at: object) -> int | None:
    return None if at is None else ms_from_utc(at)  # type: ignore[arg-type]  # a timestamptz is an aware datetime

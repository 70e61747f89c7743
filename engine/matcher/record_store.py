"""Where records of decisions are kept: written with the row of the dispatch log that they belong to, read for `why`."""

import hashlib
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import orjson

from engine.core.database import Connection
from engine.core.ids import BookingId, OrgId
from engine.core.units import MS_PER_DAY, ms_from_utc, utc_from_ms
from engine.matcher.cost_policy import CostPolicy, policy_from_text, policy_text
from engine.matcher.record_days import slot_of

WITH_RECORD: Final = """
WITH logged AS (:add_log RETURNING dispatch_id)
INSERT INTO decision_record (day_slot, dispatch_id, org_id, booking_id, policy_hash, window_id, worker_ids, body, at)
SELECT $8, dispatch_id, $1, $2, $9, $10, $11, $12, $7 FROM logged
"""
KEEP_POLICY: Final = """
INSERT INTO cost_policy (policy_hash, label, content, last_used_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (policy_hash) DO UPDATE SET last_used_at = greatest(cost_policy.last_used_at, excluded.last_used_at)
"""
KEEP_WINDOW: Final = "INSERT INTO window_record (day_slot, window_id, body, at) VALUES ($1, $2, $3, $4)"

# The slot of the row's own day: so each row is looked for in one table.
RECORDS: Final = """
SELECT d.dispatch_id, d.worker_id, d.outcome, d.detail::text AS detail, d.took_us, d.at,
       r.body, r.window_id, r.policy_hash, p.label, p.content
  FROM dispatch_log d
  LEFT JOIN decision_record r
    ON r.day_slot = (floor(date_part('epoch', d.at) / 86400)::bigint % 32)::smallint
   AND r.dispatch_id = d.dispatch_id AND r.org_id = d.org_id
  LEFT JOIN cost_policy p ON p.policy_hash = r.policy_hash
 WHERE d.booking_id = $1 AND d.org_id = $2
 ORDER BY d.at DESC, d.dispatch_id DESC
 LIMIT $3
"""
ORG_OF_BOOKING: Final = "SELECT org_id FROM booking WHERE booking_id = $1"
WINDOW: Final = "SELECT body FROM window_record WHERE day_slot = $1 AND window_id = $2"
NAMES: Final = "SELECT person_id, full_name FROM person WHERE person_id = ANY($1::uuid[]) AND org_id = $2"
ANSWERS: Final = "SELECT worker_id, sent_at, state FROM offer WHERE booking_id = $1"


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """What is written beside a row of the dispatch log."""

    body: bytes
    worker_ids: tuple[UUID, ...]
    policy_hash: bytes
    window_id: UUID | None = None

    def parameters(self, now_ms: int) -> tuple[object, ...]:
        """Return what `WITH_RECORD` takes after the log's own seven."""
        return slot_of(now_ms), self.policy_hash, self.window_id, list(self.worker_ids), self.body


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A row of the dispatch log with its record, where that is still kept."""

    org_id: OrgId
    dispatch_id: int
    worker_id: UUID | None
    outcome: str
    detail: dict[str, object]
    took_us: int
    at_ms: int
    body: bytes | None
    window_id: UUID | None
    policy_label: str | None
    policy_hash: bytes | None
    policy: CostPolicy | None


def with_record(add_log: str) -> str:
    """Return a statement that adds to the dispatch log so that it also keeps the record of the row that it added."""
    return WITH_RECORD.replace(":add_log", add_log)


class PolicyLedger:
    """Sees that the policy in force is stored before a record names it: once, and once a day that it was used."""

    def __init__(self) -> None:
        self._policy: CostPolicy | None = None
        self._day = -1
        self.policy_hash = b""

    async def note(self, conn: Connection, policy: CostPolicy, *, now_ms: int) -> bytes:
        """Store the policy if it is another one, or another day; return its hash."""
        day = now_ms // MS_PER_DAY
        if policy is not self._policy or day != self._day:
            content = policy_text(policy)
            policy_hash = hashlib.sha256(content.encode()).digest()
            await conn.execute(KEEP_POLICY, policy_hash, policy.label, content, utc_from_ms(day * MS_PER_DAY))
            self._policy, self._day, self.policy_hash = policy, day, policy_hash
        return self.policy_hash


async def keep_window(conn: Connection, window_id: UUID, body: bytes, *, now_ms: int) -> None:
    """Store the problem of a window, before the decisions that name it."""
    await conn.execute(KEEP_WINDOW, slot_of(now_ms), window_id, body, utc_from_ms(now_ms))


async def read_decisions(conn: Connection, booking_id: BookingId, *, org_id: OrgId, limit: int) -> list[StoredDecision]:
    """Return the newest decisions about a booking, newest first."""
    rows = await conn.fetch(RECORDS, booking_id, org_id, limit)
    return [
        StoredDecision(
            org_id=org_id,
            dispatch_id=row["dispatch_id"],
            worker_id=row["worker_id"],
            outcome=row["outcome"],
            detail=orjson.loads(row["detail"]),
            took_us=row["took_us"],
            at_ms=ms_from_utc(row["at"]),
            body=row["body"],
            window_id=row["window_id"],
            policy_label=row["label"],
            policy_hash=row["policy_hash"],
            policy=None if row["content"] is None else policy_from_text(row["content"]),
        )
        for row in rows
    ]


async def read_window(conn: Connection, window_id: UUID, *, at_ms: int) -> bytes | None:
    """Return the problem of a window that was decided at this moment, if it is still kept.

    Bookings are saved after their window, so it may be of the day before.
    """
    for each_ms in (at_ms, at_ms - MS_PER_DAY):
        body: bytes | None = await conn.fetchval(WINDOW, slot_of(each_ms), window_id)
        if body is not None:
            return body
    return None


async def names_of(conn: Connection, worker_ids: set[UUID], *, org_id: OrgId) -> dict[UUID, str]:
    """Return the names of these workers."""
    return {row["person_id"]: row["full_name"] for row in await conn.fetch(NAMES, list(worker_ids), org_id)}


async def answers_of(conn: Connection, booking_id: BookingId) -> dict[tuple[int, UUID], str]:
    """Return what became of each offer of a booking, by the moment of its decision (Unix ms) and its worker."""
    rows = await conn.fetch(ANSWERS, booking_id)
    return {(ms_from_utc(row["sent_at"]), row["worker_id"]): row["state"] for row in rows}


async def org_of(conn: Connection, booking_id: BookingId) -> OrgId | None:
    """Return whose a booking is; `None`: there is no such booking."""
    org_id = await conn.fetchval(ORG_OF_BOOKING, booking_id)
    return None if org_id is None else OrgId(org_id)

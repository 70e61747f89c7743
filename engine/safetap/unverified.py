"""A trigger for which nothing vouches: its form in the spool, and how Postgres takes it.

Where a person can be told from it, by a revoked key or by what it claims, it makes an incident that is marked. Else it
is kept as an orphan that the desk sees. Either way the same trigger that comes again, verified, takes its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson

from engine.core.database import Connection
from engine.core.ids import IncidentId, OrgId, PersonId
from engine.core.vocabulary import Door
from engine.safetap.key_table import keys_by_hash
from engine.safetap.senders import Stranger
from engine.safetap.trigger import TokenState, Trigger, Trust, trigger_of, trust_of
from engine.safetap.trigger_store import store_triggers

# The organisation is told by the booking that it names, or by its own word where there is such an organisation.
ADD_ORPHANS: Final = """
INSERT INTO orphan_trigger (orphan_id, trigger_id, sender_hash, org_id, door, kind, token_state, body, received_at)
SELECT orphan_id, trigger_id, decode(sender_hash, 'hex'),
       coalesce((SELECT b.org_id FROM booking b WHERE b.booking_id = g.booking_id),
                (SELECT o.org_id FROM org o WHERE o.org_id = g.org_id)),
       door, kind, token_state, body, to_timestamp(received_ms / 1000.0)
  FROM jsonb_to_recordset($1::text::jsonb) AS g (
         orphan_id uuid, trigger_id uuid, sender_hash text, booking_id uuid, org_id uuid, door text, kind text,
         token_state text, body jsonb, received_ms bigint)
ON CONFLICT (sender_hash, trigger_id) DO NOTHING
"""
DELETE_OLD: Final = "DELETE FROM orphan_trigger WHERE received_at < $1"
PAGE: Final = """
SELECT orphan_id, trigger_id, door, kind, token_state, body::text AS body, received_at
  FROM orphan_trigger
 WHERE (org_id = $1 OR org_id IS NULL)
   AND ($2::timestamptz IS NULL OR (received_at, orphan_id) < ($2, $3::uuid))
 ORDER BY received_at DESC, orphan_id DESC
 LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class UnverifiedTrigger:
    """A trigger as a stranger sent it, how it came in and when (Unix milliseconds of the door)."""

    trigger: Trigger
    sender: Stranger
    door: Door
    received_at_ms: int
    incident_id: IncidentId


@dataclass(frozen=True, slots=True)
class _Claim:
    """An unverified trigger with the person whose it may be: a `trigger_store.StorableTrigger`."""

    trigger: Trigger
    person_id: PersonId
    door: Door
    token_state: TokenState
    received_at_ms: int
    incident_id: IncidentId
    issued_at_ms: int | None = None

    @property
    def trust(self) -> Trust:
        return trust_of(self.token_state)


@dataclass(frozen=True, slots=True)
class Orphan:
    """An unverified trigger of nobody known, as a desk sees it."""

    orphan_id: UUID
    trigger_id: UUID
    door: Door
    kind: str
    token_state: TokenState
    body: dict[str, object]
    received_at: datetime


def to_record(unverified: UnverifiedTrigger) -> bytes:
    """Return the spool's form."""
    return orjson.dumps(unverified, default=str)


def from_record(record: bytes) -> UnverifiedTrigger:
    """Return what `to_record` was given.

    Raises:
        ValueError, KeyError, TypeError: the record is not one of ours.
    """
    fields = orjson.loads(record)
    sender = fields["sender"]
    person_id, org_id = sender["claimed_person_id"], sender["claimed_org_id"]
    return UnverifiedTrigger(
        trigger=trigger_of(fields["trigger"]),
        sender=Stranger(
            TokenState(sender["token_state"]),
            sender["sender_hash"],
            None if person_id is None else PersonId(UUID(person_id)),
            None if org_id is None else OrgId(UUID(org_id)),
        ),
        door=Door(fields["door"]),
        received_at_ms=fields["received_at_ms"],
        incident_id=IncidentId(UUID(fields["incident_id"])),
    )


async def store_unverified(
    conn: Connection, batch: Sequence[UnverifiedTrigger], *, new_id: Callable[[], UUID]
) -> list[IncidentId | None]:
    """Commit what strangers sent; `None` stands where it became an orphan. Again changes nothing.

    Raises:
        asyncpg.DataError: one of them holds what no column takes.
    """
    batch = await _resolved(conn, batch)
    claims = {position: claim for position, one in enumerate(batch) if (claim := _claim(one)) is not None}
    stored = await store_triggers(conn, list(claims.values()), new_id=new_id)
    incidents = dict(zip(claims, stored, strict=True))
    orphans = [one for position, one in enumerate(batch) if incidents.get(position) is None]
    if orphans:
        rows = [_orphan_row(one, new_id()) for one in orphans]
        await conn.execute(ADD_ORPHANS, orjson.dumps(rows, default=str).decode())
    return [incidents.get(position) for position in range(len(batch))]


async def list_orphans(
    conn: Connection, *, org_id: OrgId, after: tuple[datetime, UUID] | None, limit: int
) -> list[Orphan]:
    """Return what an organisation's desk may see, the newest first: its own, and those of nobody's organisation."""
    received_at, orphan_id = after or (None, None)
    return [
        Orphan(
            row["orphan_id"],
            row["trigger_id"],
            Door(row["door"]),
            row["kind"],
            TokenState(row["token_state"]),
            orjson.loads(row["body"]),
            row["received_at"],
        )
        for row in await conn.fetch(PAGE, org_id, received_at, orphan_id, limit)
    ]


async def _resolved(conn: Connection, batch: Sequence[UnverifiedTrigger]) -> list[UnverifiedTrigger]:
    """Give those that came with a key which the door did not know yet to the person of that key."""
    unknown = {one.sender.sender_hash for one in batch if one.sender.token_state is TokenState.UNKNOWN}
    if not unknown:
        return list(batch)
    holders = await keys_by_hash(conn, [bytes.fromhex(digest) for digest in unknown])
    resolved = []
    for one in batch:
        holder = holders.get(bytes.fromhex(one.sender.sender_hash))
        # A tracker's token is good behind the gateway alone.
        is_usable = holder is not None and not (holder.is_tracker and one.door is Door.DIRECT)
        if one.sender.token_state is TokenState.UNKNOWN and holder is not None and is_usable:
            state = TokenState.KEY if holder.is_live else TokenState.REVOKED
            sender = replace(
                one.sender, token_state=state, claimed_person_id=holder.person_id, claimed_org_id=holder.org_id
            )
            resolved.append(replace(one, sender=sender))
        else:
            resolved.append(one)
    return resolved


def _claim(one: UnverifiedTrigger) -> _Claim | None:
    if one.sender.claimed_person_id is None:
        return None
    return _Claim(
        one.trigger, one.sender.claimed_person_id, one.door, one.sender.token_state, one.received_at_ms, one.incident_id
    )


def _orphan_row(one: UnverifiedTrigger, orphan_id: UUID) -> dict[str, object]:
    return {
        "orphan_id": orphan_id,
        "trigger_id": one.trigger.trigger_id,
        "sender_hash": one.sender.sender_hash,
        "booking_id": one.trigger.booking_id,
        "org_id": one.sender.claimed_org_id,
        "door": one.door.value,
        "kind": one.trigger.kind.value,
        "token_state": one.sender.token_state.value,
        "body": {"fix": one.trigger.fix, "booking_id": one.trigger.booking_id},
        "received_ms": one.received_at_ms,
    }

"""Writes events beside the change that they tell of. Who publishes them, and when, is the relay's business."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from engine.core.database import Connection
from engine.core.ids import OrgId, PersonId
from engine.core.units import utc_from_ms

# `::text::jsonb` works with and without a JSON codec on the connection. One statement, so one wake-up of the relay.
APPEND_EVENTS: Final = """
INSERT INTO outbox (topic, kind, body, created_at)
SELECT topic, kind, body::jsonb, $4
  FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS event (topic, kind, body, position)
 ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell: to whom (`topic`), what (`kind`), and the JSON body they get."""

    topic: str
    kind: str
    body: Mapping[str, object]


def user_topic(person_id: PersonId) -> str:
    """Return the topic of one person's own connections."""
    return f"user:{person_id}"


def desk_topic(org_id: OrgId) -> str:
    """Return the topic of an organisation's dispatchers."""
    return f"desk:{org_id}"


async def append_event(conn: Connection, *, topic: str, kind: str, body: Mapping[str, object], now_ms: int) -> None:
    """Store one event in the caller's transaction."""
    await append_events(conn, [Event(topic, kind, body)], now_ms=now_ms)


async def append_events(conn: Connection, events: Sequence[Event], *, now_ms: int) -> None:
    """Store events in the caller's transaction; they are published in this order."""
    await conn.execute(
        APPEND_EVENTS,
        [event.topic for event in events],
        [event.kind for event in events],
        [orjson.dumps(event.body).decode() for event in events],
        utc_from_ms(now_ms),
    )

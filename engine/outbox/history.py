"""What the outbox still holds of the events that somebody missed, and how far it has got.

Numbers are given one batch after another under one lock (`relay`), so whoever sees a number sees all below it: a reader
that has all events of a topic up to `newest` has missed none. What was deleted lies at or below `floor`.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import orjson

from config.limits import RECOVERY_EVENTS_MAX
from engine.core.database import Connection

POSITION: Final = """
SELECT epoch::text AS epoch, floor_seq, greatest(floor_seq, (SELECT max(seq) FROM outbox)) AS newest
  FROM outbox_epoch
"""

# One statement, so one snapshot: nothing can be deleted, or get a number, between the position and the events.
MISSED: Final = f"""
SELECT position.epoch, position.floor_seq, position.newest, event.*
  FROM ({POSITION}) AS position
  LEFT JOIN (
    SELECT wanted.topic, found.seq, found.kind, found.body::text AS body
      FROM unnest($1::text[], $2::bigint[]) AS wanted (topic, after),
   LATERAL (SELECT seq, kind, body FROM outbox WHERE topic = wanted.topic AND seq > wanted.after
             ORDER BY seq LIMIT $3) AS found
  ) AS event ON true
 ORDER BY event.seq
"""  # noqa: S608 - only constants of this module


@dataclass(frozen=True, slots=True)
class DurableEvent:
    """A durable event as it was published: `seq` is its place among all events of its epoch."""

    seq: int
    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Position:
    """How far the outbox has got: the numbers in `floor < seq <= newest` are all there."""

    epoch: str
    floor: int
    newest: int

    def has_all_after(self, offset: int) -> bool:
        """Whether who got everything up to `offset` can be told everything since."""
        return self.floor <= offset <= self.newest


@dataclass(frozen=True, slots=True)
class History:
    """What happened on some topics, up to a position."""

    position: Position
    _rows: Mapping[str, list[asyncpg.Record]]

    def after(self, topic: str, offset: int) -> list[DurableEvent] | None:
        """Return the events of `topic` after `offset` in order; None where they are not all there, or too many."""
        if not self.position.has_all_after(offset):
            return None
        rows = self._rows.get(topic, [])
        if len(rows) > RECOVERY_EVENTS_MAX:
            return None
        return [DurableEvent(row["seq"], row["kind"], orjson.loads(row["body"])) for row in rows if row["seq"] > offset]


async def read_position(conn: Connection) -> Position:
    """Return how far the outbox has got."""
    row = await conn.fetchrow(POSITION)
    assert row is not None
    return Position(row["epoch"], row["floor_seq"], row["newest"])


async def read_missed(conn: Connection, after: Mapping[str, int]) -> History:
    """Return what was told on each topic after the number beside it, in one statement.

    A topic of which more than `limits.RECOVERY_EVENTS_MAX` events are missing counts as lost.
    """
    rows = await conn.fetch(MISSED, list(after), list(after.values()), RECOVERY_EVENTS_MAX + 1)
    by_topic: dict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        if row["seq"] is not None:
            by_topic[row["topic"]].append(row)
    return History(Position(rows[0]["epoch"], rows[0]["floor_seq"], rows[0]["newest"]), by_topic)

"""Reads a piece of a worker's trail. Who is given places is written down by who asks, in the same transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from config.limits import TRAIL_ROWS_MAX
from engine.core.database import Connection
from engine.core.errors import InvalidInput, NotFound
from engine.core.ids import OrgId, PersonId
from engine.geo.trail_lines import TRAIL_FIX, TrailArray

SLOT_OF_WORKER: Final = """
SELECT slot FROM worker JOIN person ON person_id = worker_id WHERE worker_id = $1 AND org_id = $2
"""

# All rows as one value of bytes: fifty thousand of them are decoded at once.
PIECE: Final = """
SELECT count(*) AS fixes,
       string_agg(timestamptz_send(at) || int4send(lat_e7) || int4send(lng_e7) || int2send(accuracy_dm)
                  || int2send(speed_cm_s) || int2send(heading_ddeg), ''::bytea ORDER BY at) AS rows
  FROM (SELECT * FROM trail WHERE slot = $1 AND org_id = $2 AND at >= $3 AND at < $4 ORDER BY at LIMIT $5) AS piece
"""

# A page of a replay: of each step the newest fix alone. `$3` is where the steps begin, `$4` where the page does.
REPLAY: Final = """
SELECT string_agg(timestamptz_send(at) || int4send(lat_e7) || int4send(lng_e7) || int2send(accuracy_dm)
                  || int2send(speed_cm_s) || int2send(heading_ddeg), ''::bytea ORDER BY at) AS rows
  FROM (SELECT DISTINCT ON (step) *
          FROM (SELECT *, floor(extract(epoch FROM at - $3::timestamptz) * 1000 / $7::integer) AS step
                  FROM trail WHERE slot = $1 AND org_id = $2 AND at >= $4 AND at < $5) AS stepped
         ORDER BY step, at DESC LIMIT $6) AS page
"""

_ROW: Final = np.dtype(
    [
        ("at_us", ">i8"),
        ("lat_e7", ">i4"),
        ("lng_e7", ">i4"),
        ("accuracy_dm", ">i2"),
        ("speed_cm_s", ">i2"),
        ("heading_ddeg", ">i2"),
    ]
)
_POSTGRES_EPOCH_MS: Final = 946_684_800_000


@dataclass(frozen=True, slots=True)
class Span:
    """From an instant up to, and without, another one."""

    begin: datetime
    end: datetime


async def read_trail(conn: Connection, *, worker_id: PersonId, org_id: OrgId, span: Span) -> TrailArray:
    """Return the stored fixes of a worker within `span`, in the order of time.

    Raises:
        NotFound: the organisation has no such worker.
        InvalidInput: there are more than `limits.TRAIL_ROWS_MAX`.
    """
    slot = await conn.fetchval(SLOT_OF_WORKER, worker_id, org_id)
    if slot is None:
        raise NotFound
    row = await conn.fetchrow(PIECE, slot, org_id, span.begin, span.end, TRAIL_ROWS_MAX + 1)
    assert row is not None
    if row["fixes"] > TRAIL_ROWS_MAX:
        raise InvalidInput(f"More than {TRAIL_ROWS_MAX} fixes: ask for a shorter time.", field="to")
    return _decoded(row["rows"])


async def read_replay(
    conn: Connection, *, worker_id: PersonId, org_id: OrgId, span: Span, start: datetime, step_ms: int, limit: int
) -> TrailArray:
    """Return up to `limit` fixes of `span` from `start` on, in the order of time; the newest of each `step_ms`.

    Raises:
        NotFound: the organisation has no such worker.
    """
    slot = await conn.fetchval(SLOT_OF_WORKER, worker_id, org_id)
    if slot is None:
        raise NotFound
    return _decoded(await conn.fetchval(REPLAY, slot, org_id, span.begin, start, span.end, limit, step_ms))


def _decoded(packed: bytes | None) -> TrailArray:
    rows = np.frombuffer(packed or b"", _ROW)
    trail = np.zeros(len(rows), TRAIL_FIX)
    trail["at_ms"] = rows["at_us"] // 1_000 + _POSTGRES_EPOCH_MS
    for column in ("lat_e7", "lng_e7", "accuracy_dm", "speed_cm_s", "heading_ddeg"):
        trail[column] = rows[column]
    return trail

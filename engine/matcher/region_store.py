"""Who dispatches which region, in Postgres: the truth that claims and saved offers are held against.

A matcher lives by one lease; its regions are its as long as that lease lasts and nobody has taken them since. Each
write is one statement that names the fences it saw, so no lock outlives it, also when its process is stopped midway.
"""

from collections.abc import Collection, Sequence
from typing import Final

from config.limits import MATCHER_BEAT_MS, MATCHER_KEPT_MS, MATCHER_LEASE_MS, REGION_RESOLUTION_MAX
from engine.core.database import Connection
from engine.core.ids import MatcherId
from engine.core.units import ms_from_utc, utc_from_ms
from engine.geo.cells import ancestor_bits
from engine.matcher.region_plan import HandOver, Lands, RegionRow

LATELY_MS: Final = 2 * MATCHER_BEAT_MS
"""Who has not renewed for this long has missed at least one beat."""

CELL_OF_BOOKING: Final = "((b.cell & {clear}) | {fill})"

# A seat has one process: whoever sat there before is gone, whatever is left of its lease.
FOLLOW: Final = "DELETE FROM matcher WHERE seat = $2 AND matcher_id <> $1"
BEAT: Final = """
INSERT INTO matcher (matcher_id, seat, joined_at, lease_until) VALUES ($1, $2, $3, $4)
ON CONFLICT (matcher_id) DO UPDATE SET lease_until = excluded.lease_until
"""

ALIVE: Final = "SELECT matcher_id, lease_until > $2 AS is_awake FROM matcher WHERE lease_until > $1"
FORGET: Final = "DELETE FROM matcher WHERE lease_until <= $1"
REGIONS: Final = "SELECT cell, holder, fence, busy_at FROM match_region"
# A booking's own region, else cell 0. The LIMIT keeps it a look-up a booking: flattened, it is a join of all with all.
HERE: Final = """
  JOIN LATERAL (SELECT m.holder, m.fence FROM match_region m WHERE m.cell IN (:cell, 0)
                 ORDER BY m.cell DESC LIMIT 1) r ON r.holder = $4"""
# Who is found at once is hardly ever seen searching: a booking counts until its worker is there. Both have an index.
BUSY: Final = """
SELECT :cell AS cell FROM booking b WHERE b.state = 'searching' AND b.cell IS NOT NULL
UNION
SELECT :cell AS cell FROM booking b WHERE b.state IN ('assigned', 'en_route') AND b.cell IS NOT NULL
"""

TAKE: Final = """
UPDATE match_region r SET holder = $1, fence = nextval('match_fence')
 WHERE r.fence = ANY($2) AND NOT EXISTS (SELECT FROM matcher m WHERE m.matcher_id = r.holder AND m.lease_until > $3)
RETURNING r.cell
"""
GIVE: Final = """
UPDATE match_region r SET holder = move.receiver, fence = nextval('match_fence')
  FROM unnest($1::bigint[], $2::uuid[]) AS move (fence, receiver)
 WHERE r.fence = move.fence
   AND EXISTS (SELECT FROM matcher m WHERE m.matcher_id = move.receiver AND m.lease_until > $3)
RETURNING r.cell
"""
# With nobody left the regions wait without a holder.
DROP: Final = """
UPDATE match_region r SET holder = NULL, fence = nextval('match_fence') WHERE r.holder = $1 RETURNING r.cell
"""
# What was claimed there is free in the same step: the fences of those claims are void, nothing of them can be saved.
# A row that is locked is being saved this moment, by a claim from before.
MOVE: Final = """
WITH moved AS (:change), freed AS (
  UPDATE booking SET lease_until = NULL
   WHERE booking_id IN (SELECT b.booking_id FROM booking b
                         WHERE b.state = 'searching' AND b.lease_until IS NOT NULL
                           AND coalesce((SELECT own.cell FROM match_region own WHERE own.cell = :cell), 0)
                               IN (SELECT cell FROM moved)
                           FOR UPDATE SKIP LOCKED)
)
SELECT count(*) FROM moved
"""
FOUND: Final = """
INSERT INTO match_region (cell, holder, fence, busy_at)
SELECT cell, $1, nextval('match_fence'), $3 FROM unnest($2::bigint[]) AS cell
 WHERE EXISTS (SELECT FROM match_region r WHERE r.cell = 0 AND r.holder = $1)
ON CONFLICT (cell) DO NOTHING
"""
CLOSE: Final = "DELETE FROM match_region WHERE fence = ANY($1)"
NOTE_BUSY: Final = "UPDATE match_region SET busy_at = $3 WHERE holder = $1 AND cell = ANY($2)"

LEAVE: Final = "DELETE FROM matcher WHERE matcher_id = $1"


def region_cell_sql(resolution: int) -> str:
    """Return an SQL expression for the region of booking `b`; NULL where the booking has no cell."""
    assert resolution <= REGION_RESOLUTION_MAX
    clear, fill = ancestor_bits(resolution)
    return CELL_OF_BOOKING.format(clear=clear, fill=fill)


class RegionStore:
    """The statements of one matcher, for regions of one resolution."""

    def __init__(self, matcher_id: MatcherId, seat: str, *, resolution: int) -> None:
        self.matcher_id = matcher_id
        self.resolution = resolution
        self._seat = seat
        cell = region_cell_sql(resolution)
        self._here = HERE.replace(":cell", cell)
        self._busy = BUSY.replace(":cell", cell)
        self._take, self._give, self._drop = (
            MOVE.replace(":change", change.strip()).replace(":cell", cell) for change in (TAKE, GIVE, DROP)
        )

    def within(self, statement: str) -> str:
        """Return a statement on bookings `b` held to this matcher's regions.

        It names `:regions` behind `booking b`, may select `:region_fence`, and takes the matcher's id as `$4`.
        """
        return statement.replace(":regions", self._here).replace(":region_fence", "r.fence")

    async def join(self, conn: Connection) -> None:
        """End the lease of whoever sat here before; once, before the first `beat`."""
        await conn.execute(FOLLOW, self.matcher_id, self._seat)

    async def beat(self, conn: Connection, *, now_ms: int) -> None:
        """Take part from now on, for `limits.MATCHER_LEASE_MS`; forget who was away for long."""
        at = utc_from_ms(now_ms)
        await conn.execute(BEAT, self.matcher_id, self._seat, at, utc_from_ms(now_ms + MATCHER_LEASE_MS))
        await conn.execute(FORGET, utc_from_ms(now_ms - MATCHER_KEPT_MS))

    async def read(self, conn: Connection, *, now_ms: int) -> Lands:
        """Return who takes part, what everybody holds, and where bookings search."""
        alive = await conn.fetch(ALIVE, utc_from_ms(now_ms), utc_from_ms(now_ms + MATCHER_LEASE_MS - LATELY_MS))
        rows = await conn.fetch(REGIONS)
        busy = await conn.fetch(self._busy)
        return Lands(
            alive=frozenset(MatcherId(row["matcher_id"]) for row in alive),
            awake=frozenset(MatcherId(row["matcher_id"]) for row in alive if row["is_awake"]),
            rows=tuple(
                RegionRow(row["cell"], row["holder"], row["fence"], ms_from_utc(row["busy_at"])) for row in rows
            ),
            busy=frozenset(row["cell"] for row in busy),
        )

    async def take(self, conn: Connection, rows: Sequence[RegionRow], *, now_ms: int) -> int:
        """Take regions that nobody alive holds, with whatever was claimed in them; return how many were still free."""
        fences = [row.fence for row in rows]
        taken: int = await conn.fetchval(self._take, self.matcher_id, fences, utc_from_ms(now_ms))
        return taken

    async def give(self, conn: Connection, moves: Sequence[HandOver], *, now_ms: int) -> int:
        """Hand regions over to those who take part; return how many went."""
        fences, receivers = [move.row.fence for move in moves], [move.to for move in moves]
        given: int = await conn.fetchval(self._give, fences, receivers, utc_from_ms(now_ms))
        return given

    async def found(self, conn: Connection, cells: Sequence[int], *, now_ms: int) -> None:
        """Make regions of cells that were `ELSEWHERE`, as long as that is still this matcher's."""
        await conn.execute(FOUND, self.matcher_id, cells, utc_from_ms(now_ms))

    async def close(self, conn: Connection, rows: Sequence[RegionRow]) -> None:
        """Let regions fall back to `ELSEWHERE`."""
        await conn.execute(CLOSE, [row.fence for row in rows])

    async def note_busy(self, conn: Connection, cells: Collection[int], *, now_ms: int) -> None:
        """Say that bookings search in these regions."""
        await conn.execute(NOTE_BUSY, self.matcher_id, list(cells), utc_from_ms(now_ms))

    async def leave(self, conn: Connection) -> None:
        """Take part no more; what is still held has no holder from now on."""
        await conn.execute(LEAVE, self.matcher_id)
        await conn.fetchval(self._drop, self.matcher_id)

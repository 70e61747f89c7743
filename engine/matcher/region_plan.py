"""Which matcher dispatches which regions: who takes, hands over, founds and closes. Pure: state in, plan out.

A region is a coarse H3 cell; `ELSEWHERE` stands for every place that has no region of its own yet. Each matcher plans
for itself from what it read, and what it then writes names the fence it saw: of two that saw the same, one does
nothing. Whatever nobody holds is taken by whoever sees it first; only when everything is held are shares made even.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final

from config.limits import REGION_BUSY_NOTE_MS, REGION_IDLE_MS
from engine.core.ids import MatcherId

ELSEWHERE: Final = 0
"""No H3 cell: the region of whatever has none."""


@dataclass(frozen=True, slots=True)
class RegionRow:
    """A region as Postgres has it. `fence` never repeats; `holder` is whoever wrote itself there last, alive or not."""

    cell: int
    holder: MatcherId | None
    fence: int
    busy_at_ms: int
    """When there was last such a booking as `Lands.busy` tells of, at `limits.REGION_BUSY_NOTE_MS` exact."""


@dataclass(frozen=True, slots=True)
class Lands:
    """All that a matcher plans from, as it was read."""

    alive: frozenset[MatcherId]
    """Whose lease lasts."""
    awake: frozenset[MatcherId]
    """Of these, who has renewed it lately: nothing is handed to anybody who may have just been killed."""
    rows: tuple[RegionRow, ...]
    busy: frozenset[int]
    """Cells of the regions' size where bookings search, or have a worker who is not there yet."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """A region that its holder gives to another."""

    row: RegionRow
    to: MatcherId


@dataclass(frozen=True, slots=True)
class RegionPlan:
    """What one matcher writes next."""

    take: tuple[RegionRow, ...] = ()
    found: tuple[int, ...] = ()
    """Cells that become regions, held by whoever holds `ELSEWHERE`: it dispatches there already."""
    give: tuple[HandOver, ...] = ()
    close: tuple[RegionRow, ...] = ()
    """Regions where nothing was asked for in a long time; they fall back to `ELSEWHERE`."""
    note_busy: tuple[int, ...] = ()

    @property
    def changes_hands(self) -> bool:
        """Whether it changes who dispatches what, so that it is worth looking again at once."""
        return bool(self.take or self.found or self.give or self.close)


def plan_regions(me: MatcherId, lands: Lands, *, now_ms: int) -> RegionPlan:
    """Return what this matcher does about what it has read."""
    assert me in lands.alive
    mine = [row for row in lands.rows if row.holder == me]
    known = {row.cell for row in lands.rows}
    take = tuple(row for row in lands.rows if row.holder not in lands.alive)
    found = tuple(sorted(lands.busy - known)) if any(row.cell == ELSEWHERE for row in mine) else ()
    close = tuple(row for row in mine if _is_idle(row, lands.busy, now_ms))
    return RegionPlan(
        take=take,
        found=found,
        give=() if take or found or close else hand_overs(me, lands.awake, lands.rows),
        close=close,
        note_busy=tuple(
            row.cell for row in mine if row.cell in lands.busy and now_ms - row.busy_at_ms >= REGION_BUSY_NOTE_MS
        ),
    )


def hand_overs(me: MatcherId, awake: Collection[MatcherId], rows: Sequence[RegionRow]) -> tuple[HandOver, ...]:
    """Return what this matcher gives away so that no two of those awake are apart by more than one region.

    All who read the same compute the same moves, so nobody is given more than it lacks. A giver parts with its highest
    cells and a taker gets them in a row: H3 numbers cells near each other alike, so neighbours mostly stay together.
    """
    if me not in awake:
        return ()  # held up since its beat: others may count on its regions by now
    held: dict[MatcherId, list[RegionRow]] = {each: [] for each in awake}
    for row in sorted(rows, key=lambda row: row.cell):
        if row.holder in held:
            held[row.holder].append(row)
    share, more = divmod(sum(map(len, held.values())), len(held))
    # Who holds most keeps the odd one: fewer moves.
    ranked = sorted(held, key=lambda each: (-len(held[each]), each))
    target = {each: share + (rank < more) for rank, each in enumerate(ranked)}
    lacking = chain.from_iterable(repeat(each, target[each] - len(held[each])) for each in ranked)
    surplus = chain.from_iterable(held[each][target[each] :] for each in ranked)
    moves = (HandOver(row, to) for row, to in zip(surplus, lacking, strict=True))
    return tuple(move for move in moves if move.row.holder == me)


def farewell(me: MatcherId, awake: Collection[MatcherId], rows: Sequence[RegionRow]) -> tuple[HandOver, ...]:
    """Return to whom a matcher that leaves gives each of its regions: in runs, whoever holds least first."""
    others = sorted(each for each in awake if each != me)
    mine = sorted((row for row in rows if row.holder == me), key=lambda row: row.cell)
    held = {each: sum(row.holder == each for row in rows) for each in others}
    if not others:
        return ()
    receivers: list[MatcherId] = []
    for _ in mine:
        least = min(others, key=lambda each: (held[each], each))
        held[least] += 1
        receivers.append(least)
    return tuple(HandOver(row, to) for row, to in zip(mine, sorted(receivers), strict=True))


def _is_idle(row: RegionRow, busy: Collection[int], now_ms: int) -> bool:
    return row.cell != ELSEWHERE and row.cell not in busy and now_ms - row.busy_at_ms >= REGION_IDLE_MS

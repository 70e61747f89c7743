"""Matchers that come, go, fall silent and return, each planning from what it last read: regions in a plain model."""

from dataclasses import replace
from itertools import count
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from config.limits import REGION_BUSY_NOTE_MS, REGION_IDLE_MS
from engine.core.ids import MatcherId
from engine.matcher.region_plan import ELSEWHERE, Lands, RegionRow, farewell, hand_overs, plan_regions

ROUNDS_MAX = 12
NOW_MS = 1_700_000_000_000

matchers = st.integers(1, 6).map(lambda number: MatcherId(UUID(int=number)))


class Table:
    """The table of regions with the conditions of its statements, and nothing else."""

    def __init__(self) -> None:
        self._fences = count(1)
        self.rows = {ELSEWHERE: RegionRow(ELSEWHERE, None, next(self._fences), NOW_MS)}
        self.alive: set[MatcherId] = set()
        self.late: set[MatcherId] = set()

    def become(self, who: MatcherId, what: str) -> None:
        self.alive = self.alive | {who} if what != "dead" else self.alive - {who}
        self.late = self.late | {who} if what == "late" else self.late - {who}

    def read(self, busy: frozenset[int]) -> Lands:
        alive = frozenset(self.alive)
        return Lands(alive, alive - self.late, tuple(self.rows.values()), busy)

    def act(self, me: MatcherId, seen: Lands) -> bool:  # noqa: C901 - one condition a statement
        """Carry out a plan made from what was `seen`, perhaps long ago; return whether it wanted anything."""
        plan = plan_regions(me, seen, now_ms=NOW_MS)
        for row in plan.take:
            if self._is_now(row) and self.rows[row.cell].holder not in self.alive:
                self._move(row.cell, me)
        for cell in plan.found:
            if cell not in self.rows and self.rows[ELSEWHERE].holder == me:
                self.rows[cell] = RegionRow(cell, me, next(self._fences), NOW_MS)
        for move in plan.give:
            if self._is_now(move.row) and move.to in self.alive:
                self._move(move.row.cell, move.to)
        for row in plan.close:
            if self._is_now(row):
                del self.rows[row.cell]
        return plan.changes_hands

    def _is_now(self, row: RegionRow) -> bool:
        return row.cell in self.rows and self.rows[row.cell].fence == row.fence

    def _move(self, cell: int, to: MatcherId) -> None:
        self.rows[cell] = replace(self.rows[cell], holder=to, fence=next(self._fences))


@given(
    busy=st.frozensets(st.integers(1, 40)),
    steps=st.lists(st.tuples(st.sampled_from(["awake", "dead", "late", "read", "act"]), matchers), max_size=40),
)
def test_shares_become_even_and_stay(busy: frozenset[int], steps: list[tuple[str, MatcherId]]):
    table = Table()
    seen = {}
    for what, who in steps:
        if what == "read":
            seen[who] = table.read(busy)
        elif what != "act":
            table.become(who, what)
        elif who in seen and who in seen[who].alive:
            table.act(who, seen[who])  # it may have been stopped since it read
    table.alive, table.late = table.alive or {MatcherId(UUID(int=1))}, set()
    for _ in range(ROUNDS_MAX):
        moved = [table.act(who, table.read(busy)) for who in sorted(table.alive)]
        if not any(moved):
            break
    else:
        raise AssertionError("they never come to rest")

    assert set(table.rows) >= busy | {ELSEWHERE}
    held = [sum(row.holder == who for row in table.rows.values()) for who in table.alive]
    assert sum(held) == len(table.rows), "every region has a holder who takes part"
    assert max(held) - min(held) <= 1
    fences = [row.fence for row in table.rows.values()]
    assert len(set(fences)) == len(fences)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 6))
def test_who_reads_the_same_never_gives_anybody_too_much(holders: list[int], others: int):
    alive = {MatcherId(UUID(int=number)) for number in (*holders, *range(others))}
    rows = [RegionRow(cell, MatcherId(UUID(int=holder)), cell, NOW_MS) for cell, holder in enumerate(holders)]
    moves = {move.row.cell: move for me in alive for move in hand_overs(me, alive, rows)}
    after = [moves[row.cell].to if row.cell in moves else row.holder for row in rows]
    shares = [after.count(who) for who in alive]
    assert max(shares) - min(shares) <= 1
    least = sum(max(0, holders.count(who.int) - max(shares)) for who in alive)
    assert least <= len(moves) <= least + len(alive), "nobody moves what may stay"


def test_who_was_held_up_gives_nothing_away():
    me, other = MatcherId(UUID(int=1)), MatcherId(UUID(int=2))
    rows = [RegionRow(cell, me, cell, NOW_MS) for cell in range(4)]
    assert len(hand_overs(me, {me, other}, rows)) == 2
    assert hand_overs(me, {other}, rows) == hand_overs(me, set(), rows) == ()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), matchers)
def test_who_leaves_gives_everything_away(holders: list[int], me: MatcherId):
    alive = {MatcherId(UUID(int=number)) for number in range(6)} | {me}
    rows = [RegionRow(cell, MatcherId(UUID(int=holder)), cell, NOW_MS) for cell, holder in enumerate(holders)]
    moves = farewell(me, alive, rows)
    assert [move.row for move in moves] == [row for row in rows if row.holder == me]
    assert me not in {move.to for move in moves}
    assert farewell(me, {me}, rows) == ()


def test_closes_what_nobody_asks_for_and_notes_what_is_asked_for():
    me = MatcherId(UUID(int=1))
    rows = [
        RegionRow(ELSEWHERE, me, 1, 0),
        RegionRow(1, me, 2, NOW_MS - REGION_IDLE_MS),
        RegionRow(2, me, 3, NOW_MS - REGION_IDLE_MS),
        RegionRow(3, me, 4, NOW_MS - REGION_IDLE_MS + 1),
        RegionRow(4, me, 5, NOW_MS - REGION_BUSY_NOTE_MS + 1),
    ]
    plan = plan_regions(me, Lands(frozenset({me}), frozenset({me}), tuple(rows), frozenset({2, 4})), now_ms=NOW_MS)
    assert plan.close == (rows[1],)
    assert plan.note_busy == (2,)
    assert plan.changes_hands

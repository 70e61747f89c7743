"""Who is near: outwards from the pin until nobody further away could be cheaper.

Asked of the frame that is kept while everything that was written is in it: the whole organisation in some
microseconds, and nothing is awaited. While it is not (at the start, after Redis was away, in a region that has just
come to this matcher) the cells in Redis are read instead, ring by ring: a booking does not wait for a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from prometheus_client import Histogram

from config.limits import CANDIDATES_MAX, SEARCH_RADIUS_M_MAX, WORKER_SILENT_MS
from engine.core.clock import Clock
from engine.core.ids import OrgId, PersonId
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cell_of, disk, rings_for
from engine.geo.fixes import RECORD, RecordArray
from engine.geo.mirror import Mirror, Wanted
from engine.matcher.ask import Ask
from engine.matcher.cost_policy import DEFAULT_POLICY, CostPolicy, CostWeights
from engine.matcher.decision import SEARCH_RADII_M, Ranking, are_surely_best, ranking_of
from engine.matcher.finishing import Soon
from engine.matcher.frame import Apart, Candidates, Frame, Ready, SlotArray, build_frame, part_of
from engine.matcher.kernels import IntArray
from engine.matcher.live_frame import LiveFrame, LiveFrames, Moment
from engine.matcher.shortlist import NOBODY_APART, InFrame, Shortlist, shortlist_of, shortlists_of
from engine.matcher.worker_table import WorkerStatus, WorkerTable

S_PER_NS: Final = 1e-9
NOBODY: Final = np.zeros(0, np.int32)
MIRROR_REACH: Final = 1.002
"""A mirror is asked this much further: it measures on the sphere, the ranking on a plane around the pin."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What is asked for: the cheapest within `radius_m` for a booking, at least `count`; of `only`, if given."""

    ask: Ask
    org_id: OrgId
    not_to_ask: frozenset[PersonId]
    radius_m: int = SEARCH_RADIUS_M_MAX
    only: PersonId | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """The cheapest, and what they were chosen from: the candidates within `searched_m`, and some beyond."""

    shortlist: Shortlist
    candidates: Candidates | None
    """`None`: the whole organisation, in its frame."""
    searched_m: int

    @property
    def ranking(self) -> Ranking:
        """Their ranking by the straight line."""
        return ranking_of(self.shortlist)


RANK_SECONDS = Histogram(
    "clenzy_dispatch_rank_seconds",
    "Frame and kernel of one search step, for all bookings that took it together.",
    buckets=(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01),
)


class CandidateSearch:
    """One round's view of who is where: a cell is read once, however many bookings of the round ask for it.

    `frames` answers instead of everything where it is given, else `mirror` instead of the cells; `WorkerTable.describe`
    has told it of the workers.
    """

    def __init__(
        self,
        cells: CellIndex,
        table: WorkerTable,
        *,
        clock: Clock,
        fix_clock: Clock,
        policy: CostPolicy = DEFAULT_POLICY,
        mirror: Mirror | None = None,
        frames: LiveFrames | None = None,
    ) -> None:
        self._frames = frames
        self._mirror = mirror
        self._cells = cells
        self._table = table
        self._clock = clock
        self._fix_clock = fix_clock
        self.policy = policy
        self._members: dict[int, list[int]] = {}
        self._soon: dict[tuple[OrgId, CostWeights], Frame] = {}

    async def find(self, sought: Sequence[Sought]) -> list[Found]:
        """Return the cheapest workers for each of these bookings, none of which knows of the others.

        By the straight line the first `count` of them are the cheapest of all; those after them are the cheapest of
        the part that had to be looked at.

        Raises:
            RedisError: Redis did not answer.
        """
        found: dict[int, Found] = {}
        kept: dict[tuple[OrgId, CostWeights], list[int]] = {}
        for at, each in enumerate(sought):
            if self._frames is None or not self._frames.reach(each.ask, self._named(each)):
                found[at] = await self._look_outwards(each)
            elif each.only is not None:
                (found[at],) = self._find_in(self._frames, [each])
            else:
                kept.setdefault((each.org_id, self._weights_of(each)), []).append(at)
        for several in kept.values():
            assert self._frames is not None, "only what they reach was kept for them"
            found |= zip(several, self._find_in(self._frames, [sought[at] for at in several]), strict=True)
        return [found[at] for at in range(len(sought))]

    async def soon_free(self, sought: Sequence[Sought], soon: Soon) -> list[Shortlist]:
        """Return the cheapest of those who are about to finish, as if they were free where they work now.

        Raises:
            RedisError: Redis did not answer.
        """
        found: dict[int, Shortlist] = {}
        alike: dict[tuple[OrgId, CostWeights], list[int]] = {}
        for at, each in enumerate(sought):
            alike.setdefault((each.org_id, self._weights_of(each)), []).append(at)
        for (org_id, weights), several in alike.items():
            frame = self._soon.get((org_id, weights))
            if frame is None:
                frame = await self._soon_frame(soon, sought[several[0]].ask, org_id=org_id, weights=weights)
                self._soon[org_id, weights] = frame
            wanted = [InFrame(sought[at].ask, self._apart(frame, sought[at])) for at in several]
            found |= zip(several, shortlists_of(frame, wanted, weights=weights), strict=True)
        return [found[at] for at in range(len(sought))]

    def _weights_of(self, sought: Sought) -> CostWeights:
        return self.policy.weights_for(sought.org_id, sought.ask.wants.service_id)

    def _named(self, sought: Sought) -> Sequence[int]:
        return () if sought.only is None else self._table.slots_of([sought.only])

    def _find_in(self, frames: LiveFrames, alike: Sequence[Sought]) -> list[Found]:
        """Look in the kept frame for bookings of one organisation and weights, or for one that names its worker."""
        started_ns = self._clock.steady_ns()
        org_id, weights, named = alike[0].org_id, self._weights_of(alike[0]), self._named(alike[0])
        live = frames.of(org_id, weights)
        now_ms = self._clock.now_ms()
        frame = live.at(Moment(now_ms, self._fix_clock.now_ms()))
        if alike[0].only is None:
            wanted = [InFrame(each.ask, self._apart(frame, each, live), each.radius_m) for each in alike]
        else:
            frame = part_of(frame, live.rows_of(named))
            wanted = [InFrame(each.ask, self._apart(frame, each), each.radius_m) for each in alike]
        shortlists = shortlists_of(frame, wanted, weights=weights, now_ms=now_ms)
        RANK_SECONDS.observe((self._clock.steady_ns() - started_ns) * S_PER_NS)
        return [Found(each, None, near.radius_m) for each, near in zip(shortlists, alike, strict=True)]

    def _apart(self, frame: Frame, sought: Sought, live: LiveFrame | None = None) -> Apart:
        """Return the rows of `frame` that are special to this booking; of a kept frame `live` knows them at once."""
        wants = sought.ask.wants
        if not (sought.not_to_ask or wants.blocked or wants.preferred):
            return NOBODY_APART

        def rows(who: frozenset[PersonId]) -> IntArray:
            if not who:
                return NOBODY
            slots = self._table.slots_of(who)
            return live.rows_of(slots) if live is not None else _rows_in(frame.slots, slots)

        return Apart(asked=rows(sought.not_to_ask), blocked=rows(wants.blocked), preferred=rows(wants.preferred))

    async def _look_outwards(self, sought: Sought) -> Found:
        ask, org_id, radius_m = sought.ask, sought.org_id, sought.radius_m
        if sought.only is not None:
            slots = self._table.of_org(np.array(self._named(sought), np.int64), org_id)
            return await self._rank(slots, sought, searched_m=radius_m)
        slots = np.zeros(0, np.int64)
        for step_m in (each for each in SEARCH_RADII_M if each < radius_m):
            slots = await self._widen(slots, ask, org_id=org_id, radius_m=step_m)
            found = await self._rank(slots, sought, searched_m=step_m)
            is_done = are_surely_best(found.ranking, count=sought.count, searched_m=step_m)
            if is_done or len(slots) >= CANDIDATES_MAX:
                return found
        slots = await self._widen(slots, ask, org_id=org_id, radius_m=radius_m)
        return await self._rank(slots, sought, searched_m=radius_m)

    async def _soon_frame(self, soon: Soon, ask: Ask, *, org_id: OrgId, weights: CostWeights) -> Frame:
        slots = self._table.of_org(soon.slots, org_id)
        at = np.searchsorted(soon.slots, slots)
        records = await self._cells.records(slots) if len(slots) else np.zeros(0, RECORD)
        candidates = self._candidates(slots, records)
        there = replace(
            candidates,
            lat_deg=soon.lat_deg[at],
            lng_deg=soon.lng_deg[at],
            mask=candidates.mask | np.int32(Ready.FREE),
        )
        return build_frame(there, origin_lat_deg=ask.lat_deg, origin_lng_deg=ask.lng_deg, weights=weights)

    async def _widen(self, slots: SlotArray, ask: Ask, *, org_id: OrgId, radius_m: int) -> SlotArray:
        """Return `slots` with those of the cells up to `radius_m`, ascending; at the limit the new ones give way."""
        near = await self._near(ask, org_id=org_id, radius_m=radius_m)
        new = np.setdiff1d(self._table.of_org(near, org_id), slots, assume_unique=True)
        room = CANDIDATES_MAX - len(slots)
        if len(new) > room:
            could_go = self._table.could_go(new, ask.skill_bit)
            new = np.concatenate([new[could_go], new[~could_go]])[:room]
        return np.union1d(slots, new)

    async def _near(self, ask: Ask, *, org_id: OrgId, radius_m: int) -> SlotArray:
        """Return everybody within `radius_m` and some beyond; of a crowd at least the nearest who could go."""
        if self._mirror is not None:
            return self._mirrored(self._mirror, ask, org_id=org_id, radius_m=radius_m)
        cells = disk(cell_of(ask.lat_deg, ask.lng_deg), rings_for(radius_m))
        await self._read(cells)
        return np.array([slot for cell in cells for slot in self._members[cell]], np.int64)

    def _mirrored(self, mirror: Mirror, ask: Ask, *, org_id: OrgId, radius_m: int) -> SlotArray:
        group = self._table.org_code(org_id)
        ready = Wanted(
            skills=1 << ask.skill_bit,
            statuses=1 << WorkerStatus.FREE,
            since_ms=self._fix_clock.now_ms() - WORKER_SILENT_MS,
            group=group,
        )
        reach_m = radius_m * MIRROR_REACH
        everybody = mirror.within(ask.lat_deg, ask.lng_deg, radius_m=reach_m, wanted=Wanted(group=group))
        if len(everybody) < CANDIDATES_MAX:
            return everybody
        could_go = mirror.within(ask.lat_deg, ask.lng_deg, radius_m=reach_m, wanted=ready)
        return np.concatenate([could_go, everybody])

    async def _read_records(self, slots: SlotArray) -> RecordArray:
        if self._mirror is not None:
            return self._mirror.places(slots)
        return await self._cells.records(slots)

    async def _read(self, cells: Sequence[int]) -> None:
        unread = [cell for cell in cells if cell not in self._members]
        if unread:
            self._members |= await self._cells.cell_members(unread)

    async def _rank(self, slots: SlotArray, sought: Sought, *, searched_m: int) -> Found:
        # Who cannot go anyway is ruled out by the table alone; only the others' positions are read.
        records = np.zeros(len(slots), RECORD)
        could_go = np.flatnonzero(self._table.could_go(slots, sought.ask.skill_bit))
        records[could_go] = await self._read_records(slots[could_go])
        started_ns = self._clock.steady_ns()
        ask, weights = sought.ask, self._weights_of(sought)
        candidates = self._candidates(slots, records)
        frame = build_frame(candidates, origin_lat_deg=ask.lat_deg, origin_lng_deg=ask.lng_deg, weights=weights)
        apart = self._apart(frame, sought)
        shortlist = shortlist_of(frame, ask, apart, weights=weights, radius_m=sought.radius_m)
        RANK_SECONDS.observe((self._clock.steady_ns() - started_ns) * S_PER_NS)
        return Found(shortlist, candidates, searched_m)

    def _candidates(self, slots: SlotArray, records: RecordArray) -> Candidates:
        return self._table.candidates(
            slots,
            records,
            not_to_ask=frozenset(),
            now_ms=self._clock.now_ms(),
            fix_now_ms=self._fix_clock.now_ms(),
            silent_ms=WORKER_SILENT_MS,
        )


def _rows_in(slots: SlotArray, wanted: Sequence[int]) -> IntArray:
    """Return where in `slots`, ascending, these stand; who is not there is left out."""
    return np.flatnonzero(np.isin(slots, wanted)).astype(np.int32)

"""What the matcher knows of each worker besides the place: arrays indexed by slot. Pure: rows in, columns out.

Postgres is the truth; this table is its shadow for scoring, milliseconds old. Where it errs, the statements that save
an offer look again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.ids import OrgId, PersonId, WorkerSlot
from engine.core.units import DEG_E7, MS_PER_S
from engine.geo.fixes import UNKNOWN_BATTERY, RecordArray
from engine.geo.mirror import Mirror
from engine.matcher.frame import (
    FULL_BATTERY_PCT,
    MS_PER_MIN,
    SKILL_BITS,
    UNBLOCKED,
    Candidates,
    Ready,
    SlotArray,
    WorkFacts,
)
from engine.matcher.pressure import Staff
from engine.matcher.region_cover import RegionCover

BoolArray: TypeAlias = NDArray[np.bool_]

SLOTS_AT_START: Final = 1_024

COLUMNS: Final = np.dtype(
    [
        ("org", "i4"),
        ("skills", "i4"),
        ("status", "u1"),
        ("is_held", "?"),
        ("rating", "f8"),
        ("experience", "f8"),
        ("idle_since_ms", "i8"),
        ("kit", "i4"),
        ("levels", "f4", (SKILL_BITS,)),
        ("shift_from_ms", "i8"),
        ("shift_until_ms", "i8"),
        ("work_until_ms", "i8"),
        ("jobs_today", "f4"),
        ("earned_minor", "f8"),
        ("acceptance_gap", "f4"),
        ("battery_pct", "u1"),
    ]
)
"""A slot's columns. `org` is a small number given by the table, 0 where no worker is known; `shift_until_ms` is 0
where no shift is planned, `work_until_ms` where no rule limits working time."""


class WorkerStatus(IntEnum):
    """A worker's byte in `geo:status`."""

    OFF_DUTY = 0
    FREE = 1
    OFFERED = 2
    BUSY = 3


@dataclass(frozen=True, slots=True)
class Matching:
    """What a worker has to show, carries and may work; the defaults are neutral in every rule and term."""

    kit: int = 0
    """Bits of `kit_item`, certificates only while they are valid."""
    levels: tuple[tuple[int, float], ...] = ()
    """Skill bits with their levels in [0, 1]; 0 where none is known."""
    shift_from_ms: int = 0
    shift_until_ms: int = 0
    """The planned shift that ends next; 0: none is planned, any time will do."""
    work_until_ms: int = 0
    """When a working-time limit will be reached; 0: there is none."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What a worker's answers and jobs add up to."""

    jobs_today: int = 0
    earned_minor: int = 0
    acceptance_gap: float = 0.0


NO_MATCHING: Final = Matching()


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as Postgres has it. `skills` is a bit mask, `idle_since_ms` is 0 for who works or is off duty."""

    slot: WorkerSlot
    worker_id: PersonId
    org_id: OrgId
    skills: int
    status: WorkerStatus
    is_held: bool
    rating: float
    experience: float
    idle_since_ms: int
    matching: Matching = NO_MATCHING


class WorkerTable:
    """Columns by slot, grown on demand. Not thread-safe: it belongs to one event loop."""

    def __init__(self) -> None:
        self._worker_ids: dict[int, PersonId] = {}
        self._slot_of: dict[PersonId, int] = {}
        self._changed: set[int] = set()
        self._org_codes: dict[OrgId, int] = {}
        self._reserved: set[int] = set()
        self._columns = np.zeros(SLOTS_AT_START, COLUMNS)
        self._slots = 0

    def __len__(self) -> int:
        """Return the number of slots, up to the highest known."""
        return self._slots

    def apply(self, rows: Iterable[WorkerRow]) -> None:
        """Take over what Postgres says; a worker who is being asked right now stays taken."""
        for row in rows:
            self._grow_to(row.slot + 1)
            self._worker_ids[row.slot] = row.worker_id
            self._slot_of[row.worker_id] = row.slot
            self._changed.add(row.slot)
            org = self._org_codes.setdefault(row.org_id, len(self._org_codes) + 1)
            is_taken = row.slot in self._reserved and row.status is WorkerStatus.FREE
            status = WorkerStatus.OFFERED if is_taken else row.status
            columns = self._columns[row.slot : row.slot + 1]
            columns["org"], columns["skills"], columns["status"] = org, row.skills, status
            columns["is_held"], columns["rating"], columns["experience"] = row.is_held, row.rating, row.experience
            columns["idle_since_ms"] = row.idle_since_ms
            _write_matching(columns, row.matching)

    def apply_tallies(self, tallies: Mapping[PersonId, Tally]) -> None:
        """Take over what answers and jobs add up to; who is not named has none."""
        for name in ("jobs_today", "earned_minor", "acceptance_gap"):
            self._columns[name] = 0
        for worker_id, tally in tallies.items():
            slot = self._slot_of.get(worker_id)
            if slot is not None:
                columns = self._columns[slot : slot + 1]
                columns["jobs_today"], columns["earned_minor"] = tally.jobs_today, tally.earned_minor
                columns["acceptance_gap"] = tally.acceptance_gap
        self._changed.update(self._worker_ids)

    def heard(self, slots: SlotArray, battery_pct: NDArray[np.uint8]) -> None:
        """Take over what fixes said of batteries; nobody counts as changed by it."""
        known = slots < self._slots
        self._columns["battery_pct"][slots[known]] = battery_pct[known]

    def take_changed(self) -> set[int]:
        """Return the slots that changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def slots_of(self, worker_ids: Iterable[PersonId]) -> list[int]:
        """Return the slots of those of these workers who are known."""
        return [self._slot_of[each] for each in worker_ids if each in self._slot_of]

    def worker_id(self, slot: int) -> PersonId:
        """Return the worker of a slot that `candidates` has named."""
        return self._worker_ids[slot]

    def of_org(self, slots: SlotArray, org_id: OrgId) -> SlotArray:
        """Return those of `slots`, ascending and distinct, that belong to workers of this organisation."""
        known = np.unique(slots[slots < self._slots])
        of_org: SlotArray = known[self._columns["org"][known] == self.org_code(org_id)]
        return of_org

    def org_code(self, org_id: OrgId) -> int:
        """Return the number of an organisation in this table; -1 for one that no worker belongs to."""
        return self._org_codes.get(org_id, -1)

    def describe(self, mirror: Mirror, slots: SlotArray) -> None:
        """Tell a mirror of workers; who is held is described as busy, for a held worker is no candidate."""
        rows = self._columns[slots]
        mirror.describe(
            slots,
            skills=rows["skills"],
            statuses=np.where(rows["is_held"], np.uint8(WorkerStatus.BUSY), rows["status"]),
            groups=rows["org"],
        )

    def could_go(self, slots: SlotArray, skill_bit: int) -> BoolArray:
        """Return which of `slots` are free, not held and skilled, wherever they are."""
        rows = self._columns[slots]
        is_skilled = (rows["skills"] >> skill_bit) & 1 == 1
        could_go: BoolArray = (rows["status"] == WorkerStatus.FREE) & ~rows["is_held"] & is_skilled
        return could_go

    def candidates(
        self,
        slots: SlotArray,
        records: RecordArray,
        *,
        not_to_ask: frozenset[PersonId],
        now_ms: int,
        fix_now_ms: int,
        silent_ms: int,
    ) -> Candidates:
        """Return the columns of `slots` (ascending, distinct) with their newest fixes; an absent fix is all zero.

        `fix_now_ms` is the time that fixes are judged by, `now_ms` that of everything else.
        """
        rows = self._columns[slots]
        age_ms = fix_now_ms - records["ts_ms"]
        asked = np.fromiter((self._worker_ids[slot] in not_to_ask for slot in slots.tolist()), np.bool_, len(slots))
        mask = rows["skills"].copy()
        for bit, holds in (
            (Ready.ON_DUTY, rows["status"] != WorkerStatus.OFF_DUTY),
            (Ready.FREE, rows["status"] == WorkerStatus.FREE),
            (Ready.UNHELD, ~rows["is_held"]),
            (Ready.UNASKED, ~asked),
            (Ready.HEARD, (records["cell"] != 0) & (age_ms <= silent_ms)),
            (Ready.IN_SHIFT, (rows["shift_until_ms"] == 0) | (rows["shift_from_ms"] <= now_ms)),
            (Ready.RESTED, (rows["work_until_ms"] == 0) | (now_ms < rows["work_until_ms"])),
        ):
            mask[holds] |= int(bit)
        idle_ms = np.where(rows["idle_since_ms"] > 0, now_ms - rows["idle_since_ms"], 0)
        return Candidates(
            slots=slots,
            mask=mask,
            lat_deg=records["lat_e7"] / DEG_E7,
            lng_deg=records["lng_e7"] / DEG_E7,
            rating=rows["rating"],
            experience=rows["experience"],
            idle_s=np.maximum(idle_ms, 0) / MS_PER_S,
            fix_age_s=np.maximum(age_ms, 0) / MS_PER_S,
            facts=_work_facts(rows, now_ms),
        )

    def staff_of(self, org_id: OrgId, cover: RegionCover) -> Staff:
        """Return how many workers of an organisation, of those covered, are on duty and how many could go now."""
        slots = cover.of(np.flatnonzero(self._columns["org"] == self.org_code(org_id)))
        status = self._columns["status"][slots]
        free = (status == WorkerStatus.FREE) & ~self._columns["is_held"][slots]
        return Staff(int(np.count_nonzero(status != WorkerStatus.OFF_DUTY)), int(np.count_nonzero(free)))

    def is_free(self, slot: int) -> bool:
        """Return whether a worker can be asked now, as far as is known."""
        return bool(self._columns["status"][slot] == WorkerStatus.FREE)

    def reserve(self, slot: int) -> None:
        """Take a free worker for the offer that is being saved."""
        assert self._columns["status"][slot] == WorkerStatus.FREE
        self._reserved.add(slot)
        self._changed.add(slot)
        self._columns["status"][slot] = WorkerStatus.OFFERED

    def settle(self, slot: int) -> None:
        """End a reservation; until Postgres is read again the worker counts as taken, offer or no offer."""
        self._reserved.discard(slot)

    def status_bytes(self) -> bytes:
        """Return `geo:status`."""
        return bytes(self._columns["status"][: self._slots].tobytes())

    def counts(self) -> dict[WorkerStatus, int]:
        """Return how many workers have each status."""
        known = self._columns["status"][self._columns["org"] != 0]
        counts = np.bincount(known, minlength=len(WorkerStatus)).tolist()
        return dict(zip(WorkerStatus, counts, strict=True))

    def _grow_to(self, slots: int) -> None:
        self._slots = max(self._slots, slots)
        have = len(self._columns)
        if slots > have:
            more = np.zeros(max(slots, 2 * have) - have, COLUMNS)
            self._columns = np.concatenate([self._columns, more])


def _write_matching(columns: NDArray[np.void], matching: Matching) -> None:
    columns["kit"] = matching.kit
    columns["levels"] = 0
    for bit, level in matching.levels:
        columns["levels"][:, bit] = level
    columns["shift_from_ms"], columns["shift_until_ms"] = matching.shift_from_ms, matching.shift_until_ms
    columns["work_until_ms"] = matching.work_until_ms


def _work_facts(rows: NDArray[np.void], now_ms: int) -> WorkFacts:
    battery_pct = rows["battery_pct"].astype(np.float64)
    # 0 is what a slot holds whose phone has not told yet; one that tells 0 is off.
    is_told = (rows["battery_pct"] != 0) & (rows["battery_pct"] != UNKNOWN_BATTERY)
    return WorkFacts(
        kit=rows["kit"] | np.int32(UNBLOCKED),
        jobs_today=rows["jobs_today"].astype(np.float64),
        earned_minor=rows["earned_minor"],
        acceptance_gap=rows["acceptance_gap"].astype(np.float64),
        battery_pct=np.where(is_told, battery_pct, FULL_BATTERY_PCT),
        shift_left_min=_left_min(rows["shift_until_ms"], now_ms),
        work_left_min=_left_min(rows["work_until_ms"], now_ms),
        levels=np.ascontiguousarray(rows["levels"].T),
    )


def _left_min(until_ms: NDArray[np.int64], now_ms: int) -> NDArray[np.float64]:
    """Return the minutes until then, infinity where there is no end."""
    left_min: NDArray[np.float64] = np.where(until_ms == 0, np.inf, (until_ms - now_ms) / MS_PER_MIN)
    return left_min

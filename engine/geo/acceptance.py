"""Which fixes count: one sequential pass over a flush, in arrival order. Pure: knows no store and no clock.

Each fix is taken or refused for exactly one reason, and what it changes is changed at once: the next fix of the same
flush is judged against it. The plain twin that the tests hold this kernel to stands in
`tests/property/acceptance_reference.py`; why there is no waiting for fixes that come out of order, in
`docs/decisions/0011-late-fixes.md`.
"""

import math
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config import limits
from engine.core.jit import kernel
from engine.core.vocabulary import FixOutcome, FixRefusal
from engine.geo.fixes import FIX, RECORD, UNKNOWN_U16, FixArray, RecordArray, SlotArray

ACCEPTED: Final = 0
STATIC: Final = 1
LATE: Final = 2
OFF_DUTY: Final = 3
INVALID: Final = 4
ZERO: Final = 5
FUTURE: Final = 6
PAST: Final = 7
DUPLICATE: Final = 8
INACCURATE: Final = 9
TOO_SOON: Final = 10
JUMP: Final = 11
NEAR: Final = 12

TAKEN: Final[dict[int, FixOutcome]] = {
    ACCEPTED: FixOutcome.ACCEPTED,
    STATIC: FixOutcome.STATIC,
    LATE: FixOutcome.LATE,
}
"""Outcomes of fixes that go to the trail; every other number is a refusal."""

REFUSALS: Final[dict[int, FixRefusal]] = {
    OFF_DUTY: FixRefusal.OFF_DUTY,
    INVALID: FixRefusal.INVALID,
    ZERO: FixRefusal.ZERO,
    FUTURE: FixRefusal.FUTURE,
    PAST: FixRefusal.PAST,
    DUPLICATE: FixRefusal.DUPLICATE,
    INACCURATE: FixRefusal.INACCURATE,
    TOO_SOON: FixRefusal.TOO_SOON,
    JUMP: FixRefusal.JUMP,
    NEAR: FixRefusal.NEAR,
}
"""What the kernel's small numbers mean, in the order of the checks: the first rule broken is the reason."""

OUTCOMES: Final = len(TAKEN) + len(REFUSALS)

_HEARD: Final = (ACCEPTED, STATIC, NEAR)
"""Outcomes after which the worker has been heard of, at that place or the one before."""

NEVER_MS: Final = 2**63 - 1
"""`counts_from_ms` of a slot whose fixes do not count at all."""
RECENT_FIXES: Final = limits.RECENT_FIXES

SUSPECT: Final = np.dtype([("ts_ms", "<i8"), ("lat_e7", "<i4"), ("lng_e7", "<i4"), ("count", "<i4")])
"""The newest of a slot's refused jumps that agree with one another, and how many they are."""

Row: TypeAlias = Any
"""One element of a structured array, which the compiler knows by its fields."""
SuspectArray: TypeAlias = NDArray[np.void]
OutcomeArray: TypeAlias = NDArray[np.uint8]
FlagArray: TypeAlias = NDArray[np.bool_]
TimeArray: TypeAlias = NDArray[np.int64]

UNKNOWN_WAY: Final = -1.0
"""In the place of squared metres: nobody knows where the worker was."""

_LAT_E7_MAX: Final = 900_000_000
_LNG_E7_MAX: Final = 1_800_000_000
_M_PER_E7: Final = 0.011131949079327358
"""Metres of 1e-7 degree of latitude, as `engine.core.units.METRES_PER_DEG`."""
_RAD_PER_E7: Final = math.pi / 1.8e9
_PHONE_FLAGS: Final = 0x7F
"""Bits of `flags` that are the phone's; the highest is ours (`FixFlag.OFF_DUTY`)."""


class AcceptanceRules(NamedTuple):
    """What an installation may choose, in the kernel's units. 0 turns `static`, `near` and `too_soon` off."""

    future_ms: int
    age_ms: int
    accuracy_dm: int
    period_ms: int
    speed_m_per_ms: float
    slack_m: float
    jump_reset: int
    reorder_ms: int
    static_m: float
    static_cm_s: int
    distance_m: float


RULES: Final = AcceptanceRules(
    future_ms=limits.FIX_FUTURE_MS_MAX,
    age_ms=limits.FIX_AGE_MS_MAX,
    accuracy_dm=limits.FIX_ACCURACY_M_MAX * 10,
    period_ms=limits.FIX_PERIOD_MS_MIN,
    speed_m_per_ms=limits.FIX_SPEED_MPS_MAX / 1000,
    slack_m=float(limits.FIX_JUMP_SLACK_M),
    jump_reset=limits.JUMP_RESET_FIXES,
    reorder_ms=limits.FIX_REORDER_MS,
    static_m=float(limits.FIX_STATIC_RADIUS_M),
    static_cm_s=limits.FIX_STATIC_CM_S_MAX,
    distance_m=float(limits.FIX_DISTANCE_M_MIN),
)
"""What `config.limits` says: the rules of an installation that chose nothing else."""


class Columns(NamedTuple):
    """The table that a pass reads and writes; one row a slot."""

    last: RecordArray
    """The present: place and time of the newest accepted fix. `cell` is not the kernel's."""
    suspects: SuspectArray
    counts_from_ms: TimeArray
    """Fixes of before are off duty's; `NEVER_MS` where none counts."""
    marks: NDArray[np.uint8]
    """Bits of our own that a slot's records carry."""
    recent_ms: TimeArray
    """Times of the newest `RECENT_FIXES` fixes that went to the trail: (slots, RECENT_FIXES), a ring."""
    recent_at: NDArray[np.uint8]
    moved_ms: TimeArray
    """Time of the fix that the present place is from."""
    dirty: FlagArray
    """Whether Redis has yet to hear of the slot's present."""


@kernel
def squared_m(lat_e7: int, lng_e7: int, from_lat_e7: int, from_lng_e7: int) -> float:
    """Return the squared metres between two places on a flat earth at the first one's latitude.

    Exact to 0.1 % for steps of some kilometres, and a step for which it is not is refused either way. The shorter way
    round the 180th meridian counts.
    """
    delta_lng_e7 = lng_e7 - from_lng_e7
    if delta_lng_e7 > _LNG_E7_MAX:
        delta_lng_e7 -= 2 * _LNG_E7_MAX
    elif delta_lng_e7 < -_LNG_E7_MAX:
        delta_lng_e7 += 2 * _LNG_E7_MAX
    north_m = (lat_e7 - from_lat_e7) * _M_PER_E7
    east_m = delta_lng_e7 * _M_PER_E7 * math.cos(lat_e7 * _RAD_PER_E7)
    return north_m * north_m + east_m * east_m


@kernel
def within_reach(squared: float, step_ms: int, rules: AcceptanceRules) -> bool:
    """Return whether a worker can have come so far in that time, in either direction of time."""
    reach_m = abs(step_ms) * rules.speed_m_per_ms + rules.slack_m
    return squared <= reach_m * reach_m


@kernel
def judge_alone(fix: Row, now_ms: int, counts_from_ms: int, rules: AcceptanceRules) -> int:
    """Return the first rule that a fix breaks by itself, whatever came before it, or `ACCEPTED`."""
    lat_e7 = fix.lat_e7
    lng_e7 = fix.lng_e7
    ts_ms = fix.ts_ms
    # Compared, not `abs`: the absolute value of the lowest 32-bit integer is itself, and negative.
    is_on_earth = -_LAT_E7_MAX <= lat_e7 <= _LAT_E7_MAX and -_LNG_E7_MAX <= lng_e7 <= _LNG_E7_MAX
    reason = ACCEPTED
    if ts_ms <= 0 or not is_on_earth:
        reason = INVALID
    elif lat_e7 == 0 and lng_e7 == 0:
        reason = ZERO
    elif ts_ms > now_ms + rules.future_ms:
        reason = FUTURE
    elif ts_ms < now_ms - rules.age_ms:
        reason = PAST
    elif ts_ms < counts_from_ms:
        reason = OFF_DUTY
    return reason


@kernel
def squared_way_m(fix: Row, last: Row) -> float:
    """Return the squared metres from the present place, or `UNKNOWN_WAY`."""
    if last.ts_ms == 0 or (last.lat_e7 == 0 and last.lng_e7 == 0):
        return UNKNOWN_WAY
    return squared_m(fix.lat_e7, fix.lng_e7, last.lat_e7, last.lng_e7)


@kernel
def judge_late(fix: Row, last: Row, recent_ms: TimeArray, rules: AcceptanceRules) -> int:
    """Return what becomes of a sound fix that is older than the present: it never moves it."""
    ts_ms = fix.ts_ms
    for each_ms in recent_ms:
        if each_ms == ts_ms:
            return DUPLICATE
    if fix.accuracy_dm != UNKNOWN_U16 and fix.accuracy_dm > rules.accuracy_dm:
        return INACCURATE
    return LATE if within_reach(squared_way_m(fix, last), ts_ms - last.ts_ms, rules) else JUMP


@kernel
def judge_next(fix: Row, last: Row, squared: float, rules: AcceptanceRules) -> int:
    """Return what becomes of a sound fix that is not older than the present."""
    step_ms = fix.ts_ms - last.ts_ms
    is_accuracy_known = fix.accuracy_dm != UNKNOWN_U16
    outcome = ACCEPTED
    if step_ms == 0:
        outcome = DUPLICATE
    elif is_accuracy_known and fix.accuracy_dm > rules.accuracy_dm:
        outcome = INACCURATE
    elif step_ms < rules.period_ms:
        outcome = TOO_SOON
    elif squared == UNKNOWN_WAY:
        outcome = ACCEPTED
    elif not within_reach(squared, step_ms, rules):
        outcome = JUMP
    elif squared < rules.distance_m * rules.distance_m:
        outcome = NEAR
    elif stands(fix, squared, rules):
        outcome = STATIC
    return outcome


@kernel
def stands(fix: Row, squared: float, rules: AcceptanceRules) -> bool:
    """Return whether the phone says that it is not moving, and is no further away than it may err."""
    if rules.static_m == 0 or fix.speed_cm_s > rules.static_cm_s or fix.accuracy_dm == UNKNOWN_U16:
        return False
    radius_m = min(fix.accuracy_dm / 10.0, rules.static_m)
    is_near: bool = squared <= radius_m * radius_m
    return is_near


@kernel
def believed(fix: Row, suspect: Row, rules: AcceptanceRules) -> bool:
    """Take note of a refused jump; return whether enough of them agree that the worker really is there.

    One bad fix that was accepted must not lock a worker out. Refused jumps that are reachable from one another are
    counted; after `rules.jump_reset` of them in a row the next one that agrees counts. One that comes out of order
    within `rules.reorder_ms`, and agrees, changes nothing.
    """
    step_ms = fix.ts_ms - suspect.ts_ms
    agrees = suspect.count > 0 and within_reach(
        squared_m(fix.lat_e7, fix.lng_e7, suspect.lat_e7, suspect.lng_e7),
        step_ms,
        rules,
    )
    if agrees and step_ms <= 0 and -step_ms <= rules.reorder_ms:
        return False
    agrees = agrees and step_ms > 0
    if agrees and suspect.count >= rules.jump_reset:
        return True
    suspect.count = suspect.count + 1 if agrees else 1
    suspect.ts_ms = fix.ts_ms
    suspect.lat_e7 = fix.lat_e7
    suspect.lng_e7 = fix.lng_e7
    return False


@kernel
def judge(fix: Row, last: Row, suspect: Row, counts_from_ms: int, now_ms: int, rules: AcceptanceRules) -> int:
    """Return the outcome of one fix, `LATE` for every sound one that is older than the present.

    Takes rows: handing on the columns would cost five times the rest.
    """
    outcome = judge_alone(fix, now_ms, counts_from_ms, rules)
    if outcome != ACCEPTED:
        return outcome
    if fix.ts_ms < last.ts_ms:
        return LATE
    outcome = judge_next(fix, last, squared_way_m(fix, last), rules)
    if outcome == JUMP and believed(fix, suspect, rules):
        return ACCEPTED
    return outcome


@kernel
def refresh(record: Row, fix: Row, mark: int) -> None:
    """Let the worker have been heard of now, where they were: what a fix says besides its place."""
    record.ts_ms = fix.ts_ms
    record.speed_cm_s = fix.speed_cm_s
    record.battery_pct = fix.battery_pct
    record.flags = (fix.flags & _PHONE_FLAGS) | mark


@kernel
def move(record: Row, fix: Row) -> None:
    """Let the worker be where the fix says."""
    record.lat_e7 = fix.lat_e7
    record.lng_e7 = fix.lng_e7
    record.accuracy_dm = fix.accuracy_dm
    record.heading_cdeg = fix.heading_cdeg


@kernel
def accept(
    fixes: FixArray, slots: SlotArray, columns: Columns, now_ms: int, rules: AcceptanceRules, outcomes: OutcomeArray
) -> None:
    """Judge `fixes` in order; write each one's outcome and what it changes in `columns`.

    Shapes: `fixes`, `slots`, `outcomes` (n).

    A record at 0/0 is a worker who went off duty: its time still makes older fixes late, its place is unknown.
    """
    for i in range(len(slots)):
        slot = slots[i]
        if columns.counts_from_ms[slot] == NEVER_MS:
            outcomes[i] = OFF_DUTY
            continue
        fix, record, suspect = fixes[i], columns.last[slot], columns.suspects[slot]
        outcome = judge(fix, record, suspect, columns.counts_from_ms[slot], now_ms, rules)
        if outcome == LATE:
            outcome = judge_late(fix, record, columns.recent_ms[slot], rules)
        outcomes[i] = outcome
        if outcome <= LATE:
            columns.recent_ms[slot, columns.recent_at[slot]] = fix.ts_ms
            columns.recent_at[slot] = (columns.recent_at[slot] + 1) % RECENT_FIXES
        if outcome in _HEARD:
            suspect.count = 0
            columns.dirty[slot] = True
            refresh(record, fix, columns.marks[slot])
        if outcome == ACCEPTED:
            move(record, fix)
            columns.moved_ms[slot] = fix.ts_ms


def warm_up() -> None:
    """Compile the kernel, or read it from its cache: once at process start."""
    columns = Columns(
        np.zeros(1, RECORD),
        np.zeros(1, SUSPECT),
        np.zeros(1, np.int64),
        np.zeros(1, np.uint8),
        np.zeros((1, RECENT_FIXES), np.int64),
        np.zeros(1, np.uint8),
        np.zeros(1, np.int64),
        np.zeros(1, np.bool_),
    )
    fixes = np.frombuffer(bytes(FIX.itemsize), FIX)
    accept(fixes, np.zeros(1, np.int64), columns, 0, RULES, np.zeros(1, np.uint8))

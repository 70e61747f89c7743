"""Which fixes count: one sequential pass over a flush, in arrival order. Pure: knows no store and no clock.

Each fix is accepted or refused for exactly one reason. An accepted fix becomes the slot's last record at once, so the
next fix of the same flush is judged against it. The plain twin that the tests hold this kernel to stands in
`tests/property/acceptance_reference.py`.
"""

import math
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config import limits
from engine.core.jit import kernel
from engine.core.vocabulary import FixRefusal
from engine.geo.fixes import FIX, RECORD, UNKNOWN_U16, FixArray, RecordArray, SlotArray

ACCEPTED: Final = 0
OFF_DUTY: Final = 1
INVALID: Final = 2
FUTURE: Final = 3
STALE: Final = 4
INACCURATE: Final = 5
JUMP: Final = 6

REFUSALS: Final[dict[int, FixRefusal]] = {
    OFF_DUTY: FixRefusal.OFF_DUTY,
    INVALID: FixRefusal.INVALID,
    FUTURE: FixRefusal.FUTURE,
    STALE: FixRefusal.STALE,
    INACCURATE: FixRefusal.INACCURATE,
    JUMP: FixRefusal.JUMP,
}
"""What the kernel's small numbers mean. Their order is the order of the checks: the first rule broken is the reason."""

SUSPECT: Final = np.dtype([("ts_ms", "<i8"), ("lat_e7", "<i4"), ("lng_e7", "<i4"), ("count", "<i4")])
"""The newest of a slot's refused jumps that agree with one another, and how many they are."""

SuspectArray: TypeAlias = NDArray[np.void]
ReasonArray: TypeAlias = NDArray[np.uint8]
FlagArray: TypeAlias = NDArray[np.bool_]

_LAT_E7_MAX: Final = 900_000_000
_LNG_E7_MAX: Final = 1_800_000_000
_M_PER_E7: Final = 0.011131949079327358
"""Metres of 1e-7 degree of latitude, as `engine.core.units.METRES_PER_DEG`."""
_RAD_PER_E7: Final = math.pi / 1.8e9


class AcceptanceLimits(NamedTuple):
    """The rules of one pass, in the kernel's units."""

    future_ms: int
    age_ms: int
    accuracy_dm: int
    speed_m_per_ms: float
    slack_m: float
    jump_reset: int


LIMITS: Final = AcceptanceLimits(
    future_ms=limits.FIX_FUTURE_MS_MAX,
    age_ms=limits.FIX_AGE_MS_MAX,
    accuracy_dm=limits.FIX_ACCURACY_M_MAX * 10,
    speed_m_per_ms=limits.FIX_SPEED_MPS_MAX / 1000,
    slack_m=float(limits.FIX_JUMP_SLACK_M),
    jump_reset=limits.JUMP_RESET_FIXES,
)
"""What `config.limits` says."""


@kernel
def reachable(
    ts_ms: int, lat_e7: int, lng_e7: int, from_ts_ms: int, from_lat_e7: int, from_lng_e7: int, rules: AcceptanceLimits
) -> bool:
    """Return whether a worker can have come from one place to the other in that time.

    Flat-earth distance at the newer latitude: exact to 0.1 % for steps of some kilometres, and a step for which it is
    not is refused either way. The shorter way round the 180th meridian counts.
    """
    delta_lng_e7 = lng_e7 - from_lng_e7
    if delta_lng_e7 > _LNG_E7_MAX:
        delta_lng_e7 -= 2 * _LNG_E7_MAX
    elif delta_lng_e7 < -_LNG_E7_MAX:
        delta_lng_e7 += 2 * _LNG_E7_MAX
    north_m = (lat_e7 - from_lat_e7) * _M_PER_E7
    east_m = delta_lng_e7 * _M_PER_E7 * math.cos(lat_e7 * _RAD_PER_E7)
    reach_m = (ts_ms - from_ts_ms) * rules.speed_m_per_ms + rules.slack_m
    return north_m * north_m + east_m * east_m <= reach_m * reach_m


@kernel
def judge(fix: np.void, last: np.void, now_ms: int, rules: AcceptanceLimits) -> int:  # noqa: PLR0911 - one per rule
    """Return the first rule that a fix of a worker on duty breaks, or `ACCEPTED`."""
    lat_e7 = fix.lat_e7  # type: ignore[attr-defined]
    lng_e7 = fix.lng_e7  # type: ignore[attr-defined]
    ts_ms = fix.ts_ms  # type: ignore[attr-defined]
    # Compared, not `abs`: the absolute value of the lowest 32-bit integer is itself, and negative.
    is_on_earth = -_LAT_E7_MAX <= lat_e7 <= _LAT_E7_MAX and -_LNG_E7_MAX <= lng_e7 <= _LNG_E7_MAX
    if ts_ms <= 0 or not is_on_earth or (lat_e7 == 0 and lng_e7 == 0):
        return INVALID
    if ts_ms > now_ms + rules.future_ms:
        return FUTURE
    if ts_ms <= last.ts_ms or ts_ms < now_ms - rules.age_ms:  # type: ignore[attr-defined]
        return STALE
    if fix.accuracy_dm != UNKNOWN_U16 and fix.accuracy_dm > rules.accuracy_dm:  # type: ignore[attr-defined]
        return INACCURATE
    if last.ts_ms == 0 or (last.lat_e7 == 0 and last.lng_e7 == 0):  # type: ignore[attr-defined]
        return ACCEPTED
    if reachable(ts_ms, lat_e7, lng_e7, last.ts_ms, last.lat_e7, last.lng_e7, rules):  # type: ignore[attr-defined]
        return ACCEPTED
    return JUMP


@kernel
def accept(  # noqa: PLR0913, PLR0917 - a kernel takes the tables it reads one by one
    fixes: FixArray,
    slots: SlotArray,
    last: RecordArray,
    suspects: SuspectArray,
    on_duty: FlagArray,
    now_ms: int,
    rules: AcceptanceLimits,
    reasons: ReasonArray,
    dirty: FlagArray,
) -> None:
    """Judge `fixes` in order; write each one's reason, the slots' `last` records and which slots got a new one.

    Shapes: `fixes`, `slots`, `reasons` (n); `last`, `suspects`, `on_duty`, `dirty` (slots of the table).

    `last` keeps its `cell`: whoever writes cells does it afterwards, for the newest record of a slot only. A record
    at 0/0 is a worker who went off duty: its time still makes older fixes stale, its place is unknown.

    Jumps: one bad fix that was accepted must not lock a worker out. Refused jumps that are reachable from one another
    are counted; after `rules.jump_reset` of them in a row the next one that agrees is accepted.
    """
    for i in range(len(slots)):
        slot = slots[i]
        if not on_duty[slot]:
            reasons[i] = OFF_DUTY
            continue
        fix = fixes[i]
        record = last[slot]
        reason = judge(fix, record, now_ms, rules)
        suspect = suspects[slot]
        if reason == JUMP:
            agrees = (
                suspect.count > 0
                and fix.ts_ms > suspect.ts_ms
                and reachable(fix.ts_ms, fix.lat_e7, fix.lng_e7, suspect.ts_ms, suspect.lat_e7, suspect.lng_e7, rules)
            )
            if agrees and suspect.count >= rules.jump_reset:
                reason = ACCEPTED
            else:
                suspect.count = suspect.count + 1 if agrees else 1
                suspect.ts_ms = fix.ts_ms
                suspect.lat_e7 = fix.lat_e7
                suspect.lng_e7 = fix.lng_e7
        reasons[i] = reason
        if reason == ACCEPTED:
            suspect.count = 0
            record.ts_ms = fix.ts_ms
            record.lat_e7 = fix.lat_e7
            record.lng_e7 = fix.lng_e7
            record.accuracy_dm = fix.accuracy_dm
            record.speed_cm_s = fix.speed_cm_s
            record.heading_cdeg = fix.heading_cdeg
            record.battery_pct = fix.battery_pct
            record.flags = fix.flags
            dirty[slot] = True


def warm_up() -> None:
    """Compile the kernel, or read it from its cache: once at process start."""
    accept(
        np.frombuffer(bytes(FIX.itemsize), FIX),
        np.zeros(1, np.int64),
        np.zeros(1, RECORD),
        np.zeros(1, SUSPECT),
        np.ones(1, np.bool_),
        0,
        LIMITS,
        np.zeros(1, np.uint8),
        np.zeros(1, np.bool_),
    )

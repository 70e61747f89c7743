"""The plain twin of `engine.geo.acceptance.accept`: the same rules on Python objects, one fix after another."""

import math
from collections import deque
from dataclasses import dataclass, field, replace

from engine.core.units import METRES_PER_DEG
from engine.geo.acceptance import AcceptanceRules

UNKNOWN = 65_535


@dataclass(frozen=True)
class Fix:
    ts_ms: int
    lat_e7: int
    lng_e7: int
    accuracy_dm: int = UNKNOWN
    speed_cm_s: int = UNKNOWN

    @property
    def row(self) -> tuple[int, ...]:
        """The fix as the columns of `FIX`."""
        return (self.ts_ms, self.lat_e7, self.lng_e7, self.accuracy_dm, self.speed_cm_s, UNKNOWN, 255, 0)


@dataclass
class Worker:
    counts_from_ms: int | None = 0
    present: Fix | None = None
    suspects: list[Fix] = field(default_factory=list)
    recent_ms: deque[int] = field(default_factory=lambda: deque(maxlen=16))
    moved: bool = False


def accept(worker: Worker, fix: Fix, now_ms: int, rules: AcceptanceRules) -> str:
    """Return the outcome or the reason, and change the worker."""
    if worker.counts_from_ms is None:
        return "off_duty"
    outcome = _alone(worker.counts_from_ms, fix, now_ms, rules) or _among(worker, fix, rules)
    if outcome == "jump" and (worker.present is None or fix.ts_ms > worker.present.ts_ms):
        outcome = _suspected(worker, fix, rules)
    if outcome in ("accepted", "static", "late"):
        worker.recent_ms.append(fix.ts_ms)
    if outcome in ("accepted", "static", "near"):
        worker.suspects = []
        worker.moved = True
        moves = outcome == "accepted" or worker.present is None
        worker.present = fix if moves else replace(worker.present, ts_ms=fix.ts_ms)
    return outcome


def _alone(counts_from_ms: int, fix: Fix, now_ms: int, rules: AcceptanceRules) -> str | None:
    rule_breaks = {
        "invalid": fix.ts_ms <= 0 or abs(fix.lat_e7) > 900_000_000 or abs(fix.lng_e7) > 1_800_000_000,
        "zero": (fix.lat_e7, fix.lng_e7) == (0, 0),
        "future": fix.ts_ms > now_ms + rules.future_ms,
        "past": now_ms - fix.ts_ms > rules.age_ms,
        "off_duty": fix.ts_ms < counts_from_ms,
    }
    return next((reason for reason, is_broken in rule_breaks.items() if is_broken), None)


def _among(worker: Worker, fix: Fix, rules: AcceptanceRules) -> str:
    present = worker.present
    is_late = present is not None and fix.ts_ms < present.ts_ms
    is_inaccurate = fix.accuracy_dm != UNKNOWN and fix.accuracy_dm > rules.accuracy_dm
    if present is not None and (fix.ts_ms == present.ts_ms or (is_late and fix.ts_ms in worker.recent_ms)):
        return "duplicate"
    if is_inaccurate:
        return "inaccurate"
    if present is None:
        return "accepted"
    if not is_late and fix.ts_ms - present.ts_ms < rules.period_ms:
        return "too_soon"
    if not _reachable(fix, present, rules):
        return "jump"
    return "late" if is_late else _at_rest(fix, present, rules)


def _at_rest(fix: Fix, present: Fix, rules: AcceptanceRules) -> str:
    away_m = _distance_m(fix, present)
    if away_m < rules.distance_m:
        return "near"
    stands = fix.speed_cm_s <= rules.static_cm_s and fix.accuracy_dm != UNKNOWN
    if stands and rules.static_m > 0 and away_m <= min(fix.accuracy_dm / 10, rules.static_m):
        return "static"
    return "accepted"


def _suspected(worker: Worker, fix: Fix, rules: AcceptanceRules) -> str:
    last = worker.suspects[-1] if worker.suspects else None
    if last is None or not _reachable(fix, last, rules):
        worker.suspects = [fix]
    elif fix.ts_ms > last.ts_ms:
        if len(worker.suspects) >= rules.jump_reset:
            return "accepted"
        worker.suspects.append(fix)
    elif last.ts_ms - fix.ts_ms > rules.reorder_ms:
        worker.suspects = [fix]
    return "jump"


def _reachable(fix: Fix, other: Fix, rules: AcceptanceRules) -> bool:
    return _distance_m(fix, other) <= abs(fix.ts_ms - other.ts_ms) * rules.speed_m_per_ms + rules.slack_m


def _distance_m(fix: Fix, other: Fix) -> float:
    lat_deg, lng_deg = fix.lat_e7 / 1e7, fix.lng_e7 / 1e7
    north_m = (lat_deg - other.lat_e7 / 1e7) * METRES_PER_DEG
    east_deg = (lng_deg - other.lng_e7 / 1e7 + 180) % 360 - 180
    return math.hypot(north_m, east_deg * METRES_PER_DEG * math.cos(math.radians(lat_deg)))

"""The plain twin of `engine.geo.acceptance.accept`: the same rules on Python objects, one fix after another."""

import math
from dataclasses import dataclass, field

from engine.core.units import METRES_PER_DEG
from engine.geo.acceptance import AcceptanceLimits

Fix = tuple[int, int, int, int]
"""ts_ms, lat_e7, lng_e7, accuracy_dm."""


@dataclass
class Worker:
    last: Fix | None = None
    is_on_duty: bool = True
    suspects: list[Fix] = field(default_factory=list)


def accept(worker: Worker, fix: Fix, now_ms: int, rules: AcceptanceLimits) -> str:
    """Return `accepted` or the reason; an accepted fix becomes the worker's last."""
    reason = _judge(worker, fix, now_ms, rules)
    if reason == "jump":
        agrees = bool(worker.suspects) and _reachable(fix, worker.suspects[-1], rules)
        if agrees and len(worker.suspects) >= rules.jump_reset:
            reason = "accepted"
        else:
            worker.suspects = [*worker.suspects, fix] if agrees else [fix]
    if reason == "accepted":
        worker.suspects = []
        worker.last = fix
    return reason


def _judge(worker: Worker, fix: Fix, now_ms: int, rules: AcceptanceLimits) -> str:  # noqa: PLR0911 - one per rule
    ts_ms, lat_e7, lng_e7, accuracy_dm = fix
    if not worker.is_on_duty:
        return "off_duty"
    if ts_ms <= 0 or not -900_000_000 <= lat_e7 <= 900_000_000 or not -1_800_000_000 <= lng_e7 <= 1_800_000_000:
        return "invalid"
    if lat_e7 == 0 and lng_e7 == 0:
        return "invalid"
    if ts_ms > now_ms + rules.future_ms:
        return "future"
    if now_ms - ts_ms > rules.age_ms or (worker.last is not None and ts_ms <= worker.last[0]):
        return "stale"
    if accuracy_dm != 65_535 and accuracy_dm > rules.accuracy_dm:
        return "inaccurate"
    if worker.last is not None and not _reachable(fix, worker.last, rules):
        return "jump"
    return "accepted"


def _reachable(fix: Fix, before: Fix, rules: AcceptanceLimits) -> bool:
    if fix[0] <= before[0]:
        return False
    lat_deg, lng_deg = fix[1] / 1e7, fix[2] / 1e7
    north_m = (lat_deg - before[1] / 1e7) * METRES_PER_DEG
    east_deg = (lng_deg - before[2] / 1e7 + 180) % 360 - 180
    east_m = east_deg * METRES_PER_DEG * math.cos(math.radians(lat_deg))
    return math.hypot(north_m, east_m) <= (fix[0] - before[0]) * rules.speed_m_per_ms + rules.slack_m

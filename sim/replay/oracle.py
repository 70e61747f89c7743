"""The acceptance rules of the protocol, once more: what must become of every fix, told before the server tells it.

Written from docs/protocol.md, section 2, one fix at a time in plain Python, so that an error of the engine's rules
does not repeat itself here.
"""

import math
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import Final

from sim.client.wire import UNKNOWN_U16

FUTURE_MS: Final = 30_000
AGE_MS: Final = 86_400_000
ACCURACY_DM: Final = 2_000
SPEED_MPS: Final = 45.0
SLACK_M: Final = 50.0
REORDER_MS: Final = 3_000
STANDING_CM_S: Final = 50
STANDING_M: Final = 50.0
REMEMBERED: Final = 16
AGREEING_JUMPS: Final = 5
LAT_E7_MAX: Final = 900_000_000
LNG_E7_MAX: Final = 1_800_000_000
EARTH_RADIUS_M: Final = 6_378_137.0
BORDERLINE: Final = 1e-3
"""A step this close to the limit of a jump, as a share of it, may be judged either way by another arithmetic."""
BORDERLINE_S: Final = 3
"""Wall seconds by which client and server may differ over when a worker went on duty, or when a fix was judged."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when."""

    ts_ms: int
    lat_e7: int
    lng_e7: int


@dataclass(slots=True)
class WorkerOracle:
    """What the server must make of one worker's fixes, in the order in which they were sent while on duty."""

    time_scale: float = 1.0
    """How much faster than the wall's the time of fixes runs."""
    on_duty_since_ms: int | None = None
    """Time of fixes; None: long ago."""
    newest: Place | None = None
    """The worker's present: its time is the newest fix's, its place that of the last one that moved."""
    accepted: int = 0
    """Fixes that were not refused: among them `static` and `late` ones."""
    static: int = 0
    late: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    borderline: int = 0
    _suspect: Place | None = None
    _suspects: int = 0
    _times: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def take(
        self, place: Place, *, accuracy_dm: int = UNKNOWN_U16, speed_cm_s: int = UNKNOWN_U16, now_ms: int
    ) -> str | None:
        """Return the reason for which the fix is refused, None where it is not. `now_ms`: time of fixes."""
        reason = self._judge(place, accuracy_dm, now_ms)
        is_late = self.newest is not None and place.ts_ms < self.newest.ts_ms
        if reason == "jump" and not is_late and self._is_there_after_all(place):
            reason = None
        elif reason is None and not is_late and self._stands(place, accuracy_dm, speed_cm_s):
            assert self.newest is not None
            self.static += 1
            place = replace(self.newest, ts_ms=place.ts_ms)
        if reason is not None:
            self.refused[reason] += 1
            return reason
        self.accepted += 1
        self._times.append(place.ts_ms)
        if is_late:
            self.late += 1
        else:
            self.newest = place
            self._suspects = 0
        return None

    def _judge(self, place: Place, accuracy_dm: int, now_ms: int) -> str | None:
        newest = self.newest
        is_late = newest is not None and place.ts_ms < newest.ts_ms
        oldest_ms, since_ms = now_ms - AGE_MS, self.on_duty_since_ms
        slack_ms = BORDERLINE_S * 1000 * self.time_scale
        # The server judges a little later than we send, and has let duty begin a little sooner than it told us.
        self.borderline += oldest_ms <= place.ts_ms < oldest_ms + slack_ms
        self.borderline += since_ms is not None and since_ms - slack_ms < place.ts_ms < since_ms
        broken = {
            "invalid": place.ts_ms <= 0 or not _is_on_earth(place),
            "zero": (place.lat_e7, place.lng_e7) == (0, 0),
            "future": place.ts_ms > now_ms + FUTURE_MS,
            "past": place.ts_ms < oldest_ms,
            "off_duty": since_ms is not None and place.ts_ms < since_ms,
            "duplicate": newest is not None
            and (place.ts_ms == newest.ts_ms or (is_late and place.ts_ms in self._times)),
            "inaccurate": accuracy_dm != UNKNOWN_U16 and accuracy_dm > ACCURACY_DM,
        }
        first = next((reason for reason, is_broken in broken.items() if is_broken), None)
        if first is None and newest is not None and not self._is_reachable(place, newest):
            return "jump"
        return first

    def _stands(self, place: Place, accuracy_dm: int, speed_cm_s: int) -> bool:
        """Return whether the phone says that it stands, and is within its error radius of where it was."""
        if self.newest is None or UNKNOWN_U16 in (accuracy_dm, speed_cm_s) or speed_cm_s > STANDING_CM_S:
            return False
        return flat_distance_m(place, self.newest) <= min(accuracy_dm / 10, STANDING_M)

    def _is_there_after_all(self, place: Place) -> bool:
        """Count a jump that agrees with the one before it; the sixth in a row is where the worker is."""
        before = self._suspect
        agrees = bool(self._suspects and before and self._is_reachable(place, before))
        if agrees and before and 0 <= before.ts_ms - place.ts_ms <= REORDER_MS:
            return False
        agrees = agrees and before is not None and place.ts_ms > before.ts_ms
        if agrees and self._suspects >= AGREEING_JUMPS:
            return True
        self._suspects = self._suspects + 1 if agrees else 1
        self._suspect = place
        return False

    def _is_reachable(self, place: Place, origin: Place) -> bool:
        step_m = flat_distance_m(place, origin)
        reach_m = abs(place.ts_ms - origin.ts_ms) / 1000 * SPEED_MPS + SLACK_M
        if abs(step_m - reach_m) <= BORDERLINE * reach_m:
            self.borderline += 1
        return step_m <= reach_m


def _is_on_earth(place: Place) -> bool:
    return abs(place.lat_e7) <= LAT_E7_MAX and abs(place.lng_e7) <= LNG_E7_MAX


def flat_distance_m(place: Place, origin: Place) -> float:
    """Return metres on a flat earth at the latitude of `place`; the shorter way round the 180th meridian."""
    east_deg = ((place.lng_e7 - origin.lng_e7) / 1e7 + 180) % 360 - 180
    north_deg = (place.lat_e7 - origin.lat_e7) / 1e7
    east = math.radians(east_deg) * math.cos(math.radians(place.lat_e7 / 1e7))
    return EARTH_RADIUS_M * math.hypot(east, math.radians(north_deg))

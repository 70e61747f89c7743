"""The frame that is kept: of an organisation's workers, brought up to date by column instead of built for each booking.

Who moved, or was read anew, is noted; their columns are written before the next question. What ages by itself (waiting
times, fixes, shifts) is brought up to date for everybody after `limits.FRAME_REFRESH_MS`. Pure: times are passed in.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from config.limits import FRAME_CHANGES_MAX, FRAME_REFRESH_MS, SLAB_PAGE_SLOTS, WORKER_SILENT_MS
from engine.core.ids import OrgId
from engine.core.units import DEG_E7
from engine.geo.fixes import RecordArray
from engine.geo.mirror import Mirror
from engine.matcher.ask import Ask
from engine.matcher.cost_policy import CostPolicy, CostWeights
from engine.matcher.frame import Frame, SlotArray, build_frame
from engine.matcher.kernels import IntArray
from engine.matcher.region_cover import RegionCover
from engine.matcher.worker_table import WorkerTable

NOBODY: Final = -1
NOWHERE_DEG: Final = (0.0, 0.0)
"""The origin while nobody has a place."""
EVERYWHERE: Final = RegionCover()
"""Of a matcher that shares with nobody."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Now: by the clock of everything, and by that of fixes (Unix ms)."""

    now_ms: int
    fix_now_ms: int


class LiveFrame:
    """One organisation's workers under one set of weights; a row is a worker, by ascending slot.

    Of an organisation that several matchers share, only those whom `cover` says a booking of ours can need.
    """

    def __init__(
        self, table: WorkerTable, mirror: Mirror, cover: RegionCover, *, org_id: OrgId, weights: CostWeights
    ) -> None:
        self._table, self._mirror, self._cover = table, mirror, cover
        self._covered = cover.version
        self._org_id, self._weights = org_id, weights
        self._row_of = np.zeros(0, np.int32)
        self._frame: Frame | None = None
        self._origin_deg: tuple[float, float] | None = None
        self._dirty: set[int] = set()

    def changed(self, slots: Iterable[int]) -> None:
        """Note workers whose columns are no longer true; of an organisation that nobody asks about not for ever."""
        if len(self._dirty) < FRAME_CHANGES_MAX:
            self._dirty.update(slots)

    def at(self, moment: Moment) -> Frame:
        """Return the frame, true for this moment; the next call may write to it."""
        frame = self._frame
        if frame is None or self._covered != self._cover.version or len(self._dirty) >= FRAME_CHANGES_MAX:
            return self._rebuild(moment)
        if not 0 <= moment.now_ms - frame.epoch_ms < FRAME_REFRESH_MS:
            return self._rebuild(moment)
        if self._dirty:
            slots = self._table.of_org(np.fromiter(self._dirty, np.int64), self._org_id)
            has_row = np.zeros(len(slots), np.bool_)
            is_known = slots < len(self._row_of)
            has_row[is_known] = self._row_of[slots[is_known]] != NOBODY
            if len(self._cover.of(slots[~has_row])):
                return self._rebuild(moment)
            self._write(frame, slots[has_row], moment)
        return frame

    def rows_of(self, slots: Iterable[int]) -> IntArray:
        """Return the rows of those of these slots that are in the frame."""
        wanted = np.fromiter((slot for slot in slots if slot < len(self._row_of)), np.int64)
        rows = self._row_of[wanted]
        found: IntArray = rows[rows != NOBODY]
        return found

    def _rebuild(self, moment: Moment) -> Frame:
        slots = self._cover.of(self._table.of_org(np.arange(len(self._table)), self._org_id))
        places = self._mirror.places(slots)
        self._origin_deg = self._origin_deg or _origin_among(places)
        frame = self._built(slots, places, moment, epoch_ms=moment.now_ms, origin_deg=self._origin_deg or NOWHERE_DEG)
        self._row_of = np.full(len(self._table), NOBODY, np.int32)
        self._row_of[slots] = np.arange(len(slots))
        self._frame, self._dirty, self._covered = frame, set(), self._cover.version
        return frame

    def _write(self, frame: Frame, slots: SlotArray, moment: Moment) -> None:
        origin_deg = frame.origin_lat_deg, frame.origin_lng_deg
        places, rows = self._mirror.places(slots), self._row_of[slots]
        part = self._built(slots, places, moment, epoch_ms=frame.epoch_ms, origin_deg=origin_deg)
        frame.matrix[:, rows], frame.mask[:, rows], frame.fixed[:, rows] = part.matrix, part.mask, part.fixed
        self._dirty = set()

    def _built(
        self, slots: SlotArray, places: RecordArray, moment: Moment, *, epoch_ms: int, origin_deg: tuple[float, float]
    ) -> Frame:
        candidates = self._table.candidates(
            slots,
            places,
            not_to_ask=frozenset(),
            now_ms=moment.now_ms,
            fix_now_ms=moment.fix_now_ms,
            silent_ms=WORKER_SILENT_MS,
        )
        lat_deg, lng_deg = origin_deg
        return build_frame(
            candidates,
            origin_lat_deg=lat_deg,
            origin_lng_deg=lng_deg,
            weights=self._weights,
            now_ms=moment.now_ms,
            epoch_ms=epoch_ms,
        )


def _origin_among(places: RecordArray) -> tuple[float, float] | None:
    """Return latitude and longitude in the middle of these places; `None`: nobody has one."""
    placed = places[places["cell"] != 0]
    if not len(placed):
        return None
    lat_deg, lng_deg = (placed[name] / DEG_E7 for name in ("lat_e7", "lng_e7"))
    # Counted from one of them: the middle of both sides of the 180th meridian is not the other side of the earth.
    east_deg = (lng_deg - lng_deg[0] + 180) % 360 - 180
    return float(np.median(lat_deg)), float((lng_deg[0] + np.median(east_deg) + 180) % 360 - 180)


class LiveFrames:
    """The frames of a matcher, one for each organisation and set of weights that a booking has asked for.

    It listens to the same feed as the mirror, behind it: what it is told has already been written there.
    """

    def __init__(self, table: WorkerTable, mirror: Mirror, cover: RegionCover = EVERYWHERE) -> None:
        self._table, self._mirror, self._cover = table, mirror, cover
        self._frames: dict[tuple[OrgId, CostWeights], LiveFrame] = {}
        self._policy: CostPolicy | None = None

    @property
    def count(self) -> int:
        """How many frames are kept."""
        return len(self._frames)

    def moved(self, slots: SlotArray, records: RecordArray) -> None:
        """Take that workers moved."""
        self._table.heard(slots, records["battery_pct"])
        self._tell(slots.tolist())

    def replaced(self, page: int, slots: SlotArray, records: RecordArray) -> None:
        """Take that a page of the index was read anew: anybody of it may have gone."""
        self._table.heard(slots, records["battery_pct"])
        self._tell(range(page * SLAB_PAGE_SLOTS, (page + 1) * SLAB_PAGE_SLOTS))

    def reach(self, ask: Ask, named: Sequence[int]) -> bool:
        """Whether everybody whom this booking can need is in them, and each slot that is asked for by name."""
        if not self._cover.has(ask.lat_deg, ask.lng_deg):
            return False
        return not named or len(self._cover.of(np.array(named, np.int64))) == len(named)

    def of(self, org_id: OrgId, weights: CostWeights) -> LiveFrame:
        """Return the frame of an organisation under these weights."""
        self._tell(self._table.take_changed())
        key = (org_id, weights)
        if key not in self._frames:
            self._frames[key] = LiveFrame(self._table, self._mirror, self._cover, org_id=org_id, weights=weights)
        return self._frames[key]

    def keep_only(self, policy: CostPolicy) -> None:
        """Forget the frames under weights that a policy, when it is another one, does not have any more."""
        if policy is self._policy:
            return
        self._policy = policy
        kept = {policy.weights, *policy.organisations.values(), *policy.services.values()}
        self._frames = {key: frame for key, frame in self._frames.items() if key[1] in kept}

    def _tell(self, slots: Iterable[int]) -> None:
        told = list(slots)
        for frame in self._frames.values():
            frame.changed(told)

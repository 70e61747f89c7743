"""The zone watch without its stores: whose place is where, which zones count, who is in which. Pure.

Takes what the feed of the cell index brings, in its order, and answers with events. A worker's moves within one call
are judged one after the other; those of different workers all at once.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.core.ids import OrgId
from engine.core.vocabulary import FixFlag, ZoneReason
from engine.geo.fixes import RECORD, RecordArray, SlotArray
from engine.geo.zone_presence import Change, Places, Presence, judge, leave
from engine.geo.zones import Indices, ZoneMap

_STRANGER: Final = -2
_NOBODYS: Final = -1
_ROWS_AT_START: Final = 1_024


class ZoneTracker:
    """Follows workers through zones. A worker counts once `learn` has said whose they are."""

    def __init__(self) -> None:
        self._zones = ZoneMap()
        self._presence = Presence.empty()
        self._places: RecordArray = np.zeros(_ROWS_AT_START, RECORD)
        self._org_ids: list[OrgId] = []
        self._org_rows: dict[OrgId, int] = {}
        self._org_of: Indices = np.full(_ROWS_AT_START, _STRANGER, np.int64)
        """By slot: a row of `_org_ids`."""
        self._org_numbers: Indices = np.zeros(0, np.int64)
        """By row of `_org_ids`: the number in the map of zones."""

    @property
    def zones(self) -> ZoneMap:
        """The zones that count now."""
        return self._zones

    @property
    def presence(self) -> Presence:
        """Who is in which zone now."""
        return self._presence

    def is_stranger(self, slots: SlotArray) -> NDArray[np.bool_]:
        """Return of which workers nobody has said yet whose they are."""
        self._ensure(slots)
        return np.asarray(self._org_of[slots] == _STRANGER, np.bool_)

    def learn(self, orgs: Mapping[int, OrgId | None]) -> None:
        """Take note of each worker's organisation; `None`: there is no such worker."""
        self._ensure(np.fromiter(orgs, np.int64, len(orgs)))
        for slot, org_id in orgs.items():
            if org_id is None:
                self._org_of[slot] = _NOBODYS
                continue
            if org_id not in self._org_rows:
                self._org_rows[org_id] = len(self._org_ids)
                self._org_ids.append(org_id)
            self._org_of[slot] = self._org_rows[org_id]
        self._number_orgs()

    def restore(self, presence: Presence) -> None:
        """Begin with what is stored; the rows are those of `zones`."""
        self._presence = presence

    def take(self, slots: SlotArray, records: RecordArray, reason: ZoneReason) -> list[Change]:
        """Judge moves of known workers, in order; what is older than the place known is left out."""
        self._ensure(slots)
        assert not self.is_stranger(slots).any()
        changes: list[Change] = []
        for rows in _rounds(slots):
            changes += self._take_round(slots[rows], _without_off_duty(records[rows]), reason)
        return changes

    def change_zones(self, zones: ZoneMap) -> list[Change]:
        """Go on with other zones: who was in one that is gone leaves it, and every place is judged anew."""
        old, self._zones = self._zones, zones
        self._number_orgs()
        changes = self._move_presence(old)
        slots = np.flatnonzero((self._places["cell"] != 0) & (self._org_of >= 0))
        places = self._of(slots, self._places[slots], self._places["ts_ms"][slots])
        self._presence, judged = judge(self._presence, places, zones, ZoneReason.ZONE_CHANGED)
        return changes + judged

    def go_off_duty(self, slots: Iterable[int]) -> list[Change]:
        """Let workers leave every zone because they are off duty."""
        gone_slots = np.unique(np.fromiter(slots, np.int64))
        self._ensure(gone_slots)
        _, gone = self._presence.of_slots(gone_slots)
        last_ms = self._places["ts_ms"][self._presence.slots[gone]]
        self._presence, changes = leave(self._presence, gone, last_ms, self._zones, ZoneReason.OFF_DUTY)
        self._places["cell"][gone_slots] = 0
        return changes

    def _take_round(self, slots: SlotArray, records: RecordArray, reason: ZoneReason) -> list[Change]:
        known = self._places[slots]
        # The index has restarted from an older copy, or a page was read that a message has overtaken.
        is_news = (records["ts_ms"] >= known["ts_ms"]) | (records["cell"] == 0)
        slots, records, prior_ms = slots[is_news], records[is_news], known["ts_ms"][is_news]
        np.maximum(records["ts_ms"], prior_ms, out=records["ts_ms"])
        self._places[slots] = records
        self._presence, changes = judge(self._presence, self._of(slots, records, prior_ms), self._zones, reason)
        return changes

    def _of(self, slots: SlotArray, records: RecordArray, prior_ms: NDArray[np.int64]) -> Places:
        rows = self._org_of[slots]
        orgs = np.full(len(slots), -1, np.int64)
        orgs[rows >= 0] = self._org_numbers[rows[rows >= 0]]
        return Places(slots, records, orgs, prior_ms)

    def _move_presence(self, old: ZoneMap) -> list[Change]:
        """Bring the presence from the rows of `old` to those of now; return the exits from zones that are gone."""
        to_new = np.array([_row(self._zones.row(zone.zone_id)) for zone in old.zones], np.int64)
        gone = np.flatnonzero(to_new[self._presence.rows] < 0)
        last_ms = self._places["ts_ms"][self._presence.slots[gone]]
        kept, changes = leave(self._presence, gone, last_ms, old, ZoneReason.ZONE_CHANGED)
        self._presence = Presence.of(kept.slots, to_new[kept.rows], kept.entered_ms, kept.dwell_told)
        return changes

    def _number_orgs(self) -> None:
        self._org_numbers = np.array([self._zones.org_number(org_id) for org_id in self._org_ids], np.int64)

    def _ensure(self, slots: SlotArray) -> None:
        highest = int(slots.max(initial=-1))
        rows = len(self._places)
        if highest < rows:
            return
        more = max(highest + 1, rows * 2) - rows
        self._places = np.concatenate([self._places, np.zeros(more, RECORD)])
        self._org_of = np.concatenate([self._org_of, np.full(more, _STRANGER, np.int64)])


def _rounds(slots: SlotArray) -> Iterator[Indices]:
    """Yield the positions of everybody's first move, then of everybody's second one, and so on."""
    order = np.argsort(slots, kind="stable")
    ordered = slots[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    starts = np.flatnonzero(is_first)
    nth = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.append(starts, len(ordered))))
    for number in range(int(nth.max(initial=-1)) + 1):
        yield order[nth == number]


def _without_off_duty(records: RecordArray) -> RecordArray:
    """Return a copy in which who is heard of only because of an open alarm is nowhere: zones do not follow them."""
    records = records.copy()
    records["cell"][records["flags"] & FixFlag.OFF_DUTY != 0] = 0
    return records


def _row(row: int | None) -> int:
    return -1 if row is None else row

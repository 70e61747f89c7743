"""Who is in which zone, and what a fix changes about it. Pure: presence, newest places and zones in, events out.

There is no memory but the presence itself: a watch that was killed and reads it again judges the next fix as if it had
never been away. Against drift the edge has two sides. Who is outside enters on it; who is inside leaves only beyond a
margin that grows with the fix's stated error. So fixes that lie within `limits.ZONE_EDGE_M_MIN` of one another cause
one event at most, however they lie about the edge.

All times are those of fixes, and a worker's accepted fixes grow in time, so a worker's events do too. Silence is no
event: a worker who is no longer heard of stays where the last fix was.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.limits import SLOTS_MAX, WORKER_SILENT_MS, ZONE_EDGE_ACCURACIES, ZONE_EDGE_M_MAX, ZONE_EDGE_M_MIN
from engine.core.vocabulary import ZoneEventKind, ZoneReason
from engine.geo.fixes import UNKNOWN_U16, RecordArray, SlotArray
from engine.geo.zones import NO_INDICES, Indices, Zone, ZoneMap

_ROW_BITS: Final = 32
_ROW_MASK: Final = (1 << _ROW_BITS) - 1
_DM_PER_M: Final = 10

assert SLOTS_MAX < 1 << (63 - _ROW_BITS)


@dataclass(frozen=True, slots=True)
class Change:
    """An event between a worker and a zone."""

    slot: int
    zone: Zone
    kind: ZoneEventKind
    at_ms: int
    """Time of the fix that shows it; of a dwell: when the time was full."""
    reason: ZoneReason
    entered_ms: int


@dataclass(frozen=True, slots=True)
class Presence:
    """Every pair of a worker and a zone in which the worker is, by slot and then by the zone's row in a map."""

    keys: NDArray[np.int64]
    entered_ms: NDArray[np.int64]
    dwell_told: NDArray[np.bool_]

    @classmethod
    def of(
        cls, slots: SlotArray, rows: Indices, entered_ms: NDArray[np.int64], dwell_told: NDArray[np.bool_]
    ) -> "Presence":
        """Return the presence of distinct pairs in any order."""
        keys = slots << _ROW_BITS | rows
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], entered_ms[order], dwell_told[order])

    @classmethod
    def empty(cls) -> "Presence":
        """Return that nobody is anywhere."""
        return cls(NO_INDICES, NO_INDICES, np.zeros(0, np.bool_))

    def __len__(self) -> int:
        """Return how many pairs there are."""
        return len(self.keys)

    @property
    def slots(self) -> SlotArray:
        """The worker of each pair."""
        return self.keys >> _ROW_BITS

    @property
    def rows(self) -> Indices:
        """The zone of each pair."""
        return self.keys & _ROW_MASK

    def of_slots(self, slots: SlotArray) -> tuple[Indices, Indices]:
        """Return every pair of an element of `slots` and one of its pairs here, as two columns of positions."""
        first = np.searchsorted(self.keys, slots << _ROW_BITS)
        counts = np.searchsorted(self.keys, (slots + 1) << _ROW_BITS) - first
        step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(np.arange(len(slots)), counts), np.repeat(first, counts) + step

    def has(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of `keys` are here."""
        if not len(self.keys):
            return np.zeros(len(keys), np.bool_)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.asarray(self.keys[at] == keys, np.bool_)

    def changed(self, *, gone: Indices, told: Indices, new: "Presence") -> "Presence":
        """Return the presence without the positions `gone`, with the dwell of `told` told, and with `new` ones."""
        if not (len(gone) or len(told) or len(new)):
            return self
        dwell_told = self.dwell_told.copy()
        dwell_told[told] = True
        keys = np.concatenate([np.delete(self.keys, gone), new.keys])
        entered_ms = np.concatenate([np.delete(self.entered_ms, gone), new.entered_ms])
        dwell_told = np.concatenate([np.delete(dwell_told, gone), new.dwell_told])
        order = np.argsort(keys, kind="stable")
        return Presence(keys[order], entered_ms[order], dwell_told[order])


@dataclass(frozen=True, slots=True)
class Places:
    """The newest places of distinct workers. A record without a cell: off duty, nowhere."""

    slots: SlotArray
    records: RecordArray
    orgs: Indices
    """The number of each worker's organisation in the map of zones."""
    prior_ms: NDArray[np.int64]
    """Time of the fix before; 0: none."""


def judge(presence: Presence, places: Places, zones: ZoneMap, reason: ZoneReason) -> tuple[Presence, list[Change]]:
    """Return the presence after `places`, and the events: of one worker dwell, then exits, then enters.

    Who is in no cell has gone off duty and leaves every zone for that reason, whatever `reason` says.
    """
    at, rows = zones.inside(places.records, places.orgs)
    inside = places.slots[at] << _ROW_BITS | rows
    held_at, held = presence.of_slots(places.slots)
    is_out = _is_out(presence, places, zones, inside, held_at, held)
    told = held[_is_due(presence, places, zones, held_at, held, is_out)]
    is_new = ~presence.has(inside)
    new_at, new_rows = at[is_new], rows[is_new]
    entered = Presence.of(
        places.slots[new_at],
        new_rows,
        places.records["ts_ms"][new_at].astype(np.int64),
        np.zeros(len(new_at), np.bool_),
    )
    gone = held[is_out]
    changes = [
        *_dwells(presence, zones, told, reason),
        *_exits(presence, places, zones, held_at[is_out], gone, reason),
        *_enters(entered, zones, reason),
    ]
    return presence.changed(gone=gone, told=told, new=entered), changes


def leave(
    presence: Presence, gone: Indices, last_ms: NDArray[np.int64], zones: ZoneMap, reason: ZoneReason
) -> tuple[Presence, list[Change]]:
    """Return the presence without the positions `gone`, and an exit for each, at the time `last_ms` of the last fix."""
    at_ms = np.maximum(last_ms, presence.entered_ms[gone])
    changes = _changes(presence, zones, gone, at_ms, ZoneEventKind.EXIT, reason)
    return presence.changed(gone=gone, told=NO_INDICES, new=Presence.empty()), list(changes)


def margins_m(records: RecordArray) -> NDArray[np.float64]:
    """Return how far beyond the edge of a zone each fix must lie so that its worker has left."""
    accuracy_dm = np.where(records["accuracy_dm"] == UNKNOWN_U16, 0, records["accuracy_dm"])
    return np.clip(accuracy_dm * (ZONE_EDGE_ACCURACIES / _DM_PER_M), ZONE_EDGE_M_MIN, ZONE_EDGE_M_MAX)


def _is_out(
    presence: Presence, places: Places, zones: ZoneMap, inside: NDArray[np.int64], held_at: Indices, held: Indices
) -> NDArray[np.bool_]:
    """Return which of the pairs held so far have ended."""
    is_out = np.array(places.records["cell"][held_at] == 0, np.bool_)
    far = np.flatnonzero(~is_out & ~np.isin(presence.keys[held], inside))
    records = places.records[held_at[far]]
    is_out[far] = zones.distance_m(records, presence.rows[held[far]]) > margins_m(records)
    return is_out


def _is_due(
    presence: Presence,
    places: Places,
    zones: ZoneMap,
    held_at: Indices,
    held: Indices,
    is_out: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return of which pairs a dwell is told now: the time is full, and this fix or one shortly before found them there.

    Who leaves after a long silence is not said to have stayed: nobody knows.
    """
    dwell_ms = zones.dwell_ms[presence.rows[held]]
    due_ms = presence.entered_ms[held] + dwell_ms
    is_full = (dwell_ms > 0) & ~presence.dwell_told[held] & (due_ms <= places.records["ts_ms"][held_at])
    is_sure = ~is_out | (places.prior_ms[held_at] >= due_ms - WORKER_SILENT_MS)
    return np.asarray(is_full & is_sure, np.bool_)


def _dwells(presence: Presence, zones: ZoneMap, told: Indices, reason: ZoneReason) -> Iterator[Change]:
    due_ms = presence.entered_ms[told] + zones.dwell_ms[presence.rows[told]]
    return _changes(presence, zones, told, due_ms, ZoneEventKind.DWELL, reason)


def _exits(
    presence: Presence, places: Places, zones: ZoneMap, at: Indices, gone: Indices, reason: ZoneReason
) -> Iterator[Change]:
    at_ms = np.maximum(places.records["ts_ms"][at], presence.entered_ms[gone])
    is_off = places.records["cell"][at] == 0
    for change, off in zip(
        _changes(presence, zones, gone, at_ms, ZoneEventKind.EXIT, reason), is_off.tolist(), strict=True
    ):
        yield _for_reason(change, ZoneReason.OFF_DUTY) if off else change


def _enters(entered: Presence, zones: ZoneMap, reason: ZoneReason) -> Iterator[Change]:
    return _changes(entered, zones, np.arange(len(entered)), entered.entered_ms, ZoneEventKind.ENTER, reason)


def _changes(
    presence: Presence,
    zones: ZoneMap,
    at: Indices,
    at_ms: NDArray[np.int64],
    kind: ZoneEventKind,
    reason: ZoneReason,
) -> Iterator[Change]:
    columns = (presence.slots[at], presence.rows[at], at_ms, presence.entered_ms[at])
    for slot, row, when_ms, entered_ms in zip(*(column.tolist() for column in columns), strict=True):
        yield Change(slot, zones.zones[row], kind, when_ms, reason, entered_ms)


def _for_reason(change: Change, reason: ZoneReason) -> Change:
    return Change(change.slot, change.zone, change.kind, change.at_ms, reason, change.entered_ms)

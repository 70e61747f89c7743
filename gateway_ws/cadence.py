"""How often a phone sends: fast while somebody watches, slow where nothing happens or the battery runs low. Pure.

An alarm changes nothing here, on duty or off: what a record says that only an alarm let count is not looked at. A
cadence is told to the phone, and whoever holds it, or watches how often it sends, must not learn of an alarm; help has
the trigger's own fix and one every few seconds anyway.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.limits import (
    BATTERY_FINE_PCT,
    BATTERY_LOW_PCT,
    CADENCE_BATCH_MS,
    CADENCE_IDLE_MS,
    CADENCE_JOB_MS,
    CADENCE_LOW_BATTERY_MS,
    CADENCE_PARKED_MS,
    PARKED_AFTER_MS,
)
from engine.core.vocabulary import FixFlag
from engine.geo.acceptance import NEVER_MS
from engine.geo.fixes import UNKNOWN_BATTERY, RecordArray, SlotArray
from engine.geo.worker_table import WorkerTable

_ROWS_AT_START: Final = 1_024


@dataclass(frozen=True, slots=True)
class Cadence:
    """What a phone is told. `batch_ms` is how often it sends what it gathered; the same as `cadence_ms`: each fix."""

    cadence_ms: int
    batch_ms: int

    def as_dict(self) -> dict[str, int]:
        """Return the protocol's fields; a phone that knows no batches sends each fix."""
        if self.batch_ms == self.cadence_ms:
            return {"cadence_ms": self.cadence_ms}
        return {"cadence_ms": self.cadence_ms, "batch_ms": self.batch_ms}


def runs_low(records: RecordArray, was_low: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whose battery is low: from one percentage down, until a higher one or a charger."""
    battery_pct = records["battery_pct"]
    is_told = (battery_pct != UNKNOWN_BATTERY) & (records["ts_ms"] != 0) & (records["flags"] < FixFlag.OFF_DUTY)
    is_charging = (records["flags"] & FixFlag.CHARGING) != 0
    stays_low = was_low & (battery_pct < BATTERY_FINE_PCT)
    is_low: NDArray[np.bool_] = is_told & ~is_charging & ((battery_pct <= BATTERY_LOW_PCT) | stays_low)
    return is_low


def cadences_ms(
    has_job: NDArray[np.bool_], is_low: NDArray[np.bool_], still_ms: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the cadence of each worker; who has a job and stands (at the door) is nobody's moving dot."""
    is_parked = still_ms >= PARKED_AFTER_MS
    with_job = np.where(is_low | is_parked, CADENCE_IDLE_MS, CADENCE_JOB_MS)
    without = np.where(is_low, CADENCE_LOW_BATTERY_MS, np.where(is_parked, CADENCE_PARKED_MS, CADENCE_IDLE_MS))
    return np.where(has_job, with_job, without)


class Cadences:
    """What the phones of one gateway were told last, by slot."""

    def __init__(self, table: WorkerTable) -> None:
        self._table = table
        self._cadence_ms: NDArray[np.int64] = np.zeros(_ROWS_AT_START, np.int64)
        self._batch_ms: NDArray[np.int64] = np.zeros(_ROWS_AT_START, np.int64)
        self._is_low: NDArray[np.bool_] = np.zeros(_ROWS_AT_START, np.bool_)

    def tune(self, slots: SlotArray, has_job: NDArray[np.bool_]) -> SlotArray:
        """Decide anew for these workers; return those whose phones must be told."""
        self._reach(int(slots.max(initial=0)))
        records, duty_since_ms = self._table.last[slots], self._table.duty_since_ms[slots]
        is_low = runs_low(records, self._is_low[slots]) & (duty_since_ms != NEVER_MS)
        still_ms = records["ts_ms"] - np.maximum(self._table.moved_ms[slots], duty_since_ms)
        cadence_ms = cadences_ms(has_job, is_low, still_ms)
        batch_ms = np.where(has_job, cadence_ms, np.maximum(cadence_ms, CADENCE_BATCH_MS))
        changed = (cadence_ms != self._cadence_ms[slots]) | (batch_ms != self._batch_ms[slots])
        self._is_low[slots] = is_low
        self._cadence_ms[slots], self._batch_ms[slots] = cadence_ms, batch_ms
        to_tell: SlotArray = slots[changed]
        return to_tell

    def of(self, slot: int) -> Cadence:
        """Return what this worker's phone is to keep to, as decided last."""
        return Cadence(int(self._cadence_ms[slot]), int(self._batch_ms[slot]))

    def _reach(self, slot: int) -> None:
        rows = len(self._cadence_ms)
        if slot < rows:
            return
        more = max(slot + 1, 2 * rows) - rows
        self._cadence_ms = np.concatenate([self._cadence_ms, np.zeros(more, np.int64)])
        self._batch_ms = np.concatenate([self._batch_ms, np.zeros(more, np.int64)])
        self._is_low = np.concatenate([self._is_low, np.zeros(more, np.bool_)])

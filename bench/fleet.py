"""A fleet whose every move was driven by a real taxi, where a recording is at hand; else a made-up one."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.geo.cells import cells_of
from engine.geo.fixes import RECORD, RecordArray, SlotArray
from sim.replay.readers import read_recording

DATA: Final = Path(os.environ.get("CLENZY_DATA", Path(__file__).parents[2] / "shared" / "data"))
PORTO: Final = DATA / "traces" / "porto_taxis_2013.csv.xz"
E7: Final = 10_000_000
_CENTRE_DEG: Final = (41.15, -8.61)
_SPREAD_DEG: Final = 0.13
"""Half a side of the made-up city: about 14 km."""
_STEP_DEG: Final = 0.0003
_PERIOD_MS: Final = 15_000
_QUERY_OFFSET_DEG: Final = 0.002
"""Customers stand about 200 m from where taxis were."""

Places = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Places (1e-7 degrees) of each worker in each round, shape (rounds, workers); the worker's slot is the column."""

    source: str
    lats_e7: Places
    lngs_e7: Places

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self.lats_e7[0])

    @property
    def rounds(self) -> int:
        """How often each is heard."""
        return len(self.lats_e7)

    def records(self, number: int, slots: SlotArray, *, has_cells: bool = True) -> RecordArray:
        """Return the records of some workers in a round."""
        found = np.zeros(len(slots), RECORD)
        found["ts_ms"] = (number + 1) * _PERIOD_MS
        found["lat_e7"], found["lng_e7"] = self.lats_e7[number, slots], self.lngs_e7[number, slots]
        found["cell"] = cells_of(found["lat_e7"], found["lng_e7"]) if has_cells else 1
        return found

    def asked_from(self, count: int, random: np.random.Generator) -> list[tuple[float, float]]:
        """Return places (degrees) that customers ask from: near where workers are."""
        rows = random.integers(0, self.workers, count)
        offsets = random.normal(0, _QUERY_OFFSET_DEG, (2, count))
        lats, lngs = self.lats_e7[-1, rows] / E7 + offsets[0], self.lngs_e7[-1, rows] / E7 + offsets[1]
        return list(zip(lats.tolist(), lngs.tolist(), strict=True))


def fleet(workers: int, rounds: int, random: np.random.Generator, path: Path = PORTO) -> Fleet:
    """Return a fleet on the recording at `path`, or a made-up one where there is none."""
    return _recorded(path, workers, rounds, random) if path.exists() else _made_up(workers, rounds, random)


def _recorded(path: Path, workers: int, rounds: int, random: np.random.Generator) -> Fleet:
    """Let each worker follow one taxi from a fix drawn by lot, a recorded fix a round."""
    rows = read_recording(path).rows
    rows = rows[np.argsort(rows["worker"], kind="stable")]
    follows = np.flatnonzero(rows["worker"][: len(rows) - rounds + 1] == rows["worker"][rounds - 1 :])
    again = -(-workers // len(follows))
    starts = np.concatenate([random.permutation(follows) for _ in range(again)])[:workers]
    at = starts + np.arange(rounds)[:, None]
    source = f"real fixes of {path.name}: {workers:,} workers on {len(follows):,} recorded starts"
    return Fleet(source, rows["lat_e7"][at], rows["lng_e7"][at])


def _made_up(workers: int, rounds: int, random: np.random.Generator) -> Fleet:
    """Spread workers evenly over a square and let them stroll."""
    first = random.uniform(-_SPREAD_DEG, _SPREAD_DEG, (2, 1, workers))
    steps = random.normal(0, _STEP_DEG, (2, rounds, workers)).cumsum(axis=1)
    places = np.rint((first + steps + np.reshape(_CENTRE_DEG, (2, 1, 1))) * E7).astype(np.int32)
    return Fleet("made-up fixes (set CLENZY_DATA to the folder of the recordings)", places[0], places[1])

"""Sends a recording in the order of its file: what a phone does that was without a network and has its own mind.

The newest recorded fix becomes the present. Before anything is sent the time of fixes has run on for a while since
the workers went on duty, so that a part of what then comes out of order is late and not from before their duty.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from sim.replay.recording import Recording, Rows

BURST_FIXES: Final = 1_500
FIXES_PER_S: Final = 180
"""Of one phone; the gateway takes 2,000 at once and 200 a second."""
ON_DUTY_MS: Final = 12 * 3_600_000
"""Time of fixes between the beginning of duty and the first fix, less where the recording is shorter."""


def shift_to_now_ms(recording: Recording, now_ms: int) -> int:
    """Return what to add to recorded times so that the newest fix is now."""
    return now_ms - int(recording.rows["ts_ms"].max())


def on_duty_first_ms(recording: Recording) -> int:
    """Return for how long (time of fixes) workers are on duty before the first fix is sent."""
    times_ms = recording.rows["ts_ms"]
    return min(ON_DUTY_MS, int(times_ms.max() - times_ms.min()))


@dataclass(slots=True)
class Pace:
    """Which rows are due, by wall time since the first: as fast as the gateway takes them of one phone."""

    rows: Rows
    _own: list[Rows] = field(init=False)
    _sent: list[int] = field(init=False)

    def __post_init__(self) -> None:
        """Part the rows by worker, in the order of the file."""
        self._own = [self.rows[self.rows["worker"] == number] for number in np.unique(self.rows["worker"])]
        self._sent = [0] * len(self._own)

    @property
    def sent(self) -> int:
        """How many rows were handed out."""
        return sum(self._sent)

    @property
    def is_done(self) -> bool:
        """Whether all rows were handed out."""
        return self.sent == len(self.rows)

    def due(self, elapsed_s: float) -> Iterator[Rows]:
        """Yield for each worker the next rows that are due `elapsed_s` after the beginning."""
        until = BURST_FIXES + int(elapsed_s * FIXES_PER_S)
        for place, own in enumerate(self._own):
            batch = own[self._sent[place] : until]
            if len(batch):
                self._sent[place] += len(batch)
                yield batch

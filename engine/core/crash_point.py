"""Named places at which a test lets a process die, as a power cut would. In every other process they do nothing.

`CLENZY_CRASH_AT=after_spool_sync` kills at the first passing of that place, `CLENZY_CRASH_AT=after_spool_sync:3` at the
third. The variable is read once, when the process starts; it is no setting, and nothing that is installed sets it.
"""

import os
import signal
from typing import Final

VARIABLE: Final = "CLENZY_CRASH_AT"


class CrashPoints:
    """The place at which this process dies, if any."""

    def __init__(self, wish: str) -> None:
        self._name, _, number = wish.partition(":")
        self._passings_left = int(number or 1)

    def passing(self, name: str) -> None:
        """Kill this process here, if here is where it was to die: nothing is closed, flushed or answered."""
        if name != self._name:
            return
        self._passings_left -= 1
        if self._passings_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


_wish: Final = os.environ.get(VARIABLE, "")  # noqa: TID251 - no setting: no installation can want it
_points: Final = CrashPoints(_wish) if _wish else None


def crash_point(name: str) -> None:
    """Die here in a test that asks for it; else return."""
    if _points is not None:
        _points.passing(name)

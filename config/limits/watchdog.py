"""Who notices that the processes which alarms depend on have stopped working."""

from typing import Final

BEAT_MS: Final = 2_000
"""How often a process says that its parts work, and looks for peers that say so no more."""
BEAT_FRESH_MS: Final = 10_000
"""A part that did not get through its work for this long is not said to work: its loop hangs."""
BEAT_MISSED_MS: Final = 15_000
"""A part of which nothing was heard for this long is missing: desks, metrics and `clenzy doctor` say so."""
BEAT_KEPT_MS: Final = 3_600_000
"""A missing part that has not come back by then is forgotten: it was replaced under another name."""
WATCH_LATE_MS_MAX: Final = 30_000
"""While a step, or a first notice, is overdue by more, the watchdog outside is not told that all is well."""
OUTSIDE_PING_S: Final = 60
"""How often the watchdog outside is told, unless the installation says otherwise."""
OUTSIDE_RETRY_MS: Final = 5_000
"""A ping that was withheld, or that nobody took, is tried again after this long."""
OUTSIDE_TIMEOUT_MS: Final = 10_000
"""A ping that was not answered by then has failed."""

"""How the people of the city behave: delays, chances, and what follows what. Pure."""

import math
from dataclasses import dataclass
from typing import Final

NEXT_STATE: Final = {
    "assigned": "en_route",
    "en_route": "arrived",
    "arrived": "in_progress",
    "in_progress": "completed",
}
"""The worker's part of a booking's life cycle."""
ACTIVE_STATES: Final = frozenset(NEXT_STATE)
ENDED_STATES: Final = frozenset({"confirmed", "cancelled", "unserved"})
CANCELLABLE_STATES: Final = frozenset({"searching", "offered", "assigned", "en_route", "arrived"})

HOURLY_DEMAND: Final = (
    0.45, 0.40, 0.40, 0.40, 0.45, 0.55, 0.75, 1.05, 1.40, 1.55, 1.55, 1.45,
    1.30, 1.30, 1.35, 1.40, 1.40, 1.35, 1.25, 1.10, 0.95, 0.80, 0.65, 0.55,
)  # fmt: skip
"""Bookings of each hour of a local day relative to the mean: a working day with a morning peak. A choice, not a fit."""


@dataclass(frozen=True, slots=True)
class WorkerHabits:
    """How workers answer and work. Seconds are wall seconds."""

    accept_share: float = 0.88
    ignore_share: float = 0.03
    """Offers nobody looks at: they expire."""
    answer_s: tuple[float, float] = (1.5, 7.0)
    set_out_s: tuple[float, float] = (2.0, 8.0)
    at_door_s: tuple[float, float] = (4.0, 15.0)
    work_scale: float = 1 / 60
    """Wall time of a job as a share of the service's duration: an hour of cleaning takes a minute."""
    pause_s: tuple[float, float] = (5.0, 90.0)
    """How long somebody stands at an attractive place before driving on."""


@dataclass(frozen=True, slots=True)
class CustomerHabits:
    """How customers book and what they do afterwards. Seconds are wall seconds."""

    cancel_share: float = 0.06
    cancel_after_s: tuple[float, float] = (5.0, 90.0)
    confirm_after_s: tuple[float, float] = (2.0, 12.0)
    gives_up_s: float = 2_400.0
    """After this a customer stops watching; the booking is then no longer followed."""


def demand_factor(local_hour: float, profile: str) -> float:
    """Return the bookings of this hour relative to the mean; `flat` is always 1.

    Raises:
        ValueError: no such profile.
    """
    if profile == "flat":
        return 1.0
    if profile != "day":
        raise ValueError(f"no such profile: {profile}")
    before = math.floor(local_hour) % 24
    share = local_hour - math.floor(local_hour)
    mean = sum(HOURLY_DEMAND) / 24
    return ((1 - share) * HOURLY_DEMAND[before] + share * HOURLY_DEMAND[(before + 1) % 24]) / mean

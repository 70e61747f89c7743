"""What it costs to leave a booking for a later window, and how far it may look for somebody. Pure.

With hands to spare a booking prefers anybody in reach of its service to nobody: whoever is left over is of no use to
others. While hands are short each drive takes its minutes from a customer elsewhere. Then nobody is sent far, although
further the longer a booking has waited, so that none waits for ever; and to reach a customer late has its price, so
that a worker who can still be on time goes to the booking that would otherwise be late, not to the next in line.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from config.limits import REACH_GROWTH, SHORT_NEXT_MS, WEIGHT_MIN_MAX
from engine.core.units import MS_PER_MIN
from engine.matcher.assignment.crews import Mask
from engine.matcher.assignment.kernels import DoubleArray
from engine.matcher.assignment.window import DEFAULT_RULES, late_chance
from engine.matcher.assignment.window_seats import Seats, open_seats
from engine.matcher.cost_policy import CostWeights

UNSERVED_MIN: Final = 10.0 * WEIGHT_MIN_MAX
"""What staying without costs at least, with hands to spare: more than the dearest worker."""


def seats_of(
    weights: Sequence[CostWeights], waited_min: DoubleArray, extra_min: DoubleArray, *, is_short: Mask | bool
) -> Seats:
    """Return the seats of bookings that nobody has; one element each.

    `extra_min` is what the cheapest worker of a booking costs beside the drive: all its workers may cost that much, and
    it says nothing about whether to wait. `is_short` may differ: the desk's pin stands, however far its worker is.
    """
    late_after_min = np.array([each.on_time_min for each in weights], np.float64) - waited_min
    late_min = np.where(is_short, np.array([each.late_min for each in weights], np.float64), 0.0)
    reach_min = np.array([each.short_reach_min for each in weights], np.float64) + REACH_GROWTH * waited_min
    late = late_min * late_chance(SHORT_NEXT_MS / MS_PER_MIN - late_after_min, DEFAULT_RULES.late_spread_min)
    cap_min = np.array([each.eta_cap_min for each in weights], np.float64)
    plain = open_seats(
        unassigned_min=np.where(is_short, reach_min + extra_min + late, UNSERVED_MIN + waited_min),
        eta_cap_min=np.where(is_short, reach_min, cap_min),
    )
    return replace(plain, late_after_min=late_after_min, late_min=late_min)

"""What one booking's decision has to do with those of others. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from engine.matcher.assignment.window import WindowPlan, WindowRules, plan_window
from engine.matcher.assignment.window_seats import Candidates, Seats, Workers
from engine.matcher.frame import SlotArray


class Mode(StrEnum):
    """How a booking was given out."""

    IMMEDIATE = "immediate"
    """By itself, the moment it was due."""
    WINDOW = "window"
    """Together with what else was open, at the least cost for all."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WindowProblem:
    """The question that was put to the exact solver: seat i is the i-th booking, column j the worker of `slots[j]`."""

    seats: Seats
    candidates: Candidates
    workers: Workers
    slots: SlotArray
    now_ms: int
    rules: WindowRules

    def solve(self) -> WindowPlan:
        """Return the plan; the same problem has the same one each time."""
        return plan_window(self.seats, self.candidates, self.workers, now_ms=self.now_ms, rules=self.rules)


@dataclass(frozen=True, slots=True)
class GaveWay:
    """A worker who would have been cheaper for this booking than the one it got, and why that one went elsewhere."""

    slot: int
    cost_min: float
    more_min: float | None
    """What the one it got costs it more; `None`: it got nobody, or waits for somebody who is about to finish."""
    to_seat: int | None
    """Which booking of the window got them; `None`: none did."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Share:
    """A booking's part in a plan."""

    mode: Mode
    window_ms: int = 0
    """For how long bookings were collected; 0: these were open at the same moment anyway."""
    seat: int = 0
    outcome: str = "sent"
    """A value of `assignment.window.Outcome`."""
    solver_us: int = 0
    reserved_slot: int | None = None
    """The worker who is still at another job and worth waiting for."""
    gave_way: GaveWay | None = None
    problem: WindowProblem | None = None
    plan: WindowPlan | None = None

    @property
    def bookings(self) -> int:
        """How many bookings were decided together."""
        return 1 if self.problem is None else len(self.problem.seats.job)


ALONE: Final = Share(Mode.IMMEDIATE)

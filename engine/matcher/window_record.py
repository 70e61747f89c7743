"""The problem of a window as it is kept, once for all bookings that were decided together. Pure."""

from dataclasses import asdict, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from config.limits import WINDOW_RECORD_BYTES_MAX
from engine.matcher.assignment.window import Outcome, WindowPlan, WindowRules
from engine.matcher.assignment.window_seats import Candidates, Seats, Workers
from engine.matcher.packed import RecordError, pack, unpack
from engine.matcher.plan import WindowProblem

VERSION: Final = 2
WITHOUT_LATENESS: Final = 1
"""The version before lateness had a cost: its plans are made again without."""
SQUEEZED_MAX: Final = 64
"""A problem that would grow by more than this when it is opened is none of ours."""
_PARTS: Final[dict[str, Any]] = {"seats": Seats, "candidates": Candidates, "workers": Workers}
_PLAN: Final = ("worker", "arrival_min")


def encode_window(problem: WindowProblem, plan: WindowPlan) -> bytes | None:
    """Return the bytes of a problem and its plan; `None` where they are more than `limits.WINDOW_RECORD_BYTES_MAX`."""
    head = {
        "version": VERSION,
        "now_ms": problem.now_ms,
        "rules": asdict(problem.rules),
        "outcome": [each.value for each in plan.outcome],
        "short": {str(seat): name for seat, name in plan.short.items()},
        "total_min": float(plan.total_min).hex(),
        "bound_min": float(plan.bound_min).hex(),
    }
    data = pack(head, _arrays_of(problem, plan))
    return data if len(data) <= WINDOW_RECORD_BYTES_MAX else None


def decode_window(data: bytes) -> tuple[WindowProblem, WindowPlan]:
    """Return the problem and the plan that these bytes are.

    Raises:
        RecordError: they are none, or a byte is not as it was written.
    """
    head, arrays = unpack(data, bytes_max=SQUEEZED_MAX * WINDOW_RECORD_BYTES_MAX)
    try:
        if head["version"] == WITHOUT_LATENESS:
            arrays = _without_lateness(arrays)
        elif head["version"] != VERSION:
            raise RecordError(f"version {head['version']}, this program reads {VERSION}")
        parts = {
            part: kind(**{each.name: arrays[f"{part}.{each.name}"] for each in fields(kind)})
            for part, kind in _PARTS.items()
        }
        problem = WindowProblem(
            slots=arrays["slots"], now_ms=head["now_ms"], rules=WindowRules(**head["rules"]), **parts
        )
        plan = WindowPlan(
            **{name: arrays[f"plan.{name}"] for name in _PLAN},
            outcome=tuple(Outcome(each) for each in head["outcome"]),
            short={int(seat): name for seat, name in head["short"].items()},
            total_min=float.fromhex(head["total_min"]),
            bound_min=float.fromhex(head["bound_min"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RecordError(f"not a window of this version: {error}") from error
    return problem, plan


def replay_window(problem: WindowProblem, plan: WindowPlan) -> list[str]:
    """Solve a problem again and return what differs from its plan, to the bit."""
    again = problem.solve()
    differs = [name for name in _PLAN if not _same(getattr(plan, name), getattr(again, name))]
    differs += [
        name
        for name in ("outcome", "short", "total_min", "bound_min")
        if repr(getattr(plan, name)) != repr(getattr(again, name))
    ]
    return [f"window.{name}" for name in differs]


def _without_lateness(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    nothing = np.zeros(len(arrays["seats.job"]))
    known = {"seats.late_after_min": nothing, "seats.late_min": nothing}
    return arrays | known | {"workers.likely_at_ms": arrays["workers.free_at_ms"]}


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _arrays_of(problem: WindowProblem, plan: WindowPlan) -> dict[str, NDArray[Any]]:
    arrays = {
        f"{part}.{each.name}": np.asarray(getattr(getattr(problem, part), each.name))
        for part, kind in _PARTS.items()
        for each in fields(kind)
    }
    return arrays | {"slots": problem.slots} | {f"plan.{name}": getattr(plan, name) for name in _PLAN}

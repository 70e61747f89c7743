"""A decision made once more from its record, with the kernels of today, and compared bit by bit. Pure.

The functions are those by which it was made. Only the whole frame is not there: that nobody else of the organisation
was cheaper is what the record says, by its counts.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.matcher.assignment.window import Outcome, WindowPlan
from engine.matcher.cost_policy import CostWeights
from engine.matcher.decision import Circumstances, decide
from engine.matcher.decision_account import arrivals_of, question_of, record_of
from engine.matcher.decision_record import DecisionRecord, arrays_of
from engine.matcher.kernels import BASE_MIN
from engine.matcher.plan import Mode, WindowProblem
from engine.matcher.shortlist import shortlist_of
from engine.risk.score import Risk

UNNAMED: Final = Circumstances("", Risk(0.0, {}), 0, asks_again=False)
"""What a decision names and is not made from."""


def decide_again(record: DecisionRecord, weights: CostWeights) -> DecisionRecord:
    """Return the record of the same question decided now, under the weights that were in force then."""
    frame, ask, apart = question_of(record)
    asked = record.asked
    frame.matrix[BASE_MIN] = frame.fixed.sum(axis=0)
    listed = shortlist_of(frame, ask, apart, radius_m=asked.radius_m, weights=weights, k=asked.k, now_ms=asked.now_ms)
    arrivals = arrivals_of(record)
    if arrivals is not None and len(listed) != len(arrivals.eta_s):
        arrivals = None  # another shortlist than then: its rows will differ
    whose = dict(zip(record.rows.slots.tolist(), record.worker_ids, strict=True))
    return record_of(decide(listed, arrivals, UNNAMED), worker_id=whose.__getitem__)


def replay(record: DecisionRecord, weights: CostWeights) -> list[str]:
    """Decide again and return the names of what differs from the record, to the bit; empty: nothing.

    Whom a window sent is its plan's to say: `engine.matcher.window_record.replay_window`.
    """
    then, now = arrays_of(record), arrays_of(decide_again(record, weights))
    if record.share["mode"] == Mode.WINDOW:
        del then["ranked.to_ask"]
    return [name for name in then if not _same(then[name], now[name])]


def sent_by(record: DecisionRecord, problem: WindowProblem, plan: WindowPlan) -> bool:
    """Whether the one who is asked first is whom the plan of the window sends."""
    seat = record.share["seat"]
    assert isinstance(seat, int)
    column = int(plan.worker[seat])
    first = [int(record.rows.slots[row]) for row in record.ranked.to_ask[:1]]
    is_sent = plan.outcome[seat] is Outcome.SENT
    return first == ([int(problem.slots[column])] if is_sent else [])


def _same(then: NDArray[Any], now: NDArray[Any]) -> bool:
    is_alike = then.dtype == now.dtype and then.shape == now.shape
    return is_alike and then.tobytes() == np.ascontiguousarray(now).tobytes()

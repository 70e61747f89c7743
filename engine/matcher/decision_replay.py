"""A decision made once more from its record, with the kernels of today, and compared bit by bit. Pure.

The functions are those by which it was made. Only the whole frame is not there: that nobody else of the organisation
was cheaper is what the record says, by its counts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.matcher.cost_policy import CostWeights
from engine.matcher.decision import Decision, ranking_of, shortlist_of
from engine.matcher.decision_account import arrivals_of, question_of, record_of
from engine.matcher.decision_record import DecisionRecord, arrays_of
from engine.matcher.kernels import BASE_MIN


def decide_again(record: DecisionRecord, weights: CostWeights) -> DecisionRecord:
    """Return the record of the same question decided now, under the weights that were in force then."""
    frame, ask, apart = question_of(record)
    asked = record.asked
    frame.matrix[BASE_MIN] = frame.fixed.sum(axis=0)
    listed = shortlist_of(frame, ask, apart, radius_m=asked.radius_m, weights=weights, k=asked.k, now_ms=asked.now_ms)
    arrivals = arrivals_of(record)
    if arrivals is not None and len(listed) != len(arrivals.eta_s):
        arrivals = None  # another shortlist than then: its rows will differ
    ranking = ranking_of(listed, arrivals)
    whose = dict(zip(record.rows.slots.tolist(), record.worker_ids, strict=True))
    return record_of(Decision(listed, arrivals, ranking, ranking.ranked), worker_id=whose.__getitem__)


def replay(record: DecisionRecord, weights: CostWeights) -> list[str]:
    """Decide again and return the names of what differs from the record, to the bit; empty: nothing."""
    then, now = arrays_of(record), arrays_of(decide_again(record, weights))
    return [name for name in then if not _same(then[name], now[name])]


def _same(then: NDArray[Any], now: NDArray[Any]) -> bool:
    is_alike = then.dtype == now.dtype and then.shape == now.shape
    return is_alike and then.tobytes() == np.ascontiguousarray(now).tobytes()

"""The problem of a window is kept so that it can be solved again, to the bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.limits import WINDOW_RECORD_BYTES_MAX
from engine.matcher.assignment.window import WindowRules
from engine.matcher.assignment.window_seats import Candidates, Workers, open_seats
from engine.matcher.packed import RecordError, pack, unpack
from engine.matcher.plan import WindowProblem
from engine.matcher.window_record import decode_window, encode_window, replay_window

NOW_MS = 1_700_000_000_000


def window(seed: int, seats: int, workers: int) -> WindowProblem:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, min(workers, 30) + 1, seats) if workers else np.zeros(seats, np.int64)
    worker = [np.sort(rng.choice(workers, count, replace=False)) for count in counts.tolist()] if workers else []
    listed = np.concatenate([*worker, np.zeros(0, np.int64)]).astype(np.int32)
    free_at_ms = NOW_MS + rng.integers(-5, 900_000, workers)
    plain = open_seats(rng.uniform(600, 700, seats), rng.uniform(5, 60, seats))
    return WindowProblem(
        seats=replace(plain, late_after_min=rng.uniform(-5, 15, seats), late_min=rng.uniform(0, 20, seats)),
        candidates=Candidates(
            start=np.concatenate(([0], np.cumsum(counts))).astype(np.int32),
            worker=listed,
            cost_min=rng.uniform(0, 60, len(listed)),
            drive_min=rng.uniform(0, 60, len(listed)),
        ),
        workers=Workers(free_at_ms, rng.uniform(0, 3, workers), free_at_ms + rng.integers(0, 900_000, workers)),
        slots=np.sort(rng.choice(10_000, workers, replace=False)).astype(np.int64),
        now_ms=NOW_MS,
        rules=WindowRules(),
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(0, 20), st.data())
@settings(deadline=None)
def test_a_window_is_read_back_and_solved_again(seed: int, seats: int, workers: int, data: st.DataObject) -> None:
    problem = window(seed, seats, workers)
    plan = problem.solve()
    raw = encode_window(problem, plan)
    assert raw is not None
    read, said = decode_window(raw)
    assert replay_window(read, said) == []
    assert (said.outcome, said.total_min, said.worker.tobytes()) == (
        plan.outcome,
        plan.total_min,
        plan.worker.tobytes(),
    )
    changed = bytearray(raw)
    changed[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RecordError):
        decode_window(bytes(changed))
    other = replace(said, worker=said.worker + 1)
    assert replay_window(read, other) == ["window.worker"]


def test_a_window_of_before_lateness_had_a_cost_is_made_again_without() -> None:
    problem = window(5, 8, 12)
    without = replace(problem, seats=open_seats(problem.seats.unassigned_min, problem.seats.eta_cap_min))
    plan = without.solve()
    raw = encode_window(without, plan)
    assert raw is not None
    head, arrays = unpack(raw, bytes_max=WINDOW_RECORD_BYTES_MAX)
    new = {"seats.late_after_min", "seats.late_min", "workers.likely_at_ms"}
    kept = {name: array for name, array in arrays.items() if name not in new}
    rules = {name: value for name, value in head["rules"].items() if not name.startswith("late_")}
    old = pack({**head, "version": 1, "rules": rules}, kept)
    assert replay_window(*decode_window(old)) == []
    with pytest.raises(RecordError):
        decode_window(pack({**head, "version": 3}, arrays))


def test_a_window_that_is_too_large_is_not_kept() -> None:
    small, plan = window(1, 2, 3), window(1, 2, 3).solve()
    noise = np.random.default_rng(1).uniform(0, 1, WINDOW_RECORD_BYTES_MAX // 4)
    large = replace(small, candidates=replace(small.candidates, cost_min=noise))
    assert encode_window(large, plan) is None

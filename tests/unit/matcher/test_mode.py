import dataclasses

import pytest

from config.limits import WINDOW_BUSY_MS, WINDOW_MS
from engine.matcher.assignment.mode import Pressure, window_ms

CALM = Pressure(bookings_per_min=1.0, job_min=40.0, workers=100, waiting=0, free=60)


def at_load(load: float) -> Pressure:
    return dataclasses.replace(CALM, bookings_per_min=load * CALM.workers / CALM.job_min)


def test_the_load_is_work_asked_for_over_hands() -> None:
    assert CALM.load == pytest.approx(0.4)
    assert at_load(1.15).load == pytest.approx(1.15)


@pytest.mark.parametrize(
    ("load", "from_immediate", "from_window"),
    [(0.3, 0, 0), (0.55, 0, WINDOW_MS), (0.8, WINDOW_MS, WINDOW_MS), (1.0, WINDOW_BUSY_MS, WINDOW_BUSY_MS)],
)
def test_mode_by_load(load: float, from_immediate: int, from_window: int) -> None:
    assert window_ms(at_load(load), now_in_window_mode=False) == from_immediate
    assert window_ms(at_load(load), now_in_window_mode=True) == from_window


def test_more_bookings_than_free_hands_is_pressure_whatever_the_average_says() -> None:
    assert window_ms(dataclasses.replace(CALM, waiting=5, free=4), now_in_window_mode=False) == WINDOW_BUSY_MS


def test_nobody_on_duty() -> None:
    assert Pressure(0.0, 40.0, 0, 0, 0).load == 0
    assert Pressure(0.0, 40.0, 0, 1, 0).load == float("inf")

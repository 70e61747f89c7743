"""How often a phone is asked to send, and that it is told only what changed."""

import numpy as np
import pytest

from config import limits
from engine.core.vocabulary import FixFlag
from engine.geo.worker_table import WorkerTable
from gateway_ws.cadence import Cadence, Cadences

IDLE, JOB = limits.CADENCE_IDLE_MS, limits.CADENCE_JOB_MS
PARKED, LOW = limits.CADENCE_PARKED_MS, limits.CADENCE_LOW_BATTERY_MS
SLOT = 3


class Phone:
    """One worker's row, and what the phone was told."""

    def __init__(self, slot: int = SLOT) -> None:
        self.slot = slot
        self.table = WorkerTable()
        self.table.set_duty(slot, 0)
        self.cadences = Cadences(self.table)
        self.say(battery_pct=80)

    def say(self, *, battery_pct: int, still_ms: int = 0, is_charging: bool = False) -> None:
        row = self.table.last[self.slot]
        row["ts_ms"], row["battery_pct"] = 1_000_000, battery_pct
        row["flags"] = FixFlag.CHARGING if is_charging else 0
        self.table.moved_ms[self.slot] = 1_000_000 - still_ms

    def tune(self, *, has_job: bool = False) -> tuple[int, bool]:
        told = self.cadences.tune(np.array([self.slot]), np.array([has_job]))
        return self.cadences.of(self.slot).cadence_ms, bool(len(told))


@pytest.mark.parametrize(
    ("has_job", "battery_pct", "still_ms", "cadence_ms"),
    [
        (False, 80, 0, IDLE),
        (True, 80, 0, JOB),
        (False, 80, limits.PARKED_AFTER_MS - 1, IDLE),
        (False, 80, limits.PARKED_AFTER_MS, PARKED),
        (True, 80, limits.PARKED_AFTER_MS, IDLE),
        (False, limits.BATTERY_LOW_PCT, 0, LOW),
        (False, limits.BATTERY_LOW_PCT + 1, 0, IDLE),
        (True, limits.BATTERY_LOW_PCT, 0, IDLE),
        (False, 255, 0, IDLE),
    ],
)
def test_who_sends_how_often(*, has_job: bool, battery_pct: int, still_ms: int, cadence_ms: int) -> None:
    phone = Phone()
    phone.say(battery_pct=battery_pct, still_ms=still_ms)
    assert phone.tune(has_job=has_job) == (cadence_ms, True)
    assert phone.tune(has_job=has_job) == (cadence_ms, False), "told once"


def test_a_battery_around_its_limit_does_not_flap() -> None:
    phone, told = Phone(), []
    for battery_pct in (16, 15, 16, 19, 15, 20, 16, 15):
        phone.say(battery_pct=battery_pct)
        told.append(phone.tune())
    assert [cadence for cadence, is_told in told if is_told] == [IDLE, LOW, IDLE, LOW]
    phone.say(battery_pct=15, is_charging=True)
    assert phone.tune() == (IDLE, True)


def test_with_a_job_every_fix_is_sent_at_once_and_without_one_they_are_gathered() -> None:
    phone = Phone()
    phone.tune(has_job=True)
    assert phone.cadences.of(SLOT).as_dict() == {"cadence_ms": JOB}
    phone.tune(has_job=False)
    assert phone.cadences.of(SLOT) == Cadence(IDLE, limits.CADENCE_BATCH_MS)
    assert phone.cadences.of(SLOT).as_dict() == {"cadence_ms": IDLE, "batch_ms": limits.CADENCE_BATCH_MS}


def test_a_worker_on_the_move_is_asked_for_more_at_once() -> None:
    phone = Phone(slot=5_000)
    phone.say(battery_pct=80, still_ms=limits.PARKED_AFTER_MS)
    assert phone.tune() == (PARKED, True)
    phone.say(battery_pct=80)
    assert phone.tune() == (IDLE, True)


@pytest.mark.parametrize("duty_since_ms", [0, None])
def test_an_alarm_changes_no_cadence(duty_since_ms: int | None) -> None:
    phone = Phone()
    phone.table.set_duty(SLOT, duty_since_ms)
    before = phone.tune()[0]
    phone.table.set_alarm(SLOT, 0)
    assert phone.tune() == (before, False)


def test_off_duty_and_before_the_first_fix_nothing_is_known() -> None:
    phone = Phone()
    phone.table.set_duty(SLOT, None)
    for battery_pct, still_ms in ((80, 0), (3, 0), (80, 10 * limits.PARKED_AFTER_MS)):
        phone.say(battery_pct=battery_pct, still_ms=still_ms)
        assert phone.tune()[0] == IDLE
    phone.table.last[SLOT] = 0
    phone.table.set_duty(SLOT, 0)
    assert phone.tune()[0] == IDLE


def test_what_only_an_alarm_let_count_is_not_looked_at_on_duty_either() -> None:
    phone = Phone()
    phone.say(battery_pct=3, still_ms=10 * limits.PARKED_AFTER_MS)
    phone.table.last[SLOT]["flags"] |= FixFlag.OFF_DUTY
    phone.table.set_duty(SLOT, 1_000_000)
    assert phone.tune()[0] == IDLE

"""What an installation chooses reaches the rules, in their units; a replay's clock tells the time of a past instant."""

import pytest
from pydantic import ValidationError

from config.settings import Settings
from engine.core.clock import ScaledClock
from engine.geo.acceptance import RULES
from engine.wiring import acceptance_rules
from tests.fakes import ManualClock


def test_without_a_choice_the_rules_are_those_of_the_limits() -> None:
    assert acceptance_rules(Settings()) == RULES


@pytest.mark.parametrize(
    ("setting", "value", "rule", "expected"),
    [
        ("fix_future_ms_max", 5_000, "future_ms", 5_000),
        ("fix_age_ms_max", 3_600_000, "age_ms", 3_600_000),
        ("fix_accuracy_m_max", 50, "accuracy_dm", 500),
        ("fix_speed_mps_max", 20, "speed_m_per_ms", 0.02),
        ("fix_jump_slack_m", 0, "slack_m", 0.0),
        ("fix_static_radius_m", 0, "static_m", 0.0),
        ("fix_distance_m_min", 5, "distance_m", 5.0),
        ("fix_period_ms_min", 900, "period_ms", 900),
    ],
)
def test_each_choice_changes_its_rule_alone(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: int, rule: str, expected: float
) -> None:
    monkeypatch.setenv(f"CLENZY_{setting.upper()}", str(value))
    assert acceptance_rules(Settings()) == RULES._replace(**{rule: expected})


@pytest.mark.parametrize(("setting", "value"), [("FIX_SPEED_MPS_MAX", "0"), ("FIX_PERIOD_MS_MIN", "30001")])
def test_a_choice_that_would_lose_workers_is_refused(monkeypatch: pytest.MonkeyPatch, setting: str, value: str) -> None:
    monkeypatch.setenv(f"CLENZY_{setting}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_a_faster_clock_tells_the_time_of_an_instant_of_the_wall() -> None:
    wall = ManualClock(10_000)
    clock = ScaledClock(wall, scale=60, epoch_ms=4_000)
    assert clock.at_ms(4_000) == 4_000
    assert clock.at_ms(5_000) == 64_000
    assert clock.at_ms(wall.now_ms()) == clock.now_ms() == 364_000

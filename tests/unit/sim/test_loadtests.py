"""How a load run is judged."""

from pathlib import Path

import pytest

from loadtests.measurements import Measurement, Measurements
from loadtests.verdict import Row, Targets, judge

TARGETS = Targets(errors_max=0, p99_ms={"book": 100.0, "ping": 10.0})


def row(name: str, *, p99_ms: float = 5.0, failures: int = 0) -> Row:
    return Row(name, 10, failures, 1.0, p99_ms)


def test_a_run_without_errors_passes_even_where_it_was_slow() -> None:
    verdict = judge([row("ping", p99_ms=50.0), row("book"), row("other")], TARGETS)
    assert verdict.passes
    assert {judged["row"]: judged["met"] for judged in verdict.rows} == {"book": True, "other": None, "ping": False}


def test_one_error_fails_the_run() -> None:
    verdict = judge([row("ping"), row("book", failures=1)], TARGETS)
    assert not verdict.passes
    assert verdict.errors == 1


def test_a_run_that_did_not_do_its_work_fails() -> None:
    assert judge([row("ping")], TARGETS).unexercised == ("book",)
    assert not judge([row("ping"), row("book", failures=10)], TARGETS).passes


def test_the_targets_on_file_are_whole() -> None:
    targets = Targets.read()
    assert targets.errors_max == 0
    assert "ping to cell" in targets.p99_ms


def test_targets_without_a_gate_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text("[p99_ms]\nbook = 1\n")
    with pytest.raises(ValueError, match="gate"):
        Targets.read(file)


def test_measurements_cross_in_order_and_a_failure_is_one() -> None:
    measurements = Measurements()
    measurements.add("a", 1.0)
    with measurements.timed("b"):
        pass
    failure = RuntimeError("no")
    with pytest.raises(RuntimeError), measurements.timed("c"):
        raise failure
    first, second, third = measurements.drain()
    assert first == Measurement("a", 1.0)
    assert (second.name, second.failure) == ("b", None)
    assert (third.name, third.failure) == ("c", failure)
    assert list(measurements.drain()) == []

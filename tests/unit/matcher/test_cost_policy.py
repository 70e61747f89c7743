"""A policy's file: what it may say, what is said of a wrong one, and that a wrong one changes nothing."""

import tomllib
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from clenzy.doctor import Verdict, check_cost_policy
from engine.matcher.cost_policy import DEFAULT_POLICY, WEIGHT_NAMES, CostWeights, PolicyError, parse_policy
from engine.matcher.policy_watch import SHIPPED, PolicyWatch, read_policy
from tests.fakes import ManualClock

ORG, SERVICE, OTHER = (UUID(int=each) for each in (1, 2, 3))


def said(**changes: object) -> dict[str, object]:
    return {"name": "own", "version": 3, **changes}


def test_the_shipped_file_says_what_is_built_in_and_names_every_weight():
    assert read_policy(SHIPPED) == DEFAULT_POLICY
    assert set(tomllib.loads(SHIPPED.read_text())["weights"]) == set(WEIGHT_NAMES)


def test_a_service_goes_before_its_organisation_and_the_rest_is_the_policys():
    policy = parse_policy(
        said(
            weights={"rating_min_per_star": 2},
            organisations={str(ORG): {"parts_min": 1}},
            services={str(SERVICE): {"parts_min": 7.5}},
        )
    )
    assert policy.label == "own@3"
    assert policy.weights_for(OTHER) == CostWeights(rating_min_per_star=2)
    assert policy.weights_for(ORG, OTHER) == CostWeights(rating_min_per_star=2, parts_min=1)
    assert policy.weights_for(ORG, SERVICE).parts_min == 7.5


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"weights": {"parts_min": -1}}, ["weights.parts_min", "negative"]),
        ({"weights": {"parts_min": float("nan")}}, ["weights.parts_min", "finite"]),
        ({"weights": {"parts_min": True}}, ["weights.parts_min", "finite"]),
        ({"weights": {"parts_min": 601}}, ["weights.parts_min", "above 600"]),
        ({"weights": {"fairness_idle_s": 0}}, ["weights.fairness_idle_s", "above zero"]),
        ({"weights": {"safety_hold": 1}}, ["weights.safety_hold", "unknown"]),
        ({"weights": 1}, ["weights", "table"]),
        ({"organisations": {"us": {}}}, ["organisations.us", "UUID"]),
        ({"services": []}, ["services", "table"]),
        ({"version": 0}, ["version", "from 1 on"]),
        ({"name": "No spaces"}, ["name", "lower-case"]),
        ({"weight": {}}, ["weight", "unknown"]),
        ({"version": "1", "weights": {"parts_min": "much"}}, ["version", "weights.parts_min"]),
    ],
)
def test_a_wrong_policy_is_refused_by_field_and_rule(wrong: dict[str, object], words: list[str]):
    with pytest.raises(PolicyError) as refused:
        parse_policy(said(**wrong))
    assert [word for word in words if word not in str(refused.value)] == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WEIGHT_NAMES, "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["name", "version", "weights", "organisations", "services", "x"]), JSON))
def test_anything_else_is_refused_and_nothing_else_is_raised(anything: dict[str, object]):
    try:
        policy = parse_policy(anything)
    except PolicyError:
        return
    assert min(getattr(policy.weights, name) for name in WEIGHT_NAMES) >= 0


def test_a_wrong_file_keeps_the_policy_in_force_until_it_is_mended(tmp_path: Path):
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\nversion = 1\n')
    watch = PolicyWatch(path, clock=ManualClock())
    watch.load()
    good = watch.policy
    assert good.label == "own@1"
    for wrong in ('name = "own"\nversion = 2\n[weights]\nparts_min = -4\n', "name = ", "\udcff"):
        path.write_bytes(wrong.encode(errors="surrogateescape"))
        with capture_logs() as logs:
            assert watch.load_if_changed()
        assert watch.policy is good
        assert watch.problem is not None
        assert "own.toml" in watch.problem
        assert [(each["event"], each["kept"]) for each in logs] == [("cost_policy.wrong", "own@1")]
    path.unlink()
    assert watch.load_if_changed()
    assert watch.policy is good
    path.write_text('name = "own"\nversion = 12\n')
    assert watch.load_if_changed()
    assert not watch.load_if_changed()
    assert (watch.policy.label, watch.problem) == ("own@12", None)


@pytest.mark.parametrize(
    "text",
    [
        'name = "own"\nversion = 99999999999999999999\n',
        'name = "own"\nversion = 1\n[weights]\nrating_min_per_star = 1' + "0" * 400,
        'name = "own"\nversion = 1\ndeep = ' + "[" * 5_000,
        'name = "own"\nversion = 1\ndeep = ' + "{a = " * 5_000,
    ],
    ids=["version", "weight", "lists", "tables"],
)
def test_what_no_program_can_read_is_a_wrong_file_too(tmp_path: Path, text: str):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyError):
        read_policy(path)
    watch = PolicyWatch(path, clock=ManualClock())
    watch.load()
    assert (watch.policy, watch.problem is not None) == (DEFAULT_POLICY, True)


def test_the_doctor_names_a_wrong_file(tmp_path: Path):
    assert check_cost_policy(SHIPPED).verdict is Verdict.OK
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\nversion = 1\n[weights]\nparts_min = -4\n')
    finding = check_cost_policy(path)
    assert finding.verdict is Verdict.WARN
    assert "own.toml: weights.parts_min" in finding.found

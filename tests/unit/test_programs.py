"""The process table: what runs several times."""

import pytest
from pydantic import ValidationError

from clenzy.programs import MATCHER, ROLES, side_by_side
from config.limits import MATCHER_PROCESSES_MAX, REGION_RESOLUTION_MAX
from config.settings import Settings


def test_matchers_run_side_by_side_each_with_a_port_of_its_own() -> None:
    (role,) = (role for role in ROLES if role.name == MATCHER)
    programs = side_by_side(role, Settings(matcher_processes=3, matcher_region_resolution=5), [8091, 8092, 8093])
    assert [program.name for program in programs] == ["matcher#1", "matcher#2", "matcher#3"]
    environments = [program.command.env for program in programs]
    assert [env["CLENZY_OPS_PORT"] for env in environments if env is not None] == ["8091", "8092", "8093"]
    assert {env["CLENZY_MATCHER_REGION_RESOLUTION"] for env in environments if env is not None} == {"5"}
    assert [program.name for program in side_by_side(role, Settings(), [8091])] == ["matcher"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("matcher_processes", 0),
        ("matcher_processes", MATCHER_PROCESSES_MAX + 1),
        ("matcher_region_resolution", 2),
        ("matcher_region_resolution", REGION_RESOLUTION_MAX + 1),
    ],
)
def test_what_matchers_cannot_share_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({name: value})

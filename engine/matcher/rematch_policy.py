"""Whether, when and how often a job on the way may go to another worker: a part of the cost policy's file. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from config.limits import REMATCH_NEAR_MS, REMATCH_POLICY_MIN_MAX, REMATCHES_MAX
from engine.core.units import MS_PER_MIN

NEAR_MIN_LEAST: Final = REMATCH_NEAR_MS // MS_PER_MIN


@dataclass(frozen=True, slots=True)
class RematchPolicy:
    """All but the first are whole minutes. The words beside each are in config/matching/standard.toml."""

    times_max: int = 0
    late_min: int = 10
    stuck_min: int = 6
    gain_min: int = 8
    better_min: int = 0
    near_min: int = 5


DEFAULT_REMATCH_POLICY: Final = RematchPolicy()
NAMES: Final = tuple(each.name for each in fields(RematchPolicy))
LEAST: Final[Mapping[str, int]] = {"gain_min": 1, "near_min": NEAR_MIN_LEAST}
"""Where zero is not a choice."""


def parse_rematch(said: object, problems: list[str]) -> RematchPolicy:
    """Return what the table `rematch` of a policy's file says; what breaks a rule is added to `problems`."""
    if not isinstance(said, Mapping):
        problems.append("rematch: a table")
        return DEFAULT_REMATCH_POLICY
    problems += [f"rematch.{name}: unknown; there are {', '.join(NAMES)}" for name in said if name not in NAMES]
    broken = [f"rematch.{name}: {rule}" for name in NAMES if name in said and (rule := _rule(name, said[name]))]
    problems += broken
    if broken:
        return DEFAULT_REMATCH_POLICY
    policy = rematch_from(said)
    if 0 < policy.better_min < policy.gain_min:
        problems.append("rematch.better_min: 0, or no less than gain_min: nobody is late then")
    return policy


def rematch_from(said: Mapping[str, object]) -> RematchPolicy:
    """Return the policy of checked numbers, as they come from TOML or JSON; what is left out is the default's."""
    return RematchPolicy(**{name: value for name in NAMES if isinstance(value := said.get(name), int)})


def _rule(name: str, value: object) -> str | None:
    least = LEAST.get(name, 0)
    most = REMATCHES_MAX if name == "times_max" else REMATCH_POLICY_MIN_MAX
    is_good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    return None if is_good else f"a whole number from {least} to {most}"

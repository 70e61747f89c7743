"""What counts how much: a named, versioned set of weights. Pure: what a file says in, a frozen policy or a reason out.

All terms of a cost are minutes and none is negative. Hard rules are no weights: they are bits of a mask
(`engine.matcher.frame`), and no policy can switch one off.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Final
from uuid import UUID

import orjson

from config.limits import WEIGHT_MIN_MAX
from engine.matcher.offer_policy import DEFAULT_OFFER_POLICY, OfferPolicy, offers_from, parse_offers
from engine.matcher.rematch_policy import DEFAULT_REMATCH_POLICY, RematchPolicy, parse_rematch, rematch_from

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
FULL_MARKS: Final = frozenset({
    "fairness_idle_s", "workload_jobs_full", "earnings_full_minor", "battery_low_pct", "fix_fresh_s",
})  # fmt: skip
"""Weights that say where a term is at its full or at none; the rest are minutes."""
ABOVE_ZERO: Final = (FULL_MARKS - {"fix_fresh_s"}) | {"eta_cap_min", "on_time_min", "short_reach_min"}
MARK_MAX: Final = 1e9
VERSION_MAX: Final = 10**15 - 1
"""Every program reads a number of JSON of so many digits exactly."""


class PolicyError(ValueError):
    """A policy that cannot be used; the text names each field and the rule that it breaks."""


@dataclass(frozen=True, slots=True)
class CostWeights:
    """What a term is worth in minutes of drive. The words beside each are in config/matching/standard.toml."""

    rating_min_per_star: float = 1.4
    fairness_min: float = 3.0
    fairness_idle_s: float = 3600.0
    workload_min: float = 3.0
    workload_jobs_full: float = 8.0
    earnings_min: float = 2.0
    earnings_full_minor: float = 20_000.0
    acceptance_min: float = 8.0
    level_gap_min: float = 15.0
    parts_min: float = 12.0
    language_min: float = 5.0
    preference_min: float = 6.0
    overtime_min_per_min: float = 0.5
    battery_min: float = 4.0
    battery_low_pct: float = 20.0
    risk_gap_min: float = 18.0
    fix_age_min_per_s: float = 0.02
    fix_fresh_s: float = 10.0
    eta_cap_min: float = 45.0
    on_time_min: float = 15.0
    late_min: float = 15.0
    short_reach_min: float = 11.0


WEIGHT_NAMES: Final = tuple(each.name for each in fields(CostWeights))
DEFAULT_WEIGHTS: Final = CostWeights()


@dataclass(frozen=True, slots=True)
class CostPolicy:
    """A policy as a decision was made by it."""

    name: str = "standard"
    version: int = 1
    weights: CostWeights = DEFAULT_WEIGHTS
    organisations: Mapping[UUID, CostWeights] = field(default_factory=dict)
    """Whole weights of organisations with some of their own."""
    services: Mapping[UUID, CostWeights] = field(default_factory=dict)
    offers: OfferPolicy = DEFAULT_OFFER_POLICY
    """How many are asked, how far away, and for how long."""
    rematch: RematchPolicy = DEFAULT_REMATCH_POLICY
    """Whether a job on the way may go to another worker."""

    @property
    def label(self) -> str:
        """What a decision's log names: `name@version`."""
        return f"{self.name}@{self.version}"

    def weights_for(self, org_id: UUID, service_id: UUID | None = None) -> CostWeights:
        """Return the weights of a service's own, else of the organisation's own, else the policy's."""
        of_org = self.organisations.get(org_id, self.weights)
        return of_org if service_id is None else self.services.get(service_id, of_org)


DEFAULT_POLICY: Final = CostPolicy()


def parse_policy(said: Mapping[str, object]) -> CostPolicy:
    """Return the policy that a file says.

    Raises:
        PolicyError: it breaks a rule; all problems are named at once.
    """
    problems = [f"{name}: unknown" for name in said if name not in _PARTS]
    name, version = said.get("name"), said.get("version")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        problems.append("name: lower-case letters, digits and hyphens, 32 at most, a letter first")
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= VERSION_MAX:
        problems.append("version: a whole number from 1 on, of 15 digits at most")
    weights = _weights(said.get("weights", {}), DEFAULT_WEIGHTS, "weights", problems)
    own = {place: _own(said.get(place, {}), weights, place, problems) for place in _OVERRIDES}
    offers = parse_offers(said.get("offers", {}), problems)
    rematch = parse_rematch(said.get("rematch", {}), problems)
    if problems:
        raise PolicyError("; ".join(problems))
    assert isinstance(name, str)
    assert isinstance(version, int)
    return CostPolicy(name, version, weights, own["organisations"], own["services"], offers, rematch)


def policy_text(policy: CostPolicy) -> str:
    """Return all of a policy as canonical JSON: equal policies have equal texts."""
    said = {place: {str(key): asdict(own) for key, own in getattr(policy, place).items()} for place in _OVERRIDES}
    parts = {name: asdict(getattr(policy, name)) for name in ("weights", "offers", "rematch")}
    whole = {"name": policy.name, "version": policy.version, **parts, **said}
    return orjson.dumps(whole, option=orjson.OPT_SORT_KEYS).decode()


def policy_from_text(text: str) -> CostPolicy:
    """Return the policy of a `policy_text`; of weights that came or went since, today's names with today's defaults."""
    said = orjson.loads(text)

    def weights(own: Mapping[str, float]) -> CostWeights:
        return CostWeights(**{name: own[name] for name in WEIGHT_NAMES if name in own})

    own = {place: {UUID(key): weights(each) for key, each in said[place].items()} for place in _OVERRIDES}
    return CostPolicy(
        said["name"],
        said["version"],
        weights(said["weights"]),
        own["organisations"],
        own["services"],
        offers_from(said.get("offers", {})),
        rematch_from(said.get("rematch", {})),
    )


_OVERRIDES: Final = ("organisations", "services")
_PARTS: Final = ("name", "version", "weights", "offers", "rematch", *_OVERRIDES)


def _own(said: object, base: CostWeights, place: str, problems: list[str]) -> dict[UUID, CostWeights]:
    if not isinstance(said, Mapping):
        problems.append(f"{place}: a table of tables, one for each id")
        return {}
    found = {}
    for key, part in said.items():
        try:
            found[UUID(key)] = _weights(part, base, f"{place}.{key}", problems)
        except ValueError:
            problems.append(f"{place}.{key}: not a UUID")
    return found


def _weights(said: object, base: CostWeights, place: str, problems: list[str]) -> CostWeights:
    if not isinstance(said, Mapping):
        problems.append(f"{place}: a table of weights")
        return base
    good: dict[str, float] = {}
    for name, value in said.items():
        rule = _broken_rule(name, value)
        if rule is None:
            good[name] = float(value)
        else:
            problems.append(f"{place}.{name}: {rule}")
    return replace(base, **good)


def _broken_rule(name: str, value: object) -> str | None:
    if name not in WEIGHT_NAMES:
        return "unknown; the weights are " + ", ".join(WEIGHT_NAMES)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "a finite number"
    if isinstance(value, float) and not math.isfinite(value):  # a whole number may be too long to be asked
        return "a finite number"
    if value < 0:
        return f"{value} is negative: a search stops where nobody beyond can be cheaper, so no term may be below zero"
    if name in ABOVE_ZERO and value == 0:
        return "must be above zero"
    most = MARK_MAX if name in FULL_MARKS else WEIGHT_MIN_MAX
    return None if value <= most else f"above {most:g}"

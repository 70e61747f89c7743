"""How a booking asks, round by round: a part of the cost policy's file. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Final

from config.limits import (
    OFFER_ANSWER_S_MAX,
    OFFER_ANSWER_S_MIN,
    OFFER_ROUNDS_MAX,
    OFFER_TTL_MS,
    OFFERS_AT_ONCE_MAX,
    SEARCH_RADIUS_M_MAX,
    SEARCH_RADIUS_M_MIN,
)
from engine.core.units import MS_PER_S


@dataclass(frozen=True, slots=True)
class OfferPolicy:
    """How a booking asks; the last number of a row stands for all later rounds."""

    at_once: tuple[int, ...] = (1, 1, 2, 3)
    """Workers who are asked together."""
    radius_m: tuple[int, ...] = (8_000, SEARCH_RADIUS_M_MAX)
    """How far away they are, as the crow flies."""
    answer_s: int = OFFER_TTL_MS // MS_PER_S
    """An unanswered offer expires after this long."""


DEFAULT_OFFER_POLICY: Final = OfferPolicy()
NAMES: Final = tuple(each.name for each in fields(OfferPolicy))


def parse_offers(said: object, problems: list[str]) -> OfferPolicy:
    """Return what the table `offers` of a policy's file says; what breaks a rule is added to `problems`."""
    if not isinstance(said, Mapping):
        problems.append("offers: a table")
        return DEFAULT_OFFER_POLICY
    problems += [f"offers.{name}: unknown; there are {', '.join(NAMES)}" for name in said if name not in NAMES]
    for name, rule in _RULES.items():
        broken = rule(said[name]) if name in said else None
        if broken is not None:
            problems.append(f"offers.{name}: {broken}")
    return DEFAULT_OFFER_POLICY if problems else offers_from(said)


def offers_from(said: Mapping[str, object]) -> OfferPolicy:
    """Return the policy of checked numbers, as they come from TOML or JSON; what is left out is the default's."""
    known = DEFAULT_OFFER_POLICY
    answer_s = said.get("answer_s", known.answer_s)
    assert isinstance(answer_s, int)
    return OfferPolicy(_ints(said.get("at_once", known.at_once)), _ints(said.get("radius_m", known.radius_m)), answer_s)


def _ints(row: object) -> tuple[int, ...]:
    assert isinstance(row, list | tuple)
    return tuple(int(each) for each in row)


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _row(least: int, most: int) -> Callable[[object], str | None]:
    def rule(value: object) -> str | None:
        if not isinstance(value, list) or not 1 <= len(value) <= OFFER_ROUNDS_MAX:
            return f"a list of 1 to {OFFER_ROUNDS_MAX} numbers, one a round"
        if not all(_whole(each, least, most) for each in value):
            return f"whole numbers from {least} to {most}"
        return None if value == sorted(value) else "later rounds never ask fewer, nor look less far"

    return rule


def _answer(value: object) -> str | None:
    is_good = _whole(value, OFFER_ANSWER_S_MIN, OFFER_ANSWER_S_MAX)
    return None if is_good else f"whole seconds from {OFFER_ANSWER_S_MIN} to {OFFER_ANSWER_S_MAX}"


_RULES: Final[Mapping[str, Callable[[object], str | None]]] = {
    "at_once": _row(1, OFFERS_AT_ONCE_MAX),
    "radius_m": _row(SEARCH_RADIUS_M_MIN, SEARCH_RADIUS_M_MAX),
    "answer_s": _answer,
}

"""The rules of an organisation's watch, one set for all services or one of a service's own. Pure: parse and check."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final

from config.limits import (
    CHECK_IN_EVERY_S_MIN,
    WATCH_GRACE_S_MAX,
    WATCH_OFF_SITE_M_MAX,
    WATCH_OFF_SITE_M_MIN,
    WATCH_SPAN_S_MAX,
    WATCH_SPAN_S_MIN,
    WATCH_STOP_S_MAX,
)
from engine.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class WatchPolicy:
    """What is watched. A time of `None` switches that signal off. Seconds and metres."""

    is_on: bool = True
    watches_customers: bool = False
    """Customers check in too, while somebody works at their place."""
    needs_pin: bool = False
    """Who has PINs answers with one; without this a tap is enough, and a PIN still counts."""
    check_in_every_s: int | None = None
    """At the place of a job. Off until the organisation's phones know how to answer."""
    grace_s: int = 180
    """How long an answer is waited for before the ladder begins."""
    silent_s: int | None = 300
    """Nobody is silent sooner, however often their phone reports; one that reports rarely gets up to four times it."""
    stop_s: int | None = 900
    """A stop on the way."""
    off_site_m: int = 300
    off_site_s: int | None = 300
    """Away from the door in the middle of a job, or ever farther from it on the way."""
    overrun_s: int | None = 900
    """Nothing takes too long sooner; beyond, what is usual decides."""


DEFAULT: Final = WatchPolicy()

_SPAN: Final = (WATCH_SPAN_S_MIN, WATCH_SPAN_S_MAX)
BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "check_in_every_s": (CHECK_IN_EVERY_S_MIN, WATCH_SPAN_S_MAX),
    "grace_s": (WATCH_SPAN_S_MIN, WATCH_GRACE_S_MAX),
    "silent_s": _SPAN,
    "stop_s": (WATCH_SPAN_S_MIN, WATCH_STOP_S_MAX),
    "off_site_m": (WATCH_OFF_SITE_M_MIN, WATCH_OFF_SITE_M_MAX),
    "off_site_s": (WATCH_SPAN_S_MIN, WATCH_STOP_S_MAX),
    "overrun_s": _SPAN,
}
"""Least and most of every number."""
OPTIONAL: Final = frozenset({"check_in_every_s", "silent_s", "stop_s", "off_site_s", "overrun_s"})


def parse_policy(body: object) -> WatchPolicy:
    """Return the policy in a JSON object; what it leaves out is the default.

    Raises:
        InvalidInput: with the field and the rule that it breaks.
    """
    if not isinstance(body, dict):
        raise InvalidInput("A JSON object.")
    known = {field.name for field in fields(WatchPolicy)}
    if unknown := sorted(set(body) - known):
        raise InvalidInput("There is no such rule.", field=unknown[0])
    for name, value in body.items():
        _check(name, value)
    return WatchPolicy(**body)


def to_json(policy: WatchPolicy) -> dict[str, object]:
    """Return what `parse_policy` reads."""
    return asdict(policy)


def _check(name: str, value: object) -> None:
    if name not in BOUNDS:
        if not isinstance(value, bool):
            raise InvalidInput("true or false.", field=name)
        return
    if value is None and name in OPTIONAL:
        return
    low, high = BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(f"A whole number from {low} to {high}.", field=name)

"""Escalation policies: who is told when nobody acknowledges. Pure: parses JSON, knows no clock and no store.

A policy is frozen into each incident at its first trigger, so that an edit never changes a ladder that is being
climbed. Its JSON:

    {"steps": [{"delay_s": 0, "notify": [{"target": "desk", "channels": ["desk"]}]}, ...],
     "repeat_s": 60, "follow_up_s": 600, "webhook_url": null}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from config.limits import FOLLOW_UP_MS, POLICY_DELAY_S_MAX, POLICY_REPEAT_S_MIN, STEPS_PER_POLICY_MAX
from engine.core.errors import InvalidInput
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Channel


class Target(StrEnum):
    """Whom a step tells."""

    DESK = "desk"
    DISPATCHERS = "dispatchers"
    ADMINS = "admins"
    WEBHOOK = "webhook"


CHANNELS_OF: Final[Mapping[Target, frozenset[Channel]]] = {
    Target.DESK: frozenset({Channel.DESK}),
    Target.DISPATCHERS: frozenset({Channel.EMAIL}),
    Target.ADMINS: frozenset({Channel.EMAIL}),
    Target.WEBHOOK: frozenset({Channel.WEBHOOK}),
}
"""The ways in which each target can be reached."""


@dataclass(frozen=True, slots=True)
class Route:
    """One target over one channel."""

    target: Target
    channel: Channel


@dataclass(frozen=True, slots=True)
class Step:
    """A rung of the ladder, taken `delay_s` seconds after the one before unless a human acts."""

    delay_s: int
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole ladder.

    Beyond the last step everybody is told over every channel, again every `repeat_s` seconds until a human acts. An
    acknowledgement lapses after `follow_up_s` seconds unless the incident is closed by then.
    """

    steps: tuple[Step, ...]
    repeat_s: int
    follow_up_s: int
    webhook_url: str | None

    @property
    def everybody(self) -> tuple[Route, ...]:
        """Every target over every channel: what an exhausted ladder does."""
        return tuple(Route(target, channel) for target in Target for channel in sorted(CHANNELS_OF[target]))


def default_policy() -> dict[str, object]:
    """Return the policy of who wrote none: desk at once, everybody by e-mail after 20 s, all again after 60 s."""
    desk = {"target": Target.DESK.value, "channels": [Channel.DESK.value]}
    people = [
        {"target": target.value, "channels": [Channel.EMAIL.value]} for target in (Target.DISPATCHERS, Target.ADMINS)
    ]
    webhook = {"target": Target.WEBHOOK.value, "channels": [Channel.WEBHOOK.value]}
    return {
        "steps": [
            {"delay_s": 0, "notify": [desk]},
            {"delay_s": 20, "notify": [desk, *people]},
            {"delay_s": 40, "notify": [desk, *people, webhook]},
        ],
        "repeat_s": 60,
        "follow_up_s": FOLLOW_UP_MS // MS_PER_S,
        "webhook_url": None,
    }


def parse_policy(body: object) -> Policy:
    """Return the policy that `body` (decoded JSON) describes.

    Raises:
        InvalidInput: with the field (`steps[1].delay_s`) and the rule that it breaks.
    """
    fields = _mapping(body, "policy")
    raw_steps = _sequence(fields.get("steps"), "steps")
    if not 1 <= len(raw_steps) <= STEPS_PER_POLICY_MAX:
        raise InvalidInput(f"A policy has 1 to {STEPS_PER_POLICY_MAX} steps.", field="steps")
    steps = tuple(_step(raw, f"steps[{position}]") for position, raw in enumerate(raw_steps))
    if steps[0].delay_s != 0:
        raise InvalidInput("The first step is taken at once: 0.", field="steps[0].delay_s")
    return Policy(
        steps=steps,
        repeat_s=_seconds(fields.get("repeat_s"), "repeat_s", low=POLICY_REPEAT_S_MIN),
        follow_up_s=_seconds(fields.get("follow_up_s"), "follow_up_s", low=POLICY_REPEAT_S_MIN),
        webhook_url=_webhook_url(fields.get("webhook_url")),
    )


def _step(raw: object, field: str) -> Step:
    fields = _mapping(raw, field)
    notify = _sequence(fields.get("notify"), f"{field}.notify")
    routes = [route for at, one in enumerate(notify) for route in _routes(one, f"{field}.notify[{at}]")]
    if not routes:
        raise InvalidInput("A step tells somebody.", field=f"{field}.notify")
    return Step(
        delay_s=_seconds(fields.get("delay_s"), f"{field}.delay_s", low=0),
        routes=tuple(dict.fromkeys(routes)),
    )


def _routes(raw: object, field: str) -> list[Route]:
    fields = _mapping(raw, field)
    target = fields.get("target")
    if not isinstance(target, str) or target not in set(Target):
        raise InvalidInput(f"One of {', '.join(Target)}.", field=f"{field}.target")
    possible = CHANNELS_OF[Target(target)]
    channels = _sequence(fields.get("channels"), f"{field}.channels")
    if not channels or any(not isinstance(channel, str) or channel not in possible for channel in channels):
        raise InvalidInput(f"One or more of {', '.join(sorted(possible))}.", field=f"{field}.channels")
    return [Route(Target(target), channel) for channel in sorted(possible) if channel in channels]


def _seconds(raw: object, field: str, *, low: int) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not low <= raw <= POLICY_DELAY_S_MAX:
        raise InvalidInput(f"A whole number of seconds from {low} to {POLICY_DELAY_S_MAX}.", field=field)
    return raw


def _webhook_url(raw: object) -> str | None:
    if raw is None:
        return None
    try:
        parts = urlsplit(raw) if isinstance(raw, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise InvalidInput("An http(s) address without user information, or null.", field="webhook_url")
    return parts.geturl()


def _mapping(raw: object, field: str) -> Mapping[object, object]:
    if not isinstance(raw, Mapping):
        raise InvalidInput("A JSON object.", field=field)
    return raw


def _sequence(raw: object, field: str) -> Sequence[object]:
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise InvalidInput("A JSON array.", field=field)
    return raw

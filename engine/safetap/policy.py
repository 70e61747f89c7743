"""Escalation policies: who is told when nobody acknowledges. Pure: parses JSON, knows no clock and no store.

A policy is frozen into each incident at its first trigger, so that an edit never changes a ladder that is being
climbed. Its JSON:

    {"steps": [{"delay_s": 0, "notify": [{"target": "desk", "channels": ["desk"]},
                                         {"target": "on_call", "schedule_id": "...", "channels": ["sms"]}]}, ...],
     "repeat_s": 60, "follow_up_s": 600, "webhook_url": null, "monitoring_centre": null, "volunteers_enabled": false}

What stands last may be absent: policies of earlier versions have none of it. There is no word to switch off what an
exhausted ladder does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from config.limits import (
    FOLLOW_UP_MS,
    POLICY_DELAY_S_MAX,
    POLICY_REPEAT_S_MIN,
    STEPS_PER_POLICY_MAX,
    VOLUNTEER_CELLS_MAX,
)
from engine.core.errors import InvalidInput
from engine.core.ids import PersonId, ScheduleId
from engine.core.units import MS_PER_S
from engine.core.vocabulary import Channel
from engine.safetap.addresses import is_email
from engine.safetap.channels.monitoring import CENTRE_SCHEME
from engine.safetap.channels.phone_number import e164


class Target(StrEnum):
    """Whom a step tells."""

    DESK = "desk"
    ON_CALL = "on_call"
    """Whoever a schedule has on call at that moment."""
    PERSON = "person"
    """One dispatcher or admin by name."""
    DISPATCHERS = "dispatchers"
    ADMINS = "admins"
    VOLUNTEERS = "volunteers"
    """Trained workers near the incident who have agreed; only where the policy enables it."""
    CONTACTS = "contacts"
    """The triggering person's own; never one who may be at the address."""
    MONITORING_CENTRE = "monitoring_centre"
    WEBHOOK = "webhook"


PERSONAL: Final = frozenset({Channel.EMAIL, Channel.SMS, Channel.VOICE, Channel.PUSH, Channel.FCM})
"""The ways in which somebody with an account can be reached."""

CHANNELS_OF: Final[Mapping[Target, frozenset[Channel]]] = {
    Target.DESK: frozenset({Channel.DESK}),
    Target.ON_CALL: PERSONAL,
    Target.PERSON: PERSONAL,
    Target.DISPATCHERS: PERSONAL,
    Target.ADMINS: PERSONAL,
    Target.VOLUNTEERS: PERSONAL,
    Target.CONTACTS: frozenset({Channel.EMAIL, Channel.SMS, Channel.VOICE}),
    Target.MONITORING_CENTRE: frozenset({Channel.EMAIL, Channel.SMS, Channel.VOICE, Channel.WEBHOOK}),
    Target.WEBHOOK: frozenset({Channel.WEBHOOK}),
}
"""The ways in which each target can be reached."""

OF_THE_DESK: Final = frozenset({Target.DESK, Target.ON_CALL, Target.PERSON, Target.DISPATCHERS, Target.ADMINS})
"""The organisation's own people who answer alarms: all that an alarm is told to before anything vouches for it."""

ALWAYS_TOLD: Final = (Target.DESK, Target.DISPATCHERS, Target.ADMINS, Target.MONITORING_CENTRE, Target.WEBHOOK)
"""Whom an exhausted ladder tells whatever the policy's steps say."""


@dataclass(frozen=True, slots=True)
class Route:
    """One target over one channel. Which further field is set follows from the target."""

    target: Target
    channel: Channel
    schedule_id: ScheduleId | None = None
    person_id: PersonId | None = None
    within_cells: int | None = None
    url: str | None = None
    """A webhook of this step's own; without one it is the policy's."""


@dataclass(frozen=True, slots=True)
class Step:
    """A rung of the ladder, taken `delay_s` seconds after the one before unless a human acts."""

    delay_s: int
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class MonitoringCentre:
    """Somebody outside who watches for a living. At least one address is set."""

    url: str | None
    phone: str | None
    email: str | None
    call_back: str | None = None
    """The desk's own number: set, and no `url`, the webhook channel is the installation's connector."""

    def address(self, channel: Channel) -> str | None:
        """Return where `channel` reaches them, if it does."""
        match channel:
            case Channel.WEBHOOK:
                return CENTRE_SCHEME + self.call_back if self.url is None and self.call_back is not None else self.url
            case Channel.EMAIL:
                return self.email
            case _:
                return self.phone


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole ladder.

    Beyond the last step everybody is told over every channel, again every `repeat_s` seconds until a human acts. An
    acknowledgement lapses after `follow_up_s` seconds unless the incident is closed by then.
    """

    steps: tuple[Step, ...]
    repeat_s: int
    follow_up_s: int
    webhook_url: str | None = None
    monitoring_centre: MonitoringCentre | None = None
    two_person_close: bool = False
    """Whoever closes an incident must not be the only one who says that it is over."""

    @property
    def everybody(self) -> tuple[Route, ...]:
        """Every responder over every channel, and whom any step names: what an exhausted ladder does."""
        always = [Route(target, channel) for target in ALWAYS_TOLD for channel in sorted(CHANNELS_OF[target])]
        named = [
            Route(route.target, channel, route.schedule_id, route.person_id, route.within_cells, route.url)
            for step in self.steps
            for route in step.routes
            for channel in sorted(CHANNELS_OF[route.target])
        ]
        return tuple(dict.fromkeys([*always, *named]))

    @property
    def phone_step(self) -> int:
        """The first step that tells whoever is on call, else the first beyond the desk (1 is the policy's first).

        Without an armed desk there is no waiting before it. One beyond the last step is the broadcast.
        """
        for wanted in (_tells_on_call, _tells_beyond_the_desk):
            for number, step in enumerate(self.steps, 1):
                if any(wanted(route) for route in step.routes):
                    return number
        return len(self.steps) + 1

    @property
    def schedule_ids(self) -> frozenset[ScheduleId]:
        """The schedules that it asks who is on call."""
        return frozenset(
            route.schedule_id for step in self.steps for route in step.routes if route.schedule_id is not None
        )

    def tells(self, target: Target) -> bool:
        """Return whether any step tells `target`."""
        return any(route.target is target for step in self.steps for route in step.routes)


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
    policy = Policy(
        steps=steps,
        repeat_s=_seconds(fields.get("repeat_s"), "repeat_s", low=POLICY_REPEAT_S_MIN),
        follow_up_s=_seconds(fields.get("follow_up_s"), "follow_up_s", low=POLICY_REPEAT_S_MIN),
        webhook_url=_url(fields.get("webhook_url"), "webhook_url"),
        monitoring_centre=_monitoring_centre(fields.get("monitoring_centre")),
        two_person_close=_two_person_close(fields),
    )
    _check_volunteers(policy, is_enabled=fields.get("volunteers_enabled", False))
    _check_centre(policy)
    return policy


def _tells_on_call(route: Route) -> bool:
    return route.target is Target.ON_CALL


def _tells_beyond_the_desk(route: Route) -> bool:
    return route.target is not Target.DESK


def _check_volunteers(policy: Policy, *, is_enabled: object) -> None:
    if not isinstance(is_enabled, bool):
        raise InvalidInput("true or false.", field="volunteers_enabled")
    if policy.tells(Target.VOLUNTEERS) and not is_enabled:
        raise InvalidInput("A step tells volunteers: enable them first.", field="volunteers_enabled")


def _two_person_close(fields: Mapping[object, object]) -> bool:
    wanted = fields.get("two_person_close", False)
    if not isinstance(wanted, bool):
        raise InvalidInput("true or false.", field="two_person_close")
    if wanted and fields.get("safe_pin") == "closes":
        raise InvalidInput("A safe PIN that closes leaves nobody to agree: choose one.", field="two_person_close")
    return wanted


def _check_centre(policy: Policy) -> None:
    for number, step in enumerate(policy.steps):
        for route in step.routes:
            if route.target is not Target.MONITORING_CENTRE:
                continue
            if policy.monitoring_centre is None or policy.monitoring_centre.address(route.channel) is None:
                raise InvalidInput(
                    f"Step {number + 1} reaches the monitoring centre by {route.channel}: give its address.",
                    field="monitoring_centre",
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
    name = fields.get("target")
    if not isinstance(name, str) or name not in set(Target):
        raise InvalidInput(f"One of {', '.join(Target)}.", field=f"{field}.target")
    target = Target(name)
    possible = CHANNELS_OF[target]
    channels = _sequence(fields.get("channels"), f"{field}.channels")
    if not channels or any(not isinstance(channel, str) or channel not in possible for channel in channels):
        raise InvalidInput(f"One or more of {', '.join(sorted(possible))}.", field=f"{field}.channels")
    return [_route(fields, target, channel, field) for channel in sorted(possible) if channel in channels]


def _route(fields: Mapping[object, object], target: Target, channel: Channel, field: str) -> Route:
    match target:
        case Target.ON_CALL:
            schedule_id = ScheduleId(_uuid(fields.get("schedule_id"), f"{field}.schedule_id"))
            return Route(target, channel, schedule_id=schedule_id)
        case Target.PERSON:
            return Route(target, channel, person_id=PersonId(_uuid(fields.get("person_id"), f"{field}.person_id")))
        case Target.VOLUNTEERS:
            return Route(target, channel, within_cells=_cells(fields.get("within_cells"), f"{field}.within_cells"))
        case Target.WEBHOOK:
            return Route(target, channel, url=_url(fields.get("url"), f"{field}.url"))
        case _:
            return Route(target, channel)


def _monitoring_centre(raw: object) -> MonitoringCentre | None:
    if raw is None:
        return None
    fields = _mapping(raw, "monitoring_centre")
    centre = MonitoringCentre(
        url=_url(fields.get("url"), "monitoring_centre.url"),
        phone=_text_or_none(fields.get("phone"), "monitoring_centre.phone"),
        email=_text_or_none(fields.get("email"), "monitoring_centre.email"),
        call_back=_text_or_none(fields.get("call_back"), "monitoring_centre.call_back"),
    )
    for name, number in (("phone", centre.phone), ("call_back", centre.call_back)):
        if number is not None and e164(number) != number:
            raise InvalidInput("A number with its country: +351912345678.", field=f"monitoring_centre.{name}")
    if centre.email is not None and not is_email(centre.email):
        raise InvalidInput("An e-mail address.", field="monitoring_centre.email")
    if centre == MonitoringCentre(None, None, None):
        raise InvalidInput("One or more of url, phone, email and call_back.", field="monitoring_centre")
    return centre


def _seconds(raw: object, field: str, *, low: int) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not low <= raw <= POLICY_DELAY_S_MAX:
        raise InvalidInput(f"A whole number of seconds from {low} to {POLICY_DELAY_S_MAX}.", field=field)
    return raw


def _cells(raw: object, field: str) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or not 1 <= raw <= VOLUNTEER_CELLS_MAX:
        raise InvalidInput(f"A whole number of cells from 1 to {VOLUNTEER_CELLS_MAX}.", field=field)
    return raw


def _uuid(raw: object, field: str) -> UUID:
    try:
        return UUID(raw) if isinstance(raw, str) else _no_uuid(field)
    except ValueError:
        return _no_uuid(field)


def _no_uuid(field: str) -> UUID:
    raise InvalidInput("A UUID.", field=field)


def _text_or_none(raw: object, field: str) -> str | None:
    if raw is None or isinstance(raw, str):
        return raw
    raise InvalidInput("A text, or null.", field=field)


def _url(raw: object, field: str) -> str | None:
    if raw is None:
        return None
    try:
        parts = urlsplit(raw) if isinstance(raw, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise InvalidInput("An http(s) address without user information, or null.", field=field)
    return parts.geturl()


def _mapping(raw: object, field: str) -> Mapping[object, object]:
    if not isinstance(raw, Mapping):
        raise InvalidInput("A JSON object.", field=field)
    return raw


def _sequence(raw: object, field: str) -> Sequence[object]:
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise InvalidInput("A JSON array.", field=field)
    return raw

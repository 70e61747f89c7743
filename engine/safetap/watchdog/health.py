"""Whether alarms would be worked on right now, judged from what the processes left in Postgres. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from config.limits import WATCH_LATE_MS_MAX


class Part(StrEnum):
    """What has to work for an alarm to reach somebody."""

    DOOR = "door"
    ESCALATOR = "escalator"
    SENDER = "sender"


class Ailment(StrEnum):
    """Why an alarm might reach nobody."""

    NO_DOOR = "no_door"
    NO_ESCALATOR = "no_escalator"
    NO_SENDER = "no_sender"
    STEPS_LATE = "steps_late"
    NOTICES_LATE = "notices_late"


@dataclass(frozen=True, slots=True)
class MissingPart:
    """A part of which nothing is heard, and since when (Unix ms) its peers miss it."""

    seat: str
    part: Part
    since_ms: int


@dataclass(frozen=True, slots=True)
class Health:
    """What is known at one moment of the database's clock."""

    working: Mapping[Part, int]
    """How many of each were heard of lately."""
    missing: Collection[MissingPart]
    step_late_ms: int
    """How long the most overdue step has been due; 0: none is."""
    notice_late_ms: int
    """The same of first notices, which never wait for anything."""


def ailments(health: Health) -> tuple[Ailment, ...]:
    """Return why the ladder does not work; nothing: it does. One missing peer of several is no ailment."""
    found = (
        (Ailment.NO_DOOR, not health.working.get(Part.DOOR)),
        (Ailment.NO_ESCALATOR, not health.working.get(Part.ESCALATOR)),
        (Ailment.NO_SENDER, not health.working.get(Part.SENDER)),
        (Ailment.STEPS_LATE, health.step_late_ms > WATCH_LATE_MS_MAX),
        (Ailment.NOTICES_LATE, health.notice_late_ms > WATCH_LATE_MS_MAX),
    )
    return tuple(ailment for ailment, holds in found if holds)

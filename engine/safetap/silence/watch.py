"""One person on one job, and what is known of them: the words that the watch's decision is made of. Pure."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

from engine.core.ids import BookingId, OrgId, PersonId, TriggerId
from engine.core.vocabulary import IncidentKind, Role, WatchPhase, WatchStage

TRIGGERS: Final = UUID("5a7e7a90-0b5e-4c1b-9e55-7f3d2c9a1f10")
"""Namespace of the triggers that the watch sends, and of its messages."""

SIGNALS: Final = (
    IncidentKind.CHECK_IN_MISSED,
    IncidentKind.SILENCE,
    IncidentKind.OFF_SITE,
    IncidentKind.LONG_STOP,
    IncidentKind.OVERRUN,
)
"""What the watch looks for; of several at once the first is told."""
OF_POSITIONS: Final = frozenset({IncidentKind.SILENCE, IncidentKind.OFF_SITE, IncidentKind.LONG_STOP})
"""Signals that an outage of ours looks like. The others are found by the clock alone."""


@dataclass(frozen=True, slots=True)
class Watch:
    """How far the watch has come. Unix milliseconds.

    `calm_at_ms`: the newest answer or act of the person; `round` counts the returns to calm.
    """

    booking_id: BookingId
    person_id: PersonId
    org_id: OrgId
    role: Role
    phase: WatchPhase
    phase_since_ms: int
    calm_at_ms: int
    stage: WatchStage = WatchStage.CALM
    round: int = 1
    signal: IncidentKind | None = None
    asked_at_ms: int | None = None

    def __post_init__(self) -> None:
        """Hold what the table's constraints say."""
        assert (self.stage is WatchStage.CALM) == (self.signal is None) == (self.asked_at_ms is None)

    @property
    def trigger_id(self) -> TriggerId:
        """The id of the trigger that this round may send: whoever sends it, it is the same one."""
        return TriggerId(uuid5(TRIGGERS, f"{self.booking_id}/{self.person_id}/{self.round}"))


@dataclass(frozen=True, slots=True)
class Outage:
    """Many phones were silent at once, from when to when (Unix ms); `None`: they still are."""

    began_ms: int
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a person at one moment. Unix milliseconds; `None`: not so, or not known."""

    heard_ms: int | None = None
    """The newest fix of their phone."""
    stopped_since_ms: int | None = None
    away_since_ms: int | None = None
    """Not at the door though the job is there, or ever farther from it on the way."""
    silent_after_s: int = 0
    """After how long this phone counts as silent; 0: nobody knows, the policy's least."""
    overrun_after_s: int | None = None
    """After how long this phase takes too long."""
    outage: Outage | None = None
    """The newest of where they are."""
    is_cared_for: bool = False
    """A real incident of theirs is open: a ladder is climbed already."""

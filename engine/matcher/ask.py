"""What a ranking needs to know of a booking. Pure."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from engine.core.ids import PersonId


@dataclass(frozen=True, slots=True)
class Wants:
    """What a service needs and a customer wishes; bits are the organisation's kit (`kit_item.bit`)."""

    service_id: UUID | None = None
    certificates: int = 0
    tools: int = 0
    vehicles: int = 0
    """Who lacks a bit of these three is ruled out."""
    parts: int = 0
    """Who lacks one of these has a way to the store before them."""
    languages: int = 0
    """One of these is enough; 0: any language will do."""
    level: float = 0.0
    """In [0, 1]: how well the skill should be known."""
    duration_min: int = 0
    preferred: frozenset[PersonId] = frozenset()
    blocked: frozenset[PersonId] = frozenset()
    is_in_area: bool = True
    """Whether the pin lies where the organisation works: in no no-go area, and in a service area if it has any."""

    @property
    def kit(self) -> int:
        """The bits that a worker must have."""
        return self.certificates | self.tools | self.vehicles


NOTHING: Final = Wants()


@dataclass(frozen=True, slots=True)
class Ask:
    """A booking as the ranking sees it. The pin is WGS84 degrees, `risk` in [0, 1]."""

    lat_deg: float
    lng_deg: float
    skill_bit: int
    risk: float
    wants: Wants = NOTHING

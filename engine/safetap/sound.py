"""Sound as evidence: where the law lets it be recorded, and who agreed that their phone does.

Both must say yes before a phone's sound is kept: the file of the place (`config/jurisdictions`), and the person's own
set-up. A desk's own recording needs the file only.
"""

from dataclasses import dataclass
from typing import Final, Literal

from config.jurisdictions import Jurisdictions
from engine.core.database import Connection
from engine.core.errors import NotAllowed
from engine.core.ids import IncidentId, PersonId

SOUND: Final = ("audio/", "video/")
"""Media types that hold the spoken word. What calls itself something else is taken for what it says."""

COUNTRY_OF_INCIDENT: Final = """
SELECT r.country_code FROM incident i JOIN region r USING (region_id) WHERE i.incident_id = $1
"""

COUNTRY_OF_PERSON: Final = "SELECT r.country_code FROM person p JOIN region r USING (region_id) WHERE p.person_id = $1"

AGREED: Final = "SELECT records_sound FROM safety_setup WHERE person_id = $1"


@dataclass(frozen=True, slots=True)
class SoundRule:
    """What the law of somebody's place says of sound, as its file has it."""

    is_allowed: bool
    country: str
    """ISO 3166-1, or `ELSEWHERE`: the country has no file."""
    consent: Literal["all_parties", "one_party", "unclear"]
    """Whose consent a recording of a conversation needs there."""
    consent_basis: str | None
    """How all of them consent, in the words of who runs the installation."""


async def sound_rule(conn: Connection, person_id: PersonId, *, jurisdictions: Jurisdictions) -> SoundRule:
    """Return what counts where a person belongs: an alarm of theirs has the same place."""
    rules = jurisdictions.of(await conn.fetchval(COUNTRY_OF_PERSON, person_id))
    recording = rules.recording
    return SoundRule(recording.enabled, rules.country, recording.consent, recording.consent_basis)


async def check_sound(
    conn: Connection,
    incident_id: IncidentId,
    media_type: str,
    *,
    jurisdictions: Jurisdictions,
    from_phone_of: PersonId | None,
) -> None:
    """Refuse sound that the place's law has not let be recorded, or that its person has not agreed to.

    `from_phone_of` is whose phone sends it; `None`: a desk does.

    Raises:
        NotAllowed: with the reason.
    """
    if not media_type.startswith(SOUND):
        return
    rules = jurisdictions.of(await conn.fetchval(COUNTRY_OF_INCIDENT, incident_id))
    if not rules.recording.enabled:
        raise NotAllowed(f"Sound is not recorded in {rules.name}: config/jurisdictions/{rules.country}.toml.")
    if from_phone_of is not None and not await conn.fetchval(AGREED, from_phone_of):
        raise NotAllowed("You have not agreed to sound: records_sound of PUT /v1/me/safety.")

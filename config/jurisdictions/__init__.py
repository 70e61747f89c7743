"""What the law and custom of a country set: numbers to phone, recording, retention, whom a machine may contact.

One file a country (`PT.toml`, by ISO 3166-1). Each fact stands beside its source, and our choice beside that word.
All files are read and checked when a process starts, so that a broken one stops it there and not in an emergency.
Nothing here is legal advice: who runs an installation checks its files.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

log = structlog.get_logger(__name__)

FOLDER: Final = Path(__file__).parent
ELSEWHERE: Final = "ELSEWHERE"
"""The file for countries that have none: the numbers that a mobile phone dials anywhere."""

Sentence = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Number = Annotated[str, StringConstraints(pattern=r"^[0-9]{2,6}$")]


class Part(BaseModel):
    """The base of a file's parts: an unknown word is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Emergency(Part):
    """What a person dials."""

    number: Number
    """Reaches all services, or whoever connects to them."""
    police: Number | None = None
    """A number of the police's own, where there is one."""
    others: dict[str, Number] = {}
    source: Sentence


class Recording(Part):
    """Sound recorded during an incident. Off unless an installation's lawyers have switched it on."""

    enabled: bool = False
    consent: Literal["all_parties", "one_party", "unclear"]
    """Whose consent a recording of a conversation needs."""
    consent_basis: Sentence | None = None
    """How all of them consent, in the installation's own words: without it sound cannot be enabled where everybody's
    consent is needed, or nobody knows whose."""
    source: Sentence

    @model_validator(mode="after")
    def _has_consent(self) -> Self:
        if self.enabled and self.consent != "one_party" and self.consent_basis is None:
            raise ValueError(
                f"enabled: with consent = {self.consent!r} it takes a consent_basis: how everybody consents"
            )
        return self


class Retention(Part):
    """How many days after its close what an incident gathered is kept; then the keeper deletes it."""

    incident_days: Annotated[int, Field(ge=1, le=36_500)]
    """The incident as a whole: history, messages, notes, notices; what is left counts, and names nobody."""
    evidence_days: Annotated[int, Field(ge=1, le=36_500)]
    """Sound, pictures and files. Their hashes stay in the history as long as it does."""
    trail_days: Annotated[int, Field(ge=1, le=36_500)]
    """Where the person was, from shortly before the alarm to its close."""
    legal_hold: Literal[True] = True
    """A hold stops every deletion until an admin lifts it. Written down for the reader: it cannot be switched off."""
    source: Sentence

    @model_validator(mode="after")
    def _parts_go_first(self) -> Self:
        if max(self.evidence_days, self.trail_days) > self.incident_days:
            raise ValueError("evidence_days and trail_days: at most incident_days, since they go with their incident")
        return self

    def days_of(self, part: str) -> int:
        """Return the days of `evidence`, `trail` or `all`."""
        return {"evidence": self.evidence_days, "trail": self.trail_days, "all": self.incident_days}[part]


class Contacts(Part):
    """Which channels may tell the triggering person's own contacts by machine."""

    channels: tuple[Literal["email", "sms", "voice"], ...]
    source: Sentence

    @model_validator(mode="before")
    @classmethod
    def _arrays_are_tuples(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("channels"), list):
            return {**data, "channels": tuple(data["channels"])}
        return data


class Jurisdiction(Part):
    """A country's rules."""

    country: Annotated[str, StringConstraints(pattern=r"^([A-Z]{2}|ELSEWHERE)$")]
    name: Sentence
    emergency: Emergency
    recording: Recording
    retention: Retention
    contacts: Contacts


class Jurisdictions:
    """All countries that have a file, and one for the others."""

    def __init__(self, by_country: Mapping[str, Jurisdiction]) -> None:
        self._by_country = by_country
        self._told: set[str] = set()

    @property
    def countries(self) -> frozenset[str]:
        """The countries that have a file of their own."""
        return frozenset(self._by_country) - {ELSEWHERE}

    def of(self, country_code: str) -> Jurisdiction:
        """Return a country's rules; without a file those for everywhere else, with a warning the first time."""
        found = self._by_country.get(country_code.upper())
        if found is not None and found.country != ELSEWHERE:
            return found
        if country_code not in self._told:
            self._told.add(country_code)
            log.warning(
                "jurisdiction.unknown",
                country=country_code,
                emergency_number=self._by_country[ELSEWHERE].emergency.number,
                remedy="add config/jurisdictions/COUNTRY.toml: the numbers in use are a guess",
            )
        return self._by_country[ELSEWHERE]


def load_jurisdictions(folder: Path = FOLDER, *, own: Path | None = None) -> Jurisdictions:
    """Read and check every file; one in `own` stands in the place of the country's file in `folder`.

    Raises:
        ValueError: a file is broken, names another country than its name says, `ELSEWHERE.toml` is missing, or `own`
            is no folder.
    """
    if own is not None and not own.is_dir():
        raise ValueError(f"{own} is no folder of jurisdictions")
    found = {}
    for path in [*sorted(folder.glob("*.toml")), *sorted([] if own is None else own.glob("*.toml"))]:
        try:
            one = Jurisdiction.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from error
        if one.country != path.stem:
            raise ValueError(f"{path.name} is of {one.country}")
        found[one.country] = one
    if ELSEWHERE not in found:
        raise ValueError(f"{folder} has no {ELSEWHERE}.toml: every country needs an answer")
    return Jurisdictions(found)

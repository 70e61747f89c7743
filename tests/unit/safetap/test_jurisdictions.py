"""The files of countries are whole, name their sources, and fall back loudly."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from config.jurisdictions import ELSEWHERE, FOLDER, load_jurisdictions


def broken(tmp_path: Path, name: str, text: str) -> Path:
    """A folder with the file for everywhere else and one more."""
    (tmp_path / f"{ELSEWHERE}.toml").write_text((FOLDER / f"{ELSEWHERE}.toml").read_text())
    (tmp_path / name).write_text(text)
    return tmp_path


def test_every_file_is_read_and_names_its_sources() -> None:
    found = load_jurisdictions()
    assert {"PT", "DE", "GB", "IN", "US"} <= found.countries
    for country in found.countries:
        one = found.of(country)
        assert all(len(part.source) > 5 for part in (one.emergency, one.recording, one.retention, one.contacts))
        assert not one.recording.enabled, "sound is recorded only where somebody switched it on"
        assert one.retention.legal_hold


@pytest.mark.parametrize(
    ("country", "number", "police"),
    [("PT", "112", None), ("DE", "112", "110"), ("GB", "999", None), ("IN", "112", "100"), ("US", "911", None)],
)
def test_the_numbers_of_a_country(country: str, number: str, police: str | None) -> None:
    emergency = load_jurisdictions().of(country).emergency
    assert (emergency.number, emergency.police) == (number, police)


def test_a_country_without_a_file_falls_back_with_one_warning() -> None:
    found = load_jurisdictions()
    with capture_logs() as logs:
        assert found.of("QQ").country == ELSEWHERE
        assert found.of("QQ").emergency.number == "112"
    (warning,) = logs
    assert warning["log_level"] == "warning"
    assert (warning["event"], warning["country"]) == ("jurisdiction.unknown", "QQ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('number = "112"', 'number = "one-one-two"'),
        ('number = "112"', "number = 112"),
        ("enabled = false", 'enabled = "no"'),
        ("enabled = false", "enabled = false\nvolume = 3"),
        ("incident_days = 1095", "incident_days = 0"),
        ('"email", "sms", "voice"', '"pigeon"'),
        ('country = "PT"', 'country = "DE"'),
        ("[contacts]", "[contacts"),
    ],
)
def test_a_broken_file_stops_the_start_and_is_named(tmp_path: Path, old: str, new: str) -> None:
    text = (FOLDER / "PT.toml").read_text()
    assert old in text
    with pytest.raises(ValueError, match=r"PT\.toml"):
        load_jurisdictions(broken(tmp_path, "PT.toml", text.replace(old, new)))


def test_there_is_always_an_answer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=ELSEWHERE):
        load_jurisdictions(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("enabled = false", "enabled = true", "consent_basis"),
        ("evidence_days = 365", "evidence_days = 4000", "at most incident_days"),
        ("legal_hold = true", "legal_hold = false", "legal_hold"),
    ],
)
def test_a_rule_that_the_law_or_another_rule_forbids_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = (FOLDER / "DE.toml").read_text()
    assert old in text
    with pytest.raises(ValueError, match=told):
        load_jurisdictions(broken(tmp_path, "DE.toml", text.replace(old, new)))


def test_a_file_of_ones_own_stands_in_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    own = (FOLDER / "PT.toml").read_text().replace('police = "112"', "").replace('number = "112"', 'number = "117"')
    (tmp_path / "PT.toml").write_text(own)
    found = load_jurisdictions(own=tmp_path)
    assert found.of("PT").emergency.number == "117"
    assert found.of("DE") == load_jurisdictions().of("DE")
    with pytest.raises(ValueError, match="no folder"):
        load_jurisdictions(own=tmp_path / "PT.toml")


def test_sound_may_be_enabled_where_all_consent_and_it_says_how(tmp_path: Path) -> None:
    basis = 'enabled = true\nconsent_basis = "clause 9 of both contracts"'
    text = (FOLDER / "DE.toml").read_text().replace("enabled = false", basis)
    assert load_jurisdictions(broken(tmp_path, "DE.toml", text)).of("DE").recording.enabled

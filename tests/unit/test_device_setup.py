"""What `clenzy device add` prints, and the URLs of every app read back by the reader of that app."""

import string
from urllib.parse import parse_qsl, urlsplit

import pytest

from clenzy.device import NO_PHONE_REACHES_IT, Setup, instructions, qr_code
from engine.core.vocabulary import DeviceKind
from engine.people.device_setup import setup_of, setups
from engine.people.devices import looks_like_a_token, new_token
from gateway_ws.trackers import gpslogger, osmand

TOKEN = new_token()


def query_of(kind: DeviceKind) -> dict[str, str]:
    setup = setup_of(kind, gateway_url="https://gateway.test/", token=TOKEN)
    return dict(parse_qsl(urlsplit(setup.url).query))


def test_tokens_need_no_escaping_and_differ() -> None:
    assert set(TOKEN) <= {*string.ascii_letters, *string.digits, "-", "_"}
    assert looks_like_a_token(TOKEN)
    assert not looks_like_a_token(TOKEN + "x")
    assert not looks_like_a_token("ä" * len(TOKEN))
    assert new_token() != TOKEN


def test_every_app_has_a_setup() -> None:
    every = setups(gateway_url="https://gateway.test", token=TOKEN)
    assert {setup.app for setup in every} == set(DeviceKind)
    assert all(TOKEN in setup.url or setup.deep_link is not None for setup in every)


def test_osmand_fills_in_what_its_reader_knows() -> None:
    values = {"{0}": "41.15", "{1}": "-8.61", "{2}": "1700000000000", "{3}": "12", "{4}": "90", "{5}": "3", "{6}": "45"}
    report = osmand.read({name: values.get(value, value) for name, value in query_of(DeviceKind.OSMAND).items()}, b"")
    (fix,) = report.fixes
    assert report.credential == TOKEN
    assert (fix.ts_ms, fix.lat_deg, fix.lng_deg) == (1_700_000_000_000, 41.15, -8.61)
    assert (fix.accuracy_m, fix.speed_mps, fix.heading_deg) == (12, 3, 45)


def test_gpslogger_fills_in_what_its_reader_knows() -> None:
    values = {
        "%LAT": "41.15", "%LON": "-8.61", "%ACC": "12", "%SPD": "3", "%DIR": "45", "%TIMESTAMP": "1700000000",
        "%BATT": "80", "%AID": "abc",
    }  # fmt: skip
    setup = setup_of(DeviceKind.GPSLOGGER, gateway_url="https://gateway.test", token=TOKEN)
    pairs = (pair.split("=") for pair in urlsplit(setup.url).query.split("&"))
    report = gpslogger.read({name: values.get(value, value) for name, value in pairs}, b"")
    (fix,) = report.fixes
    assert report.credential == TOKEN
    assert (fix.speed_mps, fix.heading_deg, fix.battery_pct) == (3, 45, 80)


@pytest.mark.parametrize("kind", DeviceKind)
def test_the_instructions_hold_all_that_is_needed_once(kind: DeviceKind) -> None:
    setup = setup_of(kind, gateway_url="https://gateway.test", token=TOKEN)
    text = instructions(Setup("id", TOKEN, setup.app, setup.url, setup.username, setup.deep_link))
    assert setup.url in text
    assert TOKEN in text
    assert (setup.deep_link is None) == ("link  " not in text)
    assert NO_PHONE_REACHES_IT not in text
    assert "█" in text or "▄" in text or "\x1b[" in text


def test_an_address_that_no_phone_reaches_is_told() -> None:
    assert NO_PHONE_REACHES_IT in instructions(Setup("id", TOKEN, "traccar", "http://127.0.0.1:1/x", None, None))


def test_a_long_link_still_fits_a_code() -> None:
    assert len(qr_code("owntracks:///config?inline=" + "x" * 600).splitlines()) > 20

"""Each app's documented request, and what strangers make of it."""

from collections import Counter
from itertools import product
from uuid import UUID

import numpy as np
import orjson
import pytest

from config.limits import TRACKER_FIXES_MAX, TRACKER_PARAMETERS_MAX
from engine.core.ids import DeviceId
from engine.geo.fixes import FIX, UNKNOWN_BATTERY, UNKNOWN_U16
from gateway_ws.trackers import gpslogger, osmand, overland, owntracks, traccar
from gateway_ws.trackers.alarm import trigger_body
from gateway_ws.trackers.reading import Skip, TrackedFix, form_of, number, payload_of, time_ms

AT_S = 1_700_000_000
AT_MS = AT_S * 1000

OWNTRACKS = {
    "_type": "location", "lat": 41.15, "lon": -8.61, "tst": AT_S, "acc": 12, "alt": 90, "batt": 77, "bs": 2,
    "vel": 36, "cog": 270, "tid": "jo", "topic": "owntracks/jo/phone", "t": "u", "conn": "m",
}  # fmt: skip
TRACCAR = {
    "location": {
        "timestamp": "2023-11-14T22:13:20.000Z",
        "coords": {
            "latitude": 41.15, "longitude": -8.61, "accuracy": 12, "speed": 10.0, "heading": 270, "altitude": 90,
        },
        "is_moving": True, "odometer": 12.5, "event": "motionchange",
        "battery": {"level": 0.77, "is_charging": True}, "activity": {"type": "in_vehicle"}, "extras": {},
    },
    "device_id": "the-token",
}  # fmt: skip
FEATURE = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [-8.61, 41.15]},
    "properties": {
        "timestamp": "2023-11-14T22:13:20Z", "altitude": 90, "speed": 10, "course": 270, "horizontal_accuracy": 12,
        "vertical_accuracy": -1, "motion": ["driving"], "battery_state": "charging", "battery_level": 0.77,
        "device_id": "", "wifi": "",
    },
}  # fmt: skip
OSMAND = {
    "id": "the-token", "lat": "41.15", "lon": "-8.61", "timestamp": str(AT_S), "hdop": "12", "altitude": "90",
    "speed": "19.438444924406", "bearing": "270", "batt": "77", "charge": "true",
}  # fmt: skip
GPSLOGGER = {
    "token": "the-token", "lat": "41.15", "lon": "-8.61", "time": str(AT_S), "acc": "12", "spd": "10", "dir": "270",
    "batt": "77", "charging": "true",
}  # fmt: skip
FULL = TrackedFix(AT_MS, 41.15, -8.61, accuracy_m=12, speed_mps=10, heading_deg=270, battery_pct=77, is_charging=True)


def same(fix: TrackedFix, other: TrackedFix) -> None:
    """Equal up to what units cost."""
    assert payload_of([fix]) == payload_of([other])


@pytest.mark.parametrize(
    "report",
    [
        owntracks.read(orjson.dumps(OWNTRACKS)),
        osmand.read(OSMAND, b""),
        traccar.read(orjson.dumps(TRACCAR)),
        overland.read(orjson.dumps({"locations": [FEATURE]})),
        gpslogger.read(GPSLOGGER, b""),
    ],
    ids=["owntracks", "osmand", "traccar", "overland", "gpslogger"],
)
def test_the_documented_request_is_read_whole(report) -> None:
    (fix,) = report.fixes
    same(fix, FULL)
    assert not report.skipped
    assert not report.is_sos


def test_what_an_app_does_not_tell_stays_unknown() -> None:
    row = np.frombuffer(payload_of([TrackedFix(AT_MS, 1.5, 2.5)]), FIX)[0]
    assert (row["ts_ms"], row["lat_e7"], row["lng_e7"]) == (AT_MS, 15_000_000, 25_000_000)
    assert [row[name] for name in ("accuracy_dm", "speed_cm_s", "heading_cdeg")] == [UNKNOWN_U16] * 3
    assert (row["battery_pct"], row["flags"]) == (UNKNOWN_BATTERY, 0)


def test_a_batch_is_brought_into_order() -> None:
    late, early = TrackedFix(AT_MS + 5, 1, 1), TrackedFix(AT_MS, 1, 1, is_mocked=True)
    rows = np.frombuffer(payload_of([late, early]), FIX)
    assert rows["ts_ms"].tolist() == [AT_MS, AT_MS + 5]
    assert rows["flags"].tolist() == [2, 0]


@pytest.mark.parametrize("kind", ["lwt", "transition", "waypoint", "waypoints", "status", "steps", "cmd", "card", None])
def test_other_words_of_owntracks_are_no_fix(kind: str | None) -> None:
    report = owntracks.read(orjson.dumps({"_type": kind, "tst": AT_S, "lat": 41.15, "lon": -8.61}))
    assert report.fixes == ()
    assert report.skipped == Counter({Skip.NOT_A_FIX: 1})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Skip.EMPTY),
        (b"  ", Skip.EMPTY),
        (b"{broken", Skip.MALFORMED),
        (b"[]", Skip.MALFORMED),
        (b'{"_type":"encrypted","data":"x"}', Skip.ENCRYPTED),
        (b'{"_type":"location","tst":1700000000,"lat":1}', Skip.NO_PLACE),
        (b'{"_type":"location","lat":1,"lon":1}', Skip.NO_TIME),
        (b'{"_type":"location","lat":1,"lon":1,"tst":"yesterday"}', Skip.NO_TIME),
        (b'{"_type":"location","lat":true,"lon":1,"tst":1700000000}', Skip.NO_PLACE),
    ],
)
def test_owntracks_bodies_without_a_fix_have_a_reason(body: bytes, reason: Skip) -> None:
    report = owntracks.read(body)
    assert (report.fixes, report.skipped) == ((), Counter({reason: 1}))


def test_osmand_speaks_in_forms_too_and_the_query_goes_first() -> None:
    form = b"id=other&deviceid=x&lat=1&lon=-8.61&timestamp=1700000000000&speed=19.438444924406"
    report = osmand.read({"id": "the-token", "lat": "41.15"}, form)
    assert report.credential == "the-token"
    (fix,) = report.fixes
    assert (fix.ts_ms, fix.lat_deg, fix.lng_deg) == (AT_MS, 41.15, -8.61)
    assert fix.speed_mps == pytest.approx(10)


def test_osmand_takes_accuracy_before_hdop_and_a_place_in_one_field() -> None:
    (fix,) = osmand.read({"location": "41.15,-8.61", "timestamp": str(AT_S), "accuracy": "7", "hdop": "90"}, b"").fixes
    assert (fix.lat_deg, fix.lng_deg, fix.accuracy_m) == (41.15, -8.61, 7)


def test_the_url_we_write_for_osmand_counts_metres_a_second() -> None:
    (fix,) = osmand.read({"lat": "1", "lon": "2", "timestamp": str(AT_MS), "speed_mps": "3.5", "speed": "9"}, b"").fixes
    assert fix.speed_mps == 3.5


def test_osmand_knows_a_device_by_either_name() -> None:
    assert osmand.read({"deviceid": "abc"}, b"").credential == "abc"
    assert osmand.read({}, b"").credential is None
    assert osmand.read({}, b"").skipped == Counter({Skip.EMPTY: 1})


@pytest.mark.parametrize(("alarm", "is_sos"), [("sos", True), ("SOS", True), ("fall", False), ("", False)])
def test_osmand_alarm(alarm: str, is_sos: bool) -> None:
    report = osmand.read({**OSMAND, "alarm": alarm}, b"")
    assert (report.is_sos, report.sos_at_ms) == (is_sos, AT_MS if is_sos else None)


def test_an_alarm_without_a_place_is_an_alarm() -> None:
    report = osmand.read({"id": "x", "alarm": "sos"}, b"")
    assert report.is_sos
    assert (report.fixes, report.sos_at_ms) == ((), None)


def test_traccars_sos_shortcut_is_an_alarm() -> None:
    report = traccar.read(orjson.dumps({**TRACCAR, "location": {**TRACCAR["location"], "extras": {"alarm": "sos"}}}))
    assert (report.is_sos, report.sos_at_ms, report.credential) == (True, AT_MS, "the-token")


def test_traccar_takes_several_locations_and_unknown_batteries() -> None:
    place = {**TRACCAR["location"], "battery": {"level": -1}}
    report = traccar.read(orjson.dumps({"location": [place, 5, TRACCAR["location"]], "device_id": "d"}))
    assert [fix.battery_pct for fix in report.fixes] == [None, 77]


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"location":5,"device_id":"d"}', b"\xff"])
def test_traccar_without_a_location_has_a_reason(body: bytes) -> None:
    report = traccar.read(body)
    assert report.fixes == ()
    assert report.skipped.total() == 1


def test_overlands_negative_values_are_unknown() -> None:
    properties = {**FEATURE["properties"], "speed": -1, "course": -1, "horizontal_accuracy": -5, "battery_level": -1}
    (fix,) = overland.read(orjson.dumps({"locations": [{**FEATURE, "properties": properties}]})).fixes
    assert (fix.speed_mps, fix.heading_deg, fix.accuracy_m, fix.battery_pct) == (None, None, None, None)


def test_overland_counts_the_bad_and_keeps_the_good() -> None:
    nowhere = {**FEATURE, "geometry": {"type": "Point", "coordinates": [1]}}
    never = {**FEATURE, "properties": {}}
    report = overland.read(orjson.dumps({"locations": [FEATURE, nowhere, never, "x", FEATURE]}))
    assert len(report.fixes) == 2
    assert report.skipped == Counter({Skip.NO_PLACE: 1, Skip.NO_TIME: 1, Skip.MALFORMED: 1})


def test_a_batch_beyond_the_limit_loses_its_oldest() -> None:
    times = [AT_S + at for at in range(TRACKER_FIXES_MAX + 3)]
    features = [{**FEATURE, "properties": {"timestamp": at}} for at in reversed(times)]
    report = overland.read(orjson.dumps({"locations": features}))
    assert len(report.fixes) == TRACKER_FIXES_MAX
    assert min(fix.ts_ms for fix in report.fixes) == (AT_S + 3) * 1000
    assert report.skipped == Counter({Skip.TOO_MANY: 3})


def test_gpslogger_knows_its_token_and_iso_times() -> None:
    report = gpslogger.read({"token": "t", "time": "2023-11-14T22:13:20Z"}, b"lat=41.15&lon=-8.61")
    assert report.credential == "t"
    assert [fix.ts_ms for fix in report.fixes] == [AT_MS]


@pytest.mark.parametrize(
    ("raw", "at_ms"),
    [
        (AT_S, AT_MS),
        (AT_MS, AT_MS),
        (str(AT_S), AT_MS),
        ("1700000000.25", AT_MS + 250),
        ("2023-11-14T22:13:20Z", AT_MS),
        ("2023-11-14T22:13:20", AT_MS),
        ("2023-11-14 22:13:20", AT_MS),
        ("2023-11-14T23:13:20+0100", AT_MS),
        ("2023-11-14T22:13:20.500Z", AT_MS + 500),
    ],
)
def test_times_of_every_app(raw: object, at_ms: int) -> None:
    assert time_ms(raw) == at_ms


@pytest.mark.parametrize("raw", [None, "", "soon", 0, -5, "nan", 1e300, True, [], {}, "2023-99-01T00:00:00Z"])
def test_what_is_no_time(raw: object) -> None:
    assert time_ms(raw) is None


@pytest.mark.parametrize("raw", [None, True, "x", "", "inf", float("nan"), [], 10**400])
def test_what_is_no_number(raw: object) -> None:
    assert number(raw) is None


def test_a_form_that_is_none_has_no_fields() -> None:
    assert form_of(b"\xff\xfe") == {}
    assert form_of("&".join(f"a{n}={n}" for n in range(TRACKER_PARAMETERS_MAX + 1)).encode()) == {}
    assert form_of(b"a=1&a=2&b=") == {"a": "1"}


def test_readers_never_share_what_they_count() -> None:
    first, second = (osmand.read({}, b"") for _ in range(2))
    assert first.skipped is not second.skipped


def test_every_app_reads_nonsense_of_every_type() -> None:
    values = [None, True, -1, 1.5, "", "x", [], [1], {}, {"a": 1}]
    for left, right in product(values, values):
        body = orjson.dumps({"_type": "location", "lat": left, "tst": right, "location": left, "locations": [right]})
        for read in (owntracks.read, traccar.read, overland.read):
            assert read(body).fixes == ()


def test_an_alarm_without_a_time_is_one_alarm_for_a_minute() -> None:
    report = osmand.read({"id": "x", "alarm": "sos"}, b"")
    device_id = DeviceId(UUID(int=1))
    start_ms = 1_700_000_040_000
    first, retried, later = (
        trigger_body(report, device_id, now_ms=start_ms + delay_ms)["trigger_id"] for delay_ms in (0, 59_999, 60_000)
    )
    assert first == retried != later
    assert trigger_body(report, DeviceId(UUID(int=2)), now_ms=start_ms)["trigger_id"] != first


def test_an_alarm_carries_the_newest_fix_of_its_batch() -> None:
    old = TRACCAR["location"]
    new = {
        **old,
        "timestamp": "2023-11-14T22:14:20Z",
        "extras": {"alarm": "sos"},
        "coords": {**old["coords"], "accuracy": -1},
    }
    body = trigger_body(traccar.read(orjson.dumps({"location": [new, old]})), DeviceId(UUID(int=1)), now_ms=0)
    assert body["fix"] == {"lat": 41.15, "lng": -8.61, "ts_ms": AT_MS + 60_000}

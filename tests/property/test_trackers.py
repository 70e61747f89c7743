"""No body of a stranger raises: what comes out is a fix that the wire can hold, or a reason."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from engine.geo.fixes import FIX_BYTES
from gateway_ws.trackers import gpslogger, osmand, overland, owntracks, traccar
from gateway_ws.trackers.reading import Report, payload_of

NAMES = st.sampled_from(
    [
        "_type", "lat", "lon", "tst", "acc", "vel", "cog", "batt", "bs", "location", "locations", "coords", "latitude",
        "longitude", "timestamp", "battery", "level", "extras", "alarm", "device_id", "geometry", "coordinates",
        "properties", "speed", "course", "battery_level", "id", "deviceid", "hdop", "time", "token",
    ]
)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["location", "encrypted", "sos", "2023-11-14T22:13:20Z", 1_700_000_000, 41.15, "nan", "1e999"])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=8), max_leaves=24
)
BODIES = st.binary(max_size=64) | JSON.map(orjson.dumps)
WORDS = st.text(max_size=20) | st.sampled_from(["sos", "1700000000", "41.15", "-8.61", "1e400", "nan", "41,-8"])
FORMS = st.dictionaries(NAMES, WORDS, max_size=10)


def holds(report: Report) -> None:
    assert report.fixes or report.skipped
    if report.fixes:
        assert len(payload_of(report.fixes)) == FIX_BYTES * len(report.fixes)


@given(BODIES)
def test_json_apps(body: bytes) -> None:
    for read in (owntracks.read, traccar.read, overland.read):
        holds(read(body))


@given(FORMS, st.binary(max_size=64))
def test_form_apps(query: dict[str, str], body: bytes) -> None:
    for read in (osmand.read, gpslogger.read):
        holds(read(query, body))

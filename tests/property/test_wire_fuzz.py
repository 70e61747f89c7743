"""Mutated real frames through every pure decoder: a value, or an error of the wire's own family, never another."""

import random
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import msgpack
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import WireError
from engine.geo import feed
from engine.geo.acceptance import OUTCOMES, RULES, accept
from engine.geo.cell_index import MOVE
from engine.geo.fixes import FIX, decode, payload_of_objects
from engine.geo.worker_table import WorkerTable
from gateway_ws.closing import TooManyFixes, UnknownType
from gateway_ws.live_map.view import Box
from gateway_ws.raw import wire
from gateway_ws.socketio import ping_frame
from gateway_ws.trackers import gpslogger, osmand, overland, owntracks, traccar
from gateway_ws.trackers.reading import payload_of
from tests.mutation import mutated

FIXES = np.array([(1_700_000_000_000 + at, 411_500_000, -86_100_000, 50, 100, 9_000, 80, 0) for at in range(3)], FIX)
FRAMES = [
    msgpack.packb(frame)
    for frame in (
        [0, "token", {"client": "app", "epoch": "e", "offset": 7}],
        [1, 1, FIXES.tobytes()],
        [1, 2**40, FIXES.tobytes() * 16],
        [3, 9, FIXES[:1].tobytes() + bytes(range(16)) + bytes(8)],
        [4, 1, "booking.transition", {"booking_id": str(UUID(int=7)), "to": "arrived"}],
        [7, "token"],
    )
]
FEED = [struct.pack("<QQ", 5, 9) + np.zeros(count, MOVE).tobytes() for count in (0, 1, 3)]
TRACKER = {
    "owntracks": {"_type": "location", "lat": 41.1, "lon": -8.6, "tst": 1_700_000_000, "acc": 5, "batt": 80, "vel": 3},
    "traccar": {
        "location": {
            "timestamp": "2023-11-14T22:13:20Z",
            "coords": {"latitude": 41.1, "longitude": -8.6, "accuracy": 5, "speed": 1.5, "heading": 90},
            "battery": {"level": 0.8, "is_charging": True},
            "extras": {"alarm": "sos"},
        },
        "device_id": "token",
    },
    "overland": {
        "locations": [
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [-8.6, 41.1]},
                "properties": {"timestamp": "2023-11-14T22:13:20Z", "speed": -1, "horizontal_accuracy": 5},
            }
        ]
    },
}
FORM = urlencode({"id": "token", "lat": 41.1, "lon": -8.6, "timestamp": 1_700_000_000, "hdop": 5, "alarm": "sos"})
READERS: list[tuple[Callable[[bytes], Any], list[bytes]]] = [
    (owntracks.read, [orjson.dumps(body) for body in TRACKER.values()]),
    (traccar.read, [orjson.dumps(body) for body in TRACKER.values()]),
    (overland.read, [orjson.dumps(body) for body in TRACKER.values()]),
    (lambda body: osmand.read({}, body), [FORM.encode()]),
    (lambda body: gpslogger.read({}, body), [FORM.encode()]),
    (lambda body: osmand.read(dict(parse_qsl(body.decode("latin-1"))), b""), [FORM.encode()]),
]
SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
def test_frames_of_the_raw_socket(seed: int) -> None:
    data = mutated(random.Random(seed), FRAMES)
    try:
        frame = wire.decode(data)
    except (WireError, UnknownType, TooManyFixes):
        frame = None
    peeled = wire.peel_fixes(data)
    if peeled is not None:
        assert frame == wire.Fixes(*peeled), "the short way takes nothing that the long way would refuse"


@given(SEEDS)
def test_ping_frames_of_socketio(seed: int) -> None:
    data = mutated(
        random.Random(seed), [ping_frame.encode(1, FIXES.tobytes()), ping_frame.encode(2**64 - 1, bytes(24))]
    )
    try:
        seq, fixes = ping_frame.decode(data)
    except (WireError, TooManyFixes):
        return
    assert 0 <= seq < 2**64
    assert len(fixes) % FIX.itemsize == 0


@given(SEEDS)
def test_messages_of_the_feed(seed: int) -> None:
    try:
        message = feed.decode(mutated(random.Random(seed), FEED))
    except WireError:
        return
    assert len(message.slots) == len(message.records)


@pytest.mark.parametrize(("read", "bodies"), READERS)
@given(seed=SEEDS)
def test_bodies_of_stock_trackers(read: Callable[[bytes], Any], bodies: list[bytes], seed: int) -> None:
    report = read(mutated(random.Random(seed), bodies))
    assert report.fixes or report.skipped
    if report.fixes:
        assert len(payload_of(report.fixes)) == len(report.fixes) * FIX.itemsize


@given(st.lists(st.binary(min_size=24, max_size=24), min_size=1, max_size=20), st.integers(-(2**62), 2**62))
def test_no_fix_of_random_bits_stops_the_rules(records: list[bytes], now_ms: int) -> None:
    fixes, slots = decode(records, [0] * len(records))
    table, outcomes = WorkerTable(), np.full(len(fixes), 255, np.uint8)
    table.set_duty(0, 0)
    accept(fixes, slots, table.columns, now_ms, RULES, outcomes)
    assert (outcomes < OUTCOMES).all()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["ts_ms", "lat", "lng", "accuracy_m", "bbox", "zoom"]), inner, max_size=6)
    ),
    max_leaves=10,
)


@given(st.lists(JSON, max_size=4))
def test_fixes_written_as_json(objects: list[object]) -> None:
    try:
        payload = payload_of_objects(objects)
    except WireError:
        return
    assert len(payload) == len(objects) * FIX.itemsize


@given(JSON | st.fixed_dictionaries({"bbox": st.lists(JSON, min_size=4, max_size=4), "zoom": JSON}))
def test_views_of_a_console(body: object) -> None:
    try:
        box = Box.parse(body)
    except WireError:
        return
    assert -180 <= box.west <= 180
    assert -90 <= box.south <= box.north <= 90

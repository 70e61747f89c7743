"""The live map and the frames that consoles get of it; who is on the way to whom."""

from typing import Any

import h3
import msgpack
import numpy as np
import pytest

from config.limits import CELL_RESOLUTION, CONSOLE_WORKERS_MAX, FANOUT_RESOLUTION, WORKER_SILENT_MS
from engine.core.errors import WireError
from engine.geo.cells import cells_of, parents_of
from engine.geo.fixes import RECORD
from engine.geo.ingest import Moves
from gateway_ws.jobs import Jobs
from gateway_ws.live_map.columns import LiveMap
from gateway_ws.live_map.view import CELL_ROW, Box, MapView, cell_resolution
from gateway_ws.positions import MAP_ROW, map_topic, publications

NOW_MS = 1_700_000_000_000
PORTO = Box(west=-8.75, south=41.05, east=-8.45, north=41.25, zoom=14)
FAR = Box(west=-8.75, south=41.05, east=-8.45, north=41.25, zoom=9)


def records(places: list[tuple[float, float]], *, at_ms: int = NOW_MS) -> np.ndarray:
    found = np.zeros(len(places), RECORD)
    found["ts_ms"] = at_ms
    found["lat_e7"] = [round(lat * 1e7) for lat, _ in places]
    found["lng_e7"] = [round(lng * 1e7) for _, lng in places]
    found["cell"] = cells_of(found["lat_e7"], found["lng_e7"])
    return found


def live_map(places: list[tuple[float, float]]) -> LiveMap:
    live = LiveMap()
    live.load(np.arange(len(places)), records(places))
    for slot in range(len(places)):
        live.set_org(slot, 0)
    return live


def moves(
    slots: list[int], rows: np.ndarray, *, old: list[int] | None = None, removed: dict[int, int] | None = None
) -> Moves:
    removed = removed or {}
    return Moves(
        np.array(slots, np.int64),
        rows,
        np.array(old or [0] * len(slots), np.uint64),
        np.array(list(removed), np.int64),
        np.array(list(removed.values()), np.uint64),
    )


def hear(live: LiveMap, told: list[tuple[str, bytes]]) -> None:
    """Feed what one gateway publishes into another's map."""
    for channel, payload in told:
        body = msgpack.unpackb(payload)
        live.apply(
            int(channel.removeprefix("fan:map:"), 16),
            np.frombuffer(body["rows"], MAP_ROW),
            np.frombuffer(body["cells"], np.uint64),
            np.frombuffer(body["gone"], np.uint32),
        )


def frame(view: MapView, live: LiveMap) -> tuple[dict[str, Any], list[int], list[int]]:
    packed = view.frame(live, NOW_MS)
    assert packed is not None
    body = msgpack.unpackb(packed)
    rows = np.frombuffer(body["rows"], MAP_ROW)
    return body, rows["slot"].tolist(), np.frombuffer(body["gone"], np.uint32).tolist()


def test_the_first_frame_is_whole_and_the_next_ones_tell_what_changed() -> None:
    live, view = live_map([(41.15, -8.6), (41.16, -8.6), (45.0, 9.0)]), MapView(PORTO, org=0)
    body, slots, _ = frame(view, live)
    assert (body["full"], slots) == (True, [0, 1])
    assert view.frame(live, NOW_MS) is None
    hear(live, publications(moves([1], records([(41.17, -8.6)], at_ms=NOW_MS + 1)), Jobs()))
    body, slots, gone = frame(view, live)
    assert (body["full"], slots, gone) == (False, [1], [])


def test_who_leaves_the_box_is_gone_and_who_enters_is_told_whole() -> None:
    live, view = live_map([(41.15, -8.6), (41.5, -8.6)]), MapView(PORTO, org=0)
    frame(view, live)
    hear(live, publications(moves([0, 1], records([(41.5, -8.6), (41.15, -8.6)], at_ms=NOW_MS + 1)), Jobs()))
    _, slots, gone = frame(view, live)
    assert (slots, gone) == ([1], [0])


def test_a_view_that_follows_another_of_its_state_goes_on_like_it() -> None:
    live = live_map([(41.15, -8.6), (41.16, -8.6), (41.5, -8.6)])
    leader, follower, alone = (MapView(PORTO, org=0) for _ in range(3))
    assert leader.state == follower.state
    for places in ([(41.15, -8.6)] * 3, [(41.5, -8.6), (41.16, -8.61), (41.15, -8.6)], [(41.15, -8.6)] * 3):
        live.load(np.arange(3), records(places, at_ms=NOW_MS + live.version))
        leader.frame(live, NOW_MS)
        alone.frame(live, NOW_MS)
        follower.follow(leader)
        assert follower.state == leader.state == alone.state
    live.load(np.arange(3), records([(41.5, -8.6), (41.16, -8.6), (41.16, -8.6)], at_ms=NOW_MS + live.version))
    told = follower.frame(live, NOW_MS)
    assert told == alone.frame(live, NOW_MS) is not None


def test_going_off_duty_is_gone_but_crossing_into_another_coarse_cell_is_not() -> None:
    before, after = records([(41.15, -8.6)]), records([(41.45, -8.6)], at_ms=NOW_MS + 1)
    old = int(before["cell"][0])
    assert parents_of(before["cell"], FANOUT_RESOLUTION) != parents_of(after["cell"], FANOUT_RESOLUTION)
    told = publications(moves([0], after, old=[old]), Jobs())
    assert len(told) == 2
    for order in (told, told[::-1]):
        live = live_map([(41.15, -8.6)])
        hear(live, order)
        assert live.cells[0] == after["cell"][0], "both messages, in either order"
    live = live_map([(41.15, -8.6)])
    hear(live, publications(moves([], records([]), removed={0: old}), Jobs()))
    assert live.cells[0] == 0


def test_an_older_row_than_the_known_one_changes_nothing() -> None:
    live = live_map([(41.15, -8.6)])
    hear(live, publications(moves([0], records([(41.2, -8.6)], at_ms=NOW_MS - 1)), Jobs()))
    assert live.rows["lat_e7"][0] == 411_500_000


def test_statuses_of_the_matcher_and_silence() -> None:
    live = live_map([(41.15, -8.6)] * 5)
    live.set_statuses(bytes([0, 1, 2, 3]), NOW_MS)
    assert live.rows["status"][:5].tolist() == [0, 0, 1, 2, 0]
    before = live.version
    live.set_statuses(bytes([0, 1, 2, 3]), NOW_MS)
    assert live.version == before
    live.set_statuses(bytes([0, 1, 2, 3]), NOW_MS + WORKER_SILENT_MS + 1)
    assert live.rows["status"][:5].tolist() == [3] * 5


def test_far_out_and_in_a_crowd_cells_are_counted() -> None:
    live, view = live_map([(41.15, -8.6)] * 3 + [(41.2, -8.5)]), MapView(FAR, org=0)
    live.set_statuses(bytes([3, 1, 1, 1]), NOW_MS)
    packed = view.frame(live, NOW_MS)
    assert packed is not None
    cells = np.frombuffer(msgpack.unpackb(packed)["cells"], CELL_ROW)
    assert sorted(cells["workers"].tolist()) == [1, 3]
    assert cells["busy"].sum() == 1
    assert {h3.get_resolution(h3.int_to_str(int(cell))) for cell in cells["h3"]} == {cell_resolution(9)}
    assert view.frame(live, NOW_MS) is None

    crowd = live_map([(41.15, -8.6)] * (CONSOLE_WORKERS_MAX + 1))
    packed = MapView(PORTO, org=0).frame(crowd, NOW_MS)
    assert packed is not None
    assert msgpack.unpackb(packed)["kind"] == "cells"


def test_a_box_over_the_180th_meridian_holds_both_sides() -> None:
    live = live_map([(-17.0, 179.9), (-17.0, -179.9), (-17.0, 0.0)])
    view = MapView(Box.parse({"bbox": [179, -18, 181, -16], "zoom": 14}), org=0)
    assert frame(view, live)[1] == [0, 1]


@pytest.mark.parametrize("bbox", [[0, 10, 1, 5], [0, -91, 1, 0], [0, 0, float("inf"), 1], [0, 0, 1], "x"])
def test_a_box_is_a_place(bbox: object) -> None:
    with pytest.raises(WireError):
        Box.parse({"bbox": bbox, "zoom": 3})


def test_parents_are_those_of_h3() -> None:
    cells = records([(41.15, -8.6), (-33.9, 151.2), (64.1, -21.9)])["cell"]
    for resolution in range(CELL_RESOLUTION + 1):
        told = [h3.int_to_str(int(cell)) for cell in parents_of(cells, resolution)]
        assert told == [h3.cell_to_parent(h3.int_to_str(int(cell)), resolution) for cell in cells]
    assert parents_of(np.array([0], np.uint64), 5).tolist() == [0]


def booking(state: str, version: int, booking_id: str = "b") -> dict[str, Any]:
    place, customer = {"lat": 41.2, "lng": -8.6}, {"person_id": "c"}
    return {"booking_id": booking_id, "state": state, "version": version, "pin": place, "customer": customer}


def test_a_job_is_followed_from_its_assignment_and_watched_from_the_way_there_only() -> None:
    jobs = Jobs()
    for version, (state, is_followed, is_watched) in enumerate(
        [
            ("offered", False, False),
            ("assigned", True, False),
            ("en_route", True, True),
            ("arrived", True, True),
            ("in_progress", False, False),
        ]
    ):
        jobs.update(4, booking(state, version))
        assert (4 in jobs, jobs.watched(4) is not None) == (is_followed, is_watched), state
        assert list(jobs.slots_of_customer("c")) == ([4] if is_followed else []), "an alarm of either concerns both"


def test_late_news_of_a_job_changes_nothing() -> None:
    jobs = Jobs()
    jobs.update(4, booking("arrived", 5))
    jobs.update(4, booking("cancelled", 4))
    jobs.update(4, booking("cancelled", 9, booking_id="another"))
    assert 4 in jobs
    jobs.replace(4, None)
    assert len(jobs) == 0


def test_a_flush_tells_the_customers_of_watched_jobs_alone() -> None:
    jobs = Jobs()
    jobs.update(1, booking("en_route", 3))
    told = dict(publications(moves([0, 1], records([(41.15, -8.6), (41.16, -8.6)])), jobs))
    assert set(told) == {"fan:booking:b", f"fan:{map_topic(int(parents_of(records([(41.15, -8.6)])['cell'], 5)[0]))}"}


def test_out_of_sight_a_job_goes_on_and_its_customer_hears_nothing() -> None:
    jobs, flush = Jobs(), moves([1], records([(41.15, -8.6)]))
    assert jobs.update(1, booking("assigned", 2))
    assert list(jobs.slots_of_customer("c")) == [1]
    jobs.set_in_sight(1, is_in_sight=False)
    assert 1 in jobs, "the cadence of the phone is that of a job"
    assert not jobs.update(1, booking("en_route", 3)), "no new job"
    jobs.replace(1, booking("en_route", 3))
    assert "fan:booking:b" not in dict(publications(flush, jobs)), "neither an event nor a new state brings them back"
    jobs.set_in_sight(1, is_in_sight=True)
    assert "fan:booking:b" in dict(publications(flush, jobs))

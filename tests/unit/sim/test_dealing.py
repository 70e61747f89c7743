"""A long recording of few people becomes a short one of many phones: nothing is lost and no way is torn apart."""

import numpy as np
import pytest

from sim.replay.dealing import PAUSE_MS, dealt
from sim.replay.recording import TRIP_GAP_MS, Recording, RecordingBuilder

PIECE_FIXES = 5
STEP_MS = 10_000


def recorded(*, people: int, pieces: int) -> Recording:
    builder = RecordingBuilder("test.csv")
    for person in range(people):
        worker = builder.worker(f"p{person}")
        for piece in range(pieces):
            for fix in range(PIECE_FIXES + piece):
                ts_ms = 1_000_000 + piece * 100 * TRIP_GAP_MS + fix * STEP_MS
                lat_deg = 40 + person + piece / 100 + fix / 10_000
                builder.add(worker, ts_ms, lat_deg, 8.0)
                builder.mark(worker, ts_ms, lat_deg, 8.0)
    return builder.build()


def ways(recording: Recording) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return each trip's places and inner times, wherever and whenever it now lies."""
    found = set()
    for trip in recording.trips:
        rows = recording.rows
        own = rows[(rows["worker"] == trip.worker) & (rows["ts_ms"] >= trip.start_ms) & (rows["ts_ms"] <= trip.end_ms)]
        found.add((tuple(own["lat_e7"].tolist()), tuple((own["ts_ms"] - own["ts_ms"][0]).tolist())))
    return found


@pytest.mark.parametrize("phones", [1, 2, 3, 50])
def test_every_piece_keeps_its_places_and_its_inner_times(phones: int) -> None:
    before = recorded(people=2, pieces=4)

    after = dealt(before, phones)

    assert len(after.rows) == len(before.rows)
    assert len(after.trips) == len(before.trips) == 8
    assert ways(after) == ways(before)
    assert (np.diff(after.rows["ts_ms"]) >= 0).all()
    assert after.first_ms == before.first_ms


def test_phones_start_together_and_pause_between_pieces() -> None:
    after = dealt(recorded(people=1, pieces=4), 2)

    for phone in range(2):
        own_ms = after.rows["ts_ms"][after.rows["worker"] == phone]
        steps = np.diff(own_ms)
        assert own_ms[0] == after.first_ms
        assert set(steps[steps > STEP_MS].tolist()) == {PAUSE_MS}


def test_more_phones_make_a_shorter_replay() -> None:
    before = recorded(people=2, pieces=10)

    spans = [dealt(before, phones).span_ms for phones in (1, 4, 20)]

    assert spans == sorted(spans, reverse=True)
    assert len(set(spans)) == 3

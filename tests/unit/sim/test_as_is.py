"""Fixes in the order of the file: the newest is now, and no phone sends faster than the gateway takes."""

from pathlib import Path

import numpy as np

from sim.replay.as_is import BURST_FIXES, FIXES_PER_S, ON_DUTY_MS, Pace, on_duty_first_ms, shift_to_now_ms
from sim.replay.readers import read_recording
from sim.replay.recording import Recording

NEWEST_FIRST = "cab,lat,lng,unix_s\na,37.3,-122,300\na,37.2,-122,200\nb,37.9,-122,250\na,37.1,-122,100\n"


def as_it_stands(tmp_path: Path, text: str = NEWEST_FIRST) -> Recording:
    path = tmp_path / "cabs.csv"
    path.write_text(text)
    return read_recording(path, as_is=True)


def test_rows_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    recording = as_it_stands(tmp_path)

    assert recording.is_as_it_stands
    assert recording.rows["ts_ms"].tolist() == [300_000, 200_000, 250_000, 100_000]
    assert (recording.first_ms, recording.span_ms) == (100_000, 200_000)
    assert recording.first_hours(150 / 3600).rows["ts_ms"].tolist() == [200_000, 250_000, 100_000]


def test_newest_first_turns_the_time_round(tmp_path: Path) -> None:
    recording = as_it_stands(tmp_path, "lat,lng,ts\n1,1,100\n2,1,300\n3,1,200\n").newest_first()

    assert recording.is_as_it_stands
    assert recording.rows["ts_ms"].tolist() == [300_000, 200_000, 100_000]


def test_the_newest_fix_is_now_and_duty_is_no_longer_than_the_recording(tmp_path: Path) -> None:
    recording = as_it_stands(tmp_path)

    assert shift_to_now_ms(recording, 1_300_000) == 1_000_000
    assert on_duty_first_ms(recording) == 200_000
    assert on_duty_first_ms(as_it_stands(tmp_path, "lat,lng,ts\n1,1,0\n1,1,99999999\n")) == ON_DUTY_MS


def test_a_burst_and_then_a_rate_of_each_phone(tmp_path: Path) -> None:
    lines = [f"{cab},37,-122,{second}" for second in range(4_000, 0, -1) for cab in "ab"]
    recording = as_it_stands(tmp_path, "\n".join(["cab,lat,lng,unix_s", *lines]))
    pace = Pace(recording.rows)

    assert [len(rows) for rows in pace.due(0)] == [BURST_FIXES] * 2
    assert [len(rows) for rows in pace.due(0)] == []
    assert [len(rows) for rows in pace.due(2)] == [2 * FIXES_PER_S] * 2
    assert not pace.is_done
    last = list(pace.due(3_600))
    assert pace.is_done
    assert pace.sent == 8_000
    assert all((np.diff(rows["ts_ms"]) < 0).all() for rows in last)

"""Recorded traces: Porto's own file, small files with what goes wrong in real ones, GPX from strangers."""

import gzip
import io
import lzma
import os
from pathlib import Path

import numpy as np
import pytest

from sim.client.wire import UNKNOWN_U16
from sim.replay.gpx import read_gpx
from sim.replay.readers import read_recording
from sim.replay.recording import Recording, wire_records
from sim.replay.times import parse_time_ms

DATA = Path(os.environ.get("CLENZY_DATA", Path(__file__).parents[4] / "shared" / "data"))
PORTO = DATA / "traces" / "porto_taxis_2013.csv.xz"

PORTO_SAMPLE = """"TRIP_ID","CALL_TYPE","ORIGIN_CALL","ORIGIN_STAND","TAXI_ID","TIMESTAMP","MISSING_DATA","POLYLINE"
"t2","C","","","20000596","1372637303","False","[[-8.639847,41.159826],[-8.640351,41.159871],[-8.642196,41.160114]]"
"t1","C","","","20000589","1372636858","False","[[-8.618643,41.141412],[-8.618499,41.141376]]"
"t3","B","","7","20000596","1372637400","False","[]"
"t4","B","","7","20000596","oops","False","[[-8.6,41.1]]"
"t5","B","","7","20000596","1372637400","True","[[-8.6,41.1"
"""


def written(folder: Path, name: str, text: str) -> Recording:
    path = folder / name
    path.write_text(text)
    return read_recording(path)


@pytest.mark.skipif(
    not PORTO.exists(), reason=f"needs the Porto taxi trips at {PORTO} (set CLENZY_DATA to their folder)"
)
def test_porto_file_is_read_whole() -> None:
    recording = read_recording(PORTO)
    assert len(recording.rows) == 47_304
    assert len(recording.trips) == 998
    assert len(recording.workers) == 308
    assert recording.skipped == {"trip without a fix": 1}
    assert (np.diff(recording.rows["ts_ms"]) >= 0).all()
    assert 9.2 * 3_600_000 < recording.span_ms < 9.4 * 3_600_000


def test_porto_positions_are_15_s_apart_and_latitude_is_second(tmp_path: Path) -> None:
    recording = written(tmp_path, "porto.csv", PORTO_SAMPLE)
    assert recording.workers == ("20000596", "20000589")
    assert recording.rows[["worker", "ts_ms", "lat_e7", "lng_e7"]].tolist() == [
        (1, 1_372_636_858_000, 411_414_120, -86_186_430),
        (1, 1_372_636_873_000, 411_413_760, -86_184_990),
        (0, 1_372_637_303_000, 411_598_260, -86_398_470),
        (0, 1_372_637_318_000, 411_598_710, -86_403_510),
        (0, 1_372_637_333_000, 411_601_140, -86_421_960),
    ]
    assert [(trip.trip_id, trip.worker, trip.duration_s) for trip in recording.trips] == [
        ("t1", 1, 15.0),
        ("t2", 0, 30.0),
    ]
    assert recording.trips[1].end_lng_deg == -8.642196
    assert recording.skipped == {"trip without a fix": 1, "unreadable trip": 2}


@pytest.mark.parametrize(("suffix", "opener"), [(".csv", Path.open), (".csv.gz", gzip.open), (".csv.xz", lzma.open)])
def test_packed_or_not_it_is_the_same_file(tmp_path: Path, suffix: str, opener: object) -> None:
    path = tmp_path / f"porto{suffix}"
    with opener(path, "wb") as file:  # type: ignore[operator]
        file.write(PORTO_SAMPLE.encode())
    assert len(read_recording(path).rows) == 5


def test_csv_newest_first_with_an_occupied_flag_becomes_ordered_trips(tmp_path: Path) -> None:
    recording = written(
        tmp_path,
        "cabs.csv",
        "cab,lat,lng,occupied,unix_s\n"
        "a,37.4,-122.4,0,1211033900\n"
        "a,37.3,-122.3,1,1211033800\n"
        "a,37.2,-122.2,1,1211033700\n"
        "a,37.1,-122.1,0,1211033600\n"
        "b,37.1,-122.1,0,1211033650\n",
    )
    assert recording.rows["ts_ms"].tolist() == [1_211_033_600_000 + 1000 * s for s in (0, 50, 100, 200, 300)]
    [trip] = recording.trips
    assert (trip.worker, trip.duration_s, trip.start_lat_deg, trip.end_lng_deg) == (0, 100.0, 37.2, -122.3)


def test_csv_columns_by_many_names_optional_ones_and_bad_lines(tmp_path: Path) -> None:
    recording = written(
        tmp_path,
        "any.csv",
        "\ufeffDevice, Latitude ,Longitude,DateTime,accuracy_m,Speed,Heading\n"
        "x,10.0,20.0,2024-05-01 08:00:00,12.5,3.25,-90\n"
        "x,10.1,20.0,2024-05-01T08:00:10+00:00,,nan,oops\n"
        "x,,20.0,2024-05-01 08:00:20,1,1,1\n"
        "x,ten,20.0,2024-05-01 08:00:20,1,1,1\n"
        "x,10.2,20.0,yesterday,1,1,1\n"
        "x,999.0,20.0,2024-05-01 08:00:20,1,1,1\n"
        "x,95.0,20.0,2024-05-01 08:00:30,,,\n"
        "short\n",
    )
    assert recording.workers == ("x",)
    assert recording.rows["lat_e7"].tolist() == [100_000_000, 101_000_000, 950_000_000]
    assert recording.rows["accuracy_dm"].tolist() == [125, UNKNOWN_U16, UNKNOWN_U16]
    assert recording.rows["speed_cm_s"].tolist() == [325, UNKNOWN_U16, UNKNOWN_U16]
    assert recording.rows["heading_cdeg"].tolist() == [27_000, UNKNOWN_U16, UNKNOWN_U16]
    assert recording.skipped == {"unreadable line": 4, "not a place": 1}


def test_without_a_flag_silence_parts_trips_and_without_a_worker_the_file_is_one(tmp_path: Path) -> None:
    lines = [f"{1_700_000_000 + second},41.{second:03d},-8.6" for second in (0, 60, 120, 600, 660, 2_000)]
    recording = written(tmp_path, "one.csv", "ts,lat,lon\n" + "\n".join(lines))
    assert recording.workers == ("one.csv",)
    assert [trip.duration_s for trip in recording.trips] == [120.0, 60.0]


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n", "lat,lng,ts\n", "lat,lng,ts\nx,y,z\n"])
def test_a_file_without_fixes_says_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"empty\.csv"):
        written(tmp_path, "empty.csv", text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1700000000", 1_700_000_000_000),
        ("1700000000.5", 1_700_000_000_500),
        ("1700000000123", 1_700_000_000_123),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14 22:13:20", 1_700_000_000_000),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000_000),
    ],
)
def test_times(text: str, ms: int) -> None:
    assert parse_time_ms(text) == ms


@pytest.mark.parametrize("text", ["", "nan", "inf", "soon"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_time_ms(text)


def test_the_first_hours(tmp_path: Path) -> None:
    recording = written(tmp_path, "porto.csv", PORTO_SAMPLE).first_hours(0.01)
    assert len(recording.rows) == 2
    assert [trip.trip_id for trip in recording.trips] == ["t1"]


def test_wire_records_are_moved_in_time_and_say_what_is_unknown(tmp_path: Path) -> None:
    recording = written(tmp_path, "porto.csv", PORTO_SAMPLE)
    records = wire_records(recording.rows, shift_ms=1_000)
    assert (records["ts_ms"] - recording.rows["ts_ms"] == 1_000).all()
    assert (records["accuracy_dm"] == UNKNOWN_U16).all()
    assert (records["battery_pct"] == 255).all()
    assert records.itemsize == 24


GPX = """<?xml version="1.0"?>
<gpx xmlns="http://www.topografix.com/GPX/1/1" version="1.1"><metadata><name>ignored</name></metadata>
<trk><name>Anna</name><trkseg>
<trkpt lat="41.1" lon="-8.6"><ele>12</ele><time>2024-05-01T08:00:00Z</time><speed>2.5</speed><course>90</course></trkpt>
<trkpt lat="41.2" lon="-8.6"><time>2024-05-01T08:01:00Z</time></trkpt>
<trkpt lat="41.3" lon="-8.6"/>
</trkseg></trk>
<trk><trkseg><trkpt lat="42.0" lon="-8.0"><time>2024-05-01T08:00:30Z</time></trkpt></trkseg></trk></gpx>"""


def test_gpx_tracks_are_workers(tmp_path: Path) -> None:
    recording = written(tmp_path, "walk.gpx", GPX)
    assert recording.workers == ("Anna", "track 2")
    assert recording.rows["lat_e7"].tolist() == [411_000_000, 420_000_000, 412_000_000]
    assert recording.rows["speed_cm_s"].tolist() == [250, UNKNOWN_U16, UNKNOWN_U16]
    assert recording.rows["heading_cdeg"][0] == 9_000
    assert [trip.duration_s for trip in recording.trips] == [60.0]
    assert recording.skipped == {"point without a time or place": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE gpx [<!ENTITY a "aaaa">]><gpx>&a;</gpx>', "document type"),
        ("<gpx><trk>", "not XML"),
        ("<a>" * 40, "nested deeper"),
        ("<gpx></gpx>", "no fix"),
    ],
)
def test_gpx_of_strangers_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_gpx(io.BytesIO(text.encode()), source="x.gpx")


def test_gpx_beyond_the_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.replay.gpx.GPX_BYTES_MAX", 100)
    with pytest.raises(ValueError, match="larger than 100"):
        read_gpx(io.BytesIO(GPX.encode()), source="x.gpx")

"""Reading a trail: who may, what is recorded, the three forms, the limits."""

from datetime import UTC, datetime
from uuid import UUID, uuid4
from xml.etree import ElementTree as ET

import asyncpg
import orjson
import pytest

from config.limits import TRAIL_SPAN_MS_MAX
from engine.core.units import rfc3339, utc_from_ms
from engine.core.vocabulary import Role
from engine.geo.trail_buffer import COLUMNS
from engine.geo.trail_partitions import make_days
from engine.people.seed import DEMO_ORG_ID
from tests.fakes import ManualClock
from tests.integration.api.conftest import Api, Cast, Person

GPX = "{http://www.topografix.com/GPX/1/1}"
STEP_MS = 5_000


@pytest.fixture
def begin_ms(clock: ManualClock) -> int:
    return clock.now_ms() - 3_600_000


def path(worker_id: UUID) -> str:
    return f"/v1/workers/{worker_id}/trail"


def asked(begin_ms: int, *, span_ms: int = 3_600_000, **more: str) -> dict[str, str]:
    begin, end = rfc3339(utc_from_ms(begin_ms)), rfc3339(utc_from_ms(begin_ms + span_ms))
    assert begin
    assert end
    return {"from": begin, "to": end, "reason": "customer complained about the arrival"} | more


async def walk(pool: asyncpg.Pool, slot: int, times_ms: list[int], *, org_id: UUID = DEMO_ORG_ID) -> None:
    """Store a walk north, 11 m a step, with every second step a metre to the east."""
    async with pool.acquire() as conn:
        await make_days(conn, {utc_from_ms(at_ms).date() for at_ms in times_ms})
        rows = [
            (utc_from_ms(at_ms), org_id, slot, 411_500_000 + 1_000 * at, -86_100_000 + 120 * (at % 2), 55, -1, 0)
            for at, at_ms in enumerate(times_ms)
        ]
        await conn.copy_records_to_table("trail", records=rows, columns=COLUMNS)


async def audit(pool: asyncpg.Pool) -> list[asyncpg.Record]:
    return await pool.fetch("SELECT * FROM audit_log WHERE action = 'trail.read' ORDER BY audit_id")


async def test_the_stored_fixes_come_in_order_with_what_is_unknown_as_null(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int
) -> None:
    await walk(pool, 0, [begin_ms + 7, begin_ms + STEP_MS])
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms))
    assert said.status == 200
    assert said.body["worker_id"] == str(worker.person_id)
    assert said.body["fixes"] == [
        {
            "at": rfc3339(utc_from_ms(begin_ms + 7)),
            "lat": 41.15,
            "lng": -8.61,
            "accuracy_m": 5.5,
            "speed_mps": None,
            "heading_deg": 0.0,
        },
        {
            "at": rfc3339(utc_from_ms(begin_ms + STEP_MS)),
            "lat": 41.1501,
            "lng": -8.609988,
            "accuracy_m": 5.5,
            "speed_mps": None,
            "heading_deg": 0.0,
        },
    ]


async def test_the_end_of_the_span_is_not_in_it(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int
) -> None:
    await walk(pool, 0, [begin_ms - 1, begin_ms, begin_ms + 999, begin_ms + 1_000])
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms, span_ms=1_000))
    assert [fix["at"] for fix in said.body["fixes"]] == [
        rfc3339(utc_from_ms(at_ms)) for at_ms in (begin_ms, begin_ms + 999)
    ]


async def test_every_look_is_recorded_with_who_whom_when_and_why(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int
) -> None:
    await walk(pool, 0, [begin_ms])
    for form in ("json", "geojson", "gpx"):
        await api.fetch(path(worker.person_id), by=dispatcher, query=asked(begin_ms, format=form))
    rows = await audit(pool)
    assert [orjson.loads(row["detail"])["format"] for row in rows] == ["json", "geojson", "gpx"]
    assert {row["actor_id"] for row in rows} == {dispatcher.person_id}
    assert {row["subject"] for row in rows} == {f"worker:{worker.person_id}"}
    assert orjson.loads(rows[0]["detail"]) == asked(begin_ms) | {"format": "json", "fixes": 1}


async def test_a_worker_of_somebody_else_does_not_exist(
    api: Api, cast: Cast, dispatcher: Person, pool: asyncpg.Pool, begin_ms: int
) -> None:
    stranger = await cast.in_another_org(Role.WORKER)
    assert stranger.slot is not None
    await walk(pool, stranger.slot, [begin_ms])
    for worker_id in (stranger.person_id, dispatcher.person_id, uuid4()):
        said = await api.get(path(worker_id), by=dispatcher, query=asked(begin_ms))
        assert (said.status, said.code) == (404, "not_found")
    assert await audit(pool) == []


async def test_fixes_of_a_slot_that_were_another_organisations_stay_theirs(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int
) -> None:
    await walk(pool, 0, [begin_ms], org_id=uuid4())
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms))
    assert said.body["fixes"] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"format": "kml"}, "format"),
        ({"simplify_m": "-1"}, "simplify_m"),
        ({"simplify_m": "nan"}, "simplify_m"),
        ({"simplify_m": "1001"}, "simplify_m"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2023-11-14T00:00:00"}, "from"),
        ({"until": "now"}, "until"),
    ],
)
async def test_what_breaks_a_rule_is_named(
    api: Api, dispatcher: Person, worker: Person, begin_ms: int, change: dict[str, str], field: str
) -> None:
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms) | change)
    assert (said.status, said.code, said.body["field"]) == (422, "invalid_input", field)


async def test_a_reason_and_a_span_are_required(api: Api, dispatcher: Person, worker: Person) -> None:
    said = await api.get(path(worker.person_id), by=dispatcher)
    assert {error["field"] for error in said.body["errors"]} == {"from", "to", "reason"}


@pytest.mark.parametrize("span_ms", [0, -1_000, TRAIL_SPAN_MS_MAX + 1])
async def test_a_span_has_a_length_and_an_end(
    api: Api, dispatcher: Person, worker: Person, begin_ms: int, span_ms: int
) -> None:
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms, span_ms=span_ms))
    assert (said.status, said.code) == (422, "invalid_input")
    assert "86400 seconds" in str(said.body)


async def test_more_fixes_than_the_limit_are_refused_not_cut(
    api: Api,
    dispatcher: Person,
    worker: Person,
    pool: asyncpg.Pool,
    begin_ms: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.geo.trail_reading.TRAIL_ROWS_MAX", 3)
    await walk(pool, 0, [begin_ms + STEP_MS * at for at in range(4)])
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms))
    assert (said.status, said.body["field"]) == (422, "to")
    assert "shorter time" in said.body["detail"]
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms, span_ms=3 * STEP_MS))
    assert len(said.body["fixes"]) == 3


async def test_geojson_has_a_line_for_each_piece_with_a_time_for_each_place(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int
) -> None:
    times_ms = [begin_ms, begin_ms + STEP_MS, begin_ms + 2 * STEP_MS, begin_ms + 1_800_000]
    await walk(pool, 0, times_ms)
    media_type, raw = await api.fetch(path(worker.person_id), by=dispatcher, query=asked(begin_ms, format="geojson"))
    assert media_type == "application/geo+json"
    collection = orjson.loads(raw)
    line, point = collection["features"]
    assert collection["type"] == "FeatureCollection"
    assert line["geometry"]["type"] == "LineString"
    assert line["geometry"]["coordinates"][:2] == [[-8.61, 41.15], [-8.609988, 41.1501]]
    assert line["properties"]["times"] == [rfc3339(utc_from_ms(at_ms)) for at_ms in times_ms[:3]]
    assert point["geometry"] == {"type": "Point", "coordinates": [-8.609988, 41.1503]}


async def test_gpx_is_a_track_of_segments_with_times(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int
) -> None:
    await walk(pool, 0, [begin_ms, begin_ms + STEP_MS, begin_ms + 1_800_000])
    media_type, raw = await api.fetch(path(worker.person_id), by=dispatcher, query=asked(begin_ms, format="gpx"))
    assert media_type == "application/gpx+xml"
    root = ET.fromstring(raw)
    assert (root.tag, root.get("version"), root.get("creator")) == (f"{GPX}gpx", "1.1", "Clenzy")
    track = root.find(f"{GPX}trk")
    assert track is not None
    assert [child.tag for child in track] == [f"{GPX}name", f"{GPX}trkseg", f"{GPX}trkseg"]
    points = track.findall(f"{GPX}trkseg/{GPX}trkpt")
    assert points[0].attrib == {"lat": "41.1500000", "lon": "-8.6100000"}
    told = [point.findtext(f"{GPX}time") for point in points]
    assert datetime.fromisoformat(str(told[0])) == datetime.fromtimestamp(begin_ms / 1000, UTC)
    assert len(told) == 3


async def test_an_empty_trail_is_a_sound_document_in_every_form(
    api: Api, dispatcher: Person, worker: Person, begin_ms: int
) -> None:
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms))
    assert said.body["fixes"] == []
    _, raw = await api.fetch(path(worker.person_id), by=dispatcher, query=asked(begin_ms, format="geojson"))
    assert orjson.loads(raw) == {"type": "FeatureCollection", "features": []}
    _, raw = await api.fetch(path(worker.person_id), by=dispatcher, query=asked(begin_ms, format="gpx"))
    assert ET.fromstring(raw).find(f"{GPX}trk/{GPX}trkseg") is None


async def test_simplified_keeps_the_ends_and_their_times(
    api: Api, dispatcher: Person, worker: Person, pool: asyncpg.Pool, begin_ms: int
) -> None:
    await walk(pool, 0, [begin_ms + STEP_MS * at for at in range(100)])
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms, simplify_m="5"))
    assert [fix["at"] for fix in said.body["fixes"]] == [
        rfc3339(utc_from_ms(at_ms)) for at_ms in (begin_ms, begin_ms + 99 * STEP_MS)
    ]
    said = await api.get(path(worker.person_id), by=dispatcher, query=asked(begin_ms, simplify_m="0.5"))
    assert len(said.body["fixes"]) == 100

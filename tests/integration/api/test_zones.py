"""Zones over REST: drawn, changed, imported all or none, read back, and what is told of them."""

from uuid import uuid4

import asyncpg
import numpy as np
import orjson
import pytest
import redis.asyncio

from engine.core.units import MS_PER_MIN, rfc3339, utc_from_ms
from engine.core.vocabulary import Role
from engine.geo.cell_index import CellIndex
from engine.geo.cells import cells_of
from engine.geo.fixes import RECORD
from tests.fakes import ManualClock
from tests.integration.api.conftest import Api, Cast, Person

pytestmark = pytest.mark.integration

RING = [[-8.61, 41.15], [-8.60, 41.15], [-8.60, 41.16], [-8.61, 41.16], [-8.61, 41.15]]
SQUARE = {"type": "Polygon", "coordinates": [RING]}
BOW_TIE = {"type": "Polygon", "coordinates": [[RING[0], RING[2], RING[1], RING[3], RING[0]]]}
PLAN = {"kind": "site", "name": "Depot", "geometry": SQUARE, "dwell_s": 600}


def feature(geometry: object = SQUARE, **properties: object) -> dict:
    return {"type": "Feature", "geometry": geometry, "properties": {"name": "Depot", "kind": "site"} | properties}


def collection(*features: object, **members: object) -> dict:
    return {"type": "FeatureCollection", "features": list(features)} | members


async def draw(api: Api, admin: Person, **changes: object) -> dict:
    said = await api.post("/v1/zones", PLAN | changes, by=admin, key=uuid4().hex)
    assert said.status == 201, said.body
    return dict(said.body)


async def test_a_zone_is_drawn_read_changed_and_deleted(
    api: Api, admin: Person, dispatcher: Person, pool: asyncpg.Pool
) -> None:
    zone = await draw(api, admin)
    assert zone["geometry"] == {"type": "MultiPolygon", "coordinates": [[RING]]}
    path = f"/v1/zones/{zone['zone_id']}"
    assert (await api.get(path, by=dispatcher)).body == zone
    listed = (await api.get("/v1/zones", by=dispatcher)).body["items"]
    assert listed == [{name: value for name, value in zone.items() if name != "geometry"}]

    changed = await api.call("PUT", path, PLAN | {"name": "Yard", "active": False, "version": 1}, by=admin)
    assert (changed.status, changed.body["name"], changed.body["version"]) == (200, "Yard", 2)
    late = await api.call("PUT", path, PLAN | {"version": 1}, by=admin)
    assert (late.status, late.code, late.body["field"]) == (409, "conflict", "version")

    assert (await api.call("DELETE", path, by=admin)).status == 204
    for said in (await api.get(path, by=admin), await api.call("PUT", path, PLAN, by=admin)):
        assert said.status == 404
    assert (await api.call("DELETE", path, by=admin)).status == 404
    assert (await api.get("/v1/zones", by=admin)).body == {"items": [], "next_cursor": None}
    assert (await api.get(f"{path}/events", by=admin)).body == {"items": [], "next_cursor": None}
    actions = await pool.fetch("SELECT action FROM audit_log WHERE action LIKE 'zone.%' ORDER BY audit_id")
    assert [row["action"] for row in actions] == ["zone.add", "zone.change", "zone.delete"]


async def test_zones_of_another_organisation_do_not_exist(api: Api, admin: Person, cast: Cast) -> None:
    zone = await draw(api, admin)
    rival = await cast.in_another_org(Role.ADMIN)
    for path in (f"/v1/zones/{zone['zone_id']}", f"/v1/zones/{zone['zone_id']}/events"):
        assert (await api.get(path, by=rival)).status == 404
    assert (await api.call("DELETE", f"/v1/zones/{zone['zone_id']}", by=rival)).status == 404
    assert (await api.get("/v1/zones", by=rival)).body["items"] == []
    assert (await api.get(f"/v1/workers/{cast.demo(Role.WORKER).person_id}/zones", by=rival)).status == 404
    foreign = await api.post("/v1/zones", PLAN | {"region_id": str(uuid4())}, by=admin, key=uuid4().hex)
    assert (foreign.status, foreign.body["field"]) == (422, "region_id")


@pytest.mark.parametrize(
    ("geometry", "field", "rule"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "geometry", "a Polygon or a MultiPolygon"),
        ({"type": "Polygon", "coordinates": [RING[:-1]]}, "geometry.coordinates.0", "a ring is closed"),
        ({"type": "Polygon", "coordinates": [RING[:2]]}, "geometry.coordinates.0", "4 positions or more"),
        ({"type": "Polygon", "coordinates": [[*RING[:4], "x"]]}, "geometry.coordinates.0.4", "[longitude, latitude]"),
        ({"type": "Polygon", "coordinates": [[[True, 2]] * 4]}, "geometry.coordinates.0.0", "in degrees"),
        (BOW_TIE, "geometry.coordinates", "Self-intersection at longitude -8.605, latitude 41.155"),
        (
            {"type": "Polygon", "coordinates": [[[y, x] for x, y in RING]]},
            "geometry.coordinates",
            "with latitude and longitude swapped",
        ),
        ({"type": "Polygon", "coordinates": [[[41, 120]] * 4]}, "geometry.coordinates.0.0", "seem to be swapped"),
        ({"type": "Polygon", "coordinates": [[[10, 85]] * 4]}, "geometry.coordinates.0.0", "away from the poles"),
        (
            {"type": "Polygon", "coordinates": [[[179.5, 1]] * 4]},
            "geometry.coordinates.0.0",
            "away from the antimeridian (±180°)",
        ),
        (
            {"type": "Polygon", "coordinates": [[[178, 1], [-178, 1], [-178, 2], [178, 1]]]},
            "geometry.coordinates",
            "away from the antimeridian (±180°)",
        ),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [11, 0], [11, 1], [0, 0]]]},
            "geometry.coordinates",
            "10° from side to side",
        ),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]},
            "geometry.coordinates",
            "at most 100000 km²",
        ),
        (
            {"type": "Polygon", "coordinates": [[[0, 0], [1e-5, 0], [1e-5, 1e-5], [0, 0]]]},
            "geometry.coordinates",
            "100 m² or more, this has 1",
        ),
        (
            {"type": "Polygon", "coordinates": [[[at / 1e4, 0] for at in range(5_001)]]},
            "geometry.coordinates.0",
            "at most 5000 corners",
        ),
    ],
)
async def test_what_is_no_zone_is_told_with_place_and_rule(
    api: Api, admin: Person, geometry: object, field: str, rule: str
) -> None:
    said = await api.post("/v1/zones", PLAN | {"geometry": geometry}, by=admin, key=uuid4().hex)
    assert (said.status, said.body["field"]) == (422, field)
    assert rule in said.body["errors"][0]["rule"]


async def test_an_import_is_all_or_none(api: Api, admin: Person) -> None:
    good = collection(feature(), feature(name="Second", dwell_s=60, colour="red"), features_of="a drawing program")
    bad = collection(feature(), feature(BOW_TIE), feature({"type": "Point"}))
    said = await api.post("/v1/zones/import", bad, by=admin, key=uuid4().hex)
    assert [each["field"] for each in said.body["errors"]] == [
        "features.1.geometry.coordinates",
        "features.2.geometry",
    ]
    nameless = await api.post("/v1/zones/import", collection(feature(name=" ")), by=admin, key=uuid4().hex)
    assert nameless.body["errors"][0]["field"] == "features.0.properties.name"
    assert (await api.get("/v1/zones", by=admin)).body["items"] == []

    dry = await api.post("/v1/zones/import?dry_run=true", good, by=admin, key=uuid4().hex)
    assert (dry.status, dry.body["dry_run"]) == (200, True)
    assert [(each["zone_id"], each["name"], each["dwell_s"]) for each in dry.body["items"]] == [
        (None, "Depot", None),
        (None, "Second", 60),
    ]
    assert dry.body["items"][0]["area_m2"] == pytest.approx(1113.19 * 838.1, rel=1e-3)
    assert (await api.get("/v1/zones", by=admin)).body["items"] == []

    key = uuid4().hex
    done = await api.post("/v1/zones/import", good, by=admin, key=key)
    again = await api.post("/v1/zones/import", good, by=admin, key=key)
    assert done.status == again.status == 201
    assert done.body == again.body
    assert len((await api.get("/v1/zones", by=admin)).body["items"]) == 2


async def test_a_bare_polygon_takes_name_and_kind_from_the_query(api: Api, admin: Person) -> None:
    said = await api.post("/v1/zones/import?name=Harbour&kind=no_go", SQUARE, by=admin, key=uuid4().hex)
    assert [(each["name"], each["kind"]) for each in said.body["items"]] == [("Harbour", "no_go")]


async def test_other_coordinates_than_geojsons_are_refused(api: Api, admin: Person) -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3763"}}
    said = await api.post("/v1/zones/import", collection(feature(), crs=crs), by=admin, key=uuid4().hex)
    assert (said.status, said.body["field"]) == (422, "crs")
    crs["properties"]["name"] = "urn:ogc:def:crs:OGC:1.3:CRS84"
    said = await api.post("/v1/zones/import", collection(feature(), crs=crs), by=admin, key=uuid4().hex)
    assert said.status == 201


async def test_what_is_exported_can_be_imported(api: Api, admin: Person, dispatcher: Person) -> None:
    await draw(api, admin)
    await draw(api, admin, name="Second", kind="no_go", dwell_s=None)
    media_type, raw = await api.fetch("/v1/zones/export", by=dispatcher, query={})
    assert media_type == "application/geo+json"
    said = await api.post("/v1/zones/import", orjson.loads(raw), by=admin, key=uuid4().hex)
    assert {(each["name"], each["kind"], each["dwell_s"]) for each in said.body["items"]} == {
        ("Depot", "site", 600),
        ("Second", "no_go", None),
    }


async def test_an_organisation_has_so_many_zones_and_no_more(
    api: Api, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.zones.zone_store.ZONES_PER_ORG_MAX", 2)
    await draw(api, admin)
    said = await api.post("/v1/zones/import", collection(feature(), feature()), by=admin, key=uuid4().hex)
    assert (said.status, said.code) == (409, "conflict")
    await draw(api, admin)


async def test_where_a_worker_is_and_since_when_nobody_has_heard_of_them(
    api: Api, admin: Person, worker: Person, pool: asyncpg.Pool, redis: "redis.asyncio.Redis", clock: ManualClock
) -> None:
    zone = await draw(api, admin)
    path = f"/v1/workers/{worker.person_id}/zones"
    assert (await api.get(path, by=admin)).body == {"items": [], "unheard_since": None}

    at_ms = clock.now_ms() - 5 * MS_PER_MIN
    await pool.execute(
        "INSERT INTO zone_presence VALUES ($1, $2, $3, true)", worker.person_id, zone["zone_id"], utc_from_ms(at_ms)
    )
    record = np.zeros(1, RECORD)
    record["ts_ms"], record["lat_e7"], record["lng_e7"] = at_ms, 411_500_000, -86_100_000
    record["cell"] = cells_of(record["lat_e7"], record["lng_e7"])
    await CellIndex(redis).move(np.array([worker.slot], np.int64), record)
    said = (await api.get(path, by=admin)).body
    assert said["unheard_since"] == rfc3339(utc_from_ms(at_ms))
    assert said["items"] == [
        {
            "zone_id": zone["zone_id"],
            "kind": "site",
            "name": "Depot",
            "entered_at": rfc3339(utc_from_ms(at_ms)),
            "dwell_told": True,
        }
    ]


async def test_events_are_paged_newest_first(api: Api, admin: Person, worker: Person, pool: asyncpg.Pool) -> None:
    zone = await draw(api, admin)
    await pool.execute(
        """INSERT INTO zone_event
           SELECT n, z.org_id, z.zone_id, $1, CASE n % 2 WHEN 1 THEN 'enter' ELSE 'exit' END, 'moved', z.created_at,
                  z.created_at
             FROM zone z, generate_series(1, 5) n""",
        worker.person_id,
    )
    path, seen, cursor = f"/v1/zones/{zone['zone_id']}/events", [], None
    for _ in range(3):
        page = (await api.get(path, by=admin, query={"limit": "2"} | ({"cursor": cursor} if cursor else {}))).body
        seen += [(each["event_id"], each["kind"]) for each in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [(5, "enter"), (4, "exit"), (3, "enter"), (2, "exit"), (1, "enter")]
    assert cursor is None

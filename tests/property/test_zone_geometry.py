"""Whatever is sent as GeoJSON is either a zone that keeps every rule, or refused by field and rule."""

import copy
from contextlib import suppress

import numpy as np
import orjson
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from config.limits import ZONE_FAULTS_TOLD_MAX, ZONES_PER_IMPORT_MAX
from engine.geo.zone_cover import cover_of
from engine.geo.zone_geometry import (
    DrawnZone,
    Fault,
    FaultyZones,
    Home,
    area_m2,
    geojson_of,
    read_document,
    read_geometry,
)

PORTO = Home("Porto", 41.15, -8.61)
RING = [[-8.61, 41.15], [-8.60, 41.15], [-8.60, 41.16], [-8.61, 41.16], [-8.61, 41.15]]
HOLE = [[-8.607, 41.153], [-8.603, 41.153], [-8.603, 41.157], [-8.607, 41.153]]
DOCUMENT = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [RING, HOLE]}, "properties": {"name": "A"}},
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[RING]]}, "properties": None},
    ],
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def paths(value: object, so_far: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [so_far] * bool(so_far) + [path for key, each in inside for path in paths(each, (*so_far, key))]


def read_or_faults(document) -> tuple[list[DrawnZone], tuple[Fault, ...]]:
    try:
        return read_document(document, PORTO), ()
    except FaultyZones as error:
        return [], error.faults


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(paths(DOCUMENT)), ANYTHING | st.floats(-200, 200)), min_size=1, max_size=3))
def test_a_spoilt_document_is_read_or_refused_by_field_and_rule(spoils) -> None:
    document = copy.deepcopy(DOCUMENT)
    for path, value in spoils:
        with suppress(KeyError, IndexError, TypeError):  # an earlier one has taken its place away
            place = document
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
    drawn, faults = read_or_faults(document)
    assert bool(drawn) != bool(faults)
    assert len(faults) <= ZONE_FAULTS_TOLD_MAX
    assert all(fault.rule for fault in faults)
    for zone in drawn:
        assert shapely.is_valid(zone.polygon)
        assert area_m2(zone.polygon) >= 100
        assert np.isfinite(shapely.get_coordinates(zone.polygon)).all()
        assert orjson.loads(orjson.dumps(geojson_of(zone.polygon))) == geojson_of(zone.polygon)


@given(ANYTHING)
def test_anything_at_all_is_refused_as_a_geometry(value: object) -> None:
    with pytest.raises(FaultyZones):
        read_geometry(value, "geometry", PORTO)


def test_rings_are_turned_as_geojson_wants_them() -> None:
    polygon = read_geometry({"type": "Polygon", "coordinates": [RING[::-1], HOLE]}, "geometry")
    (shell, hole) = geojson_of(polygon)["coordinates"][0]
    assert shapely.LinearRing(shell).is_ccw
    assert not shapely.LinearRing(hole).is_ccw


def test_more_features_than_an_import_holds_are_refused() -> None:
    feature = DOCUMENT["features"][0]
    with pytest.raises(FaultyZones, match=str(ZONES_PER_IMPORT_MAX)):
        read_document({"type": "FeatureCollection", "features": [feature] * (ZONES_PER_IMPORT_MAX + 1)})


def test_a_country_is_covered_by_few_cells() -> None:
    ring = [[-8.5, 38.0], [-6.8, 38.0], [-6.8, 41.0], [-8.5, 41.0], [-8.5, 38.0]]
    cover = cover_of(read_geometry({"type": "Polygon", "coordinates": [ring]}, "geometry"))
    assert len(cover.whole_coarse) > 100
    assert len(cover.whole_coarse) + len(cover.whole) + len(cover.edge) < 50_000

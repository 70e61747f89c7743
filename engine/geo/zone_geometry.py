"""Zones as GeoJSON: what may become a zone, and where it is at fault if it may not. Pure.

GeoJSON writes longitude first (RFC 7946), everything else of ours latitude first; only here they are turned round.
Corners are kept in whole 1e-7 degrees, as fixes are, so whether a fix lies on an edge is a question of integers.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import shapely

from config.limits import (
    ZONE_AREA_KM2_MAX,
    ZONE_AREA_M2_MIN,
    ZONE_FAULTS_TOLD_MAX,
    ZONE_HOME_KM_MAX,
    ZONE_LAT_DEG_MAX,
    ZONE_LNG_DEG_MAX,
    ZONE_POINTS_MAX,
    ZONE_SPAN_DEG_MAX,
    ZONES_PER_IMPORT_MAX,
)
from engine.core.errors import InvalidInput
from engine.core.units import DEG_E7, METRES_PER_DEG, deg_to_e7

ZonePolygon: TypeAlias = Any
"""A valid shapely MultiPolygon; x is the longitude, y the latitude, both in 1e-7 degrees."""

RING_POSITIONS_MIN: Final = 4
_HALF_TURN_DEG: Final = 180
_QUARTER_TURN_DEG: Final = 90
_M2_PER_KM2: Final = 1e6
_NUMBER_MAX: Final = 1e9
"""No coordinate: also keeps out NaN and integers that no float can hold."""
_CRS84: Final = re.compile(r"(CRS84|EPSG:+4326)$", re.IGNORECASE)
_REASON: Final = re.compile(r"(?P<what>[^[]+)\[(?P<x>\S+) (?P<y>\S+)\]")


@dataclass(frozen=True, slots=True)
class Home:
    """The centre of the region that zones are drawn in: by it axes that were swapped are noticed."""

    name: str
    lat_deg: float
    lng_deg: float


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule that a document breaks, and the path of the member that breaks it (`features.3.geometry`)."""

    field: str
    rule: str


class FaultyZones(InvalidInput):
    """Zones break their rules."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        first = faults[0]
        super().__init__(f"{first.field or 'The document'}: {first.rule}", field=first.field or None)


@dataclass(frozen=True, slots=True)
class DrawnZone:
    """One feature of a document: where it stood there, its area and its properties."""

    field: str
    polygon: ZonePolygon
    properties: Mapping[str, Any]


class _BrokenRuleError(Exception):
    def __init__(self, field: str, rule: str) -> None:
        self.fault = Fault(field, rule)
        super().__init__(rule)


def read_document(document: Mapping[str, Any], home: Home | None = None) -> list[DrawnZone]:
    """Return the zones of a FeatureCollection, a Feature, a Polygon or a MultiPolygon.

    Raises:
        FaultyZones: at least one of them breaks a rule; the first `limits.ZONE_FAULTS_TOLD_MAX` faults are told.
    """
    drawn: list[DrawnZone] = []
    faults: list[Fault] = []
    try:
        _check_crs(document)
        features = _features(document)
    except _BrokenRuleError as error:
        raise FaultyZones([error.fault]) from error
    for field, geometry, properties in features:
        try:
            drawn.append(DrawnZone(field, _polygon(geometry, _path(field, "geometry"), home), properties))
        except _BrokenRuleError as error:
            faults.append(error.fault)
    if faults:
        raise FaultyZones(faults[:ZONE_FAULTS_TOLD_MAX])
    return drawn


def read_geometry(geometry: object, field: str, home: Home | None = None) -> ZonePolygon:
    """Return the area of a GeoJSON Polygon or MultiPolygon that stands in `field`.

    Raises:
        FaultyZones: it breaks a rule.
    """
    try:
        return _polygon(geometry, field, home)
    except _BrokenRuleError as error:
        raise FaultyZones([error.fault]) from error


def stored_polygon(geometry: Mapping[str, Any]) -> ZonePolygon:
    """Return the area of a geometry that `geojson_of` wrote."""
    parts = [[_ring_e7(ring) for ring in part] for part in geometry["coordinates"]]
    return shapely.MultiPolygon([shapely.Polygon(shell, holes) for shell, *holes in parts])


def geojson_of(polygon: ZonePolygon) -> dict[str, Any]:
    """Return a GeoJSON MultiPolygon, outer rings anticlockwise."""
    parts = [[_positions(ring) for ring in (part.exterior, *part.interiors)] for part in polygon.geoms]
    return {"type": "MultiPolygon", "coordinates": parts}


def area_m2(polygon: ZonePolygon) -> float:
    """Return the area, taking the earth for flat and longitudes as wide as in the middle: 1 % off over 100 km."""
    _, south, _, north = polygon.bounds
    per_e7_m = METRES_PER_DEG / DEG_E7
    return float(polygon.area) * per_e7_m**2 * math.cos(math.radians((south + north) / 2 / DEG_E7))


def _check_crs(document: Mapping[str, Any]) -> None:
    """Refuse other coordinates than GeoJSON's own: the member is from before RFC 7946, but tools still write it."""
    crs = document.get("crs")
    if crs is None:
        return
    properties = crs.get("properties") if isinstance(crs, Mapping) else None
    name = properties.get("name") if isinstance(properties, Mapping) else None
    if not (isinstance(name, str) and _CRS84.search(name)):
        raise _BrokenRuleError("crs", "GeoJSON is WGS84 longitude and latitude: export it without another crs")


def _features(document: Mapping[str, Any]) -> list[tuple[str, object, Mapping[str, Any]]]:
    kind = document.get("type")
    if kind == "Feature":
        return [("", document.get("geometry"), _properties(document))]
    if kind in ("Polygon", "MultiPolygon"):
        return [("", document, {})]
    if kind != "FeatureCollection":
        raise _BrokenRuleError("type", "a FeatureCollection, a Feature, a Polygon or a MultiPolygon")
    features = document.get("features")
    if not isinstance(features, list) or not 1 <= len(features) <= ZONES_PER_IMPORT_MAX:
        raise _BrokenRuleError("features", f"a list of 1 to {ZONES_PER_IMPORT_MAX} features")
    for at, feature in enumerate(features):
        if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
            raise _BrokenRuleError(f"features.{at}", 'an object of type "Feature"')
    return [(f"features.{at}", each.get("geometry"), _properties(each)) for at, each in enumerate(features)]


def _properties(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _polygon(geometry: object, field: str, home: Home | None) -> ZonePolygon:
    if not isinstance(geometry, Mapping) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        raise _BrokenRuleError(field, "a Polygon or a MultiPolygon")
    inside = geometry.get("coordinates")
    path = _path(field, "coordinates")
    parts = [(path, inside)]
    if geometry["type"] == "MultiPolygon":
        parts = [(f"{path}.{at}", part) for at, part in enumerate(_list(inside, path, "a list of polygons"))]
    rings = [_rings(part, part_path) for part_path, part in parts]
    points = sum(len(ring) for part in rings for ring in part)
    if points > ZONE_POINTS_MAX:
        raise _BrokenRuleError(path, f"at most {ZONE_POINTS_MAX} corners, these are {points}: simplify it")
    _check_span([position for part in rings for ring in part for position in ring], path)
    polygon = shapely.MultiPolygon(
        [shapely.Polygon(_ring_e7(shell), [*map(_ring_e7, holes)]) for shell, *holes in rings]
    )
    _check_valid(polygon, path)
    _check_area(polygon, path)
    _check_home(polygon, path, home)
    # Anticlockwise outside, clockwise inside, as RFC 7946 asks.
    return shapely.MultiPolygon(list(shapely.orient_polygons(polygon, exterior_cw=False).geoms))


def _rings(part: object, path: str) -> list[list[tuple[float, float]]]:
    return [
        _ring(ring, f"{path}.{at}") for at, ring in enumerate(_list(part, path, "a list of rings, the outer one first"))
    ]


def _ring(ring: object, path: str) -> list[tuple[float, float]]:
    positions = _list(ring, path, "a list of positions")
    if len(positions) < RING_POSITIONS_MIN:
        raise _BrokenRuleError(path, f"a ring has {RING_POSITIONS_MIN} positions or more, the last one as the first")
    if len(positions) > ZONE_POINTS_MAX:
        raise _BrokenRuleError(path, f"at most {ZONE_POINTS_MAX} corners, these are {len(positions)}: simplify it")
    checked = [_position(position, f"{path}.{at}") for at, position in enumerate(positions)]
    if checked[0] != checked[-1]:
        raise _BrokenRuleError(path, "a ring is closed: its last position is its first")
    return checked


def _position(position: object, path: str) -> tuple[float, float]:
    """Return longitude and latitude; an altitude is left out."""
    pair = _list(position, path, "[longitude, latitude]")[:2]
    if len(pair) != 2 or not all(_is_number(each) for each in pair):  # noqa: PLR2004 - a pair
        raise _BrokenRuleError(path, "[longitude, latitude] in degrees")
    lng_deg, lat_deg = float(pair[0]), float(pair[1])
    if abs(lat_deg) > _QUARTER_TURN_DEG or abs(lng_deg) > _HALF_TURN_DEG:
        rule = "longitude is within ±180 and comes first, latitude is within ±90"
        if abs(lng_deg) <= _QUARTER_TURN_DEG and abs(lat_deg) <= _HALF_TURN_DEG:
            rule += ": latitude and longitude seem to be swapped"
        raise _BrokenRuleError(path, rule)
    if abs(lat_deg) > ZONE_LAT_DEG_MAX:
        raise _BrokenRuleError(path, f"a zone stays {_QUARTER_TURN_DEG - ZONE_LAT_DEG_MAX}° away from the poles")
    if abs(lng_deg) > ZONE_LNG_DEG_MAX:
        raise _BrokenRuleError(path, _ANTIMERIDIAN)
    return lng_deg, lat_deg


_ANTIMERIDIAN: Final = f"a zone stays {_HALF_TURN_DEG - ZONE_LNG_DEG_MAX}° away from the antimeridian (±180°)"


def _check_span(positions: Sequence[tuple[float, float]], path: str) -> None:
    lngs, lats = zip(*positions, strict=True)
    if max(lngs) - min(lngs) > _HALF_TURN_DEG:
        raise _BrokenRuleError(path, _ANTIMERIDIAN)
    if max(max(lngs) - min(lngs), max(lats) - min(lats)) > ZONE_SPAN_DEG_MAX:
        raise _BrokenRuleError(path, f"a zone spans at most {ZONE_SPAN_DEG_MAX}° from side to side")


def _check_valid(polygon: ZonePolygon, path: str) -> None:
    if shapely.is_valid(polygon):
        return
    told = str(shapely.is_valid_reason(polygon))
    place = _REASON.match(told)
    if place is None:
        raise _BrokenRuleError(path, f"not a valid polygon: {told}")
    lng_deg, lat_deg = float(place["x"]) / DEG_E7, float(place["y"]) / DEG_E7
    raise _BrokenRuleError(
        path, f"not a valid polygon: {place['what']} at longitude {lng_deg:.7g}, latitude {lat_deg:.7g}"
    )


def _check_area(polygon: ZonePolygon, path: str) -> None:
    area = area_m2(polygon)
    if area < ZONE_AREA_M2_MIN:
        raise _BrokenRuleError(path, f"a zone has {ZONE_AREA_M2_MIN} m² or more, this has {area:.0f}")
    if area > ZONE_AREA_KM2_MAX * _M2_PER_KM2:
        rule = f"a zone has at most {ZONE_AREA_KM2_MAX} km², this has {area / _M2_PER_KM2:.0f}"
        raise _BrokenRuleError(path, rule)


def _check_home(polygon: ZonePolygon, path: str, home: Home | None) -> None:
    """Refuse what lies far away from home and would lie near it with its axes swapped."""
    if home is None:
        return
    centre = polygon.centroid
    lng_deg, lat_deg = centre.x / DEG_E7, centre.y / DEG_E7
    away_km = _distance_km(home, lat_deg=lat_deg, lng_deg=lng_deg)
    swapped_km = _distance_km(home, lat_deg=lng_deg, lng_deg=lat_deg)
    if swapped_km <= ZONE_HOME_KM_MAX < away_km:
        raise _BrokenRuleError(
            path,
            f"{away_km:.0f} km from {home.name}, but {swapped_km:.0f} km with latitude and longitude swapped: "
            "GeoJSON writes the longitude first",
        )


def _distance_km(home: Home, *, lat_deg: float, lng_deg: float) -> float:
    """Return the haversine distance on a sphere."""
    lat, other = math.radians(home.lat_deg), math.radians(lat_deg)
    half_lat, half_lng = (other - lat) / 2, math.radians(lng_deg - home.lng_deg) / 2
    share = math.sin(half_lat) ** 2 + math.cos(lat) * math.cos(other) * math.sin(half_lng) ** 2
    return 2 * math.degrees(math.asin(math.sqrt(min(1.0, max(0.0, share))))) * METRES_PER_DEG / 1_000


def _list(value: object, path: str, rule: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise _BrokenRuleError(path, rule)
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _NUMBER_MAX


def _path(field: str, member: str) -> str:
    return f"{field}.{member}" if field else member


def _ring_e7(ring: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    return [(deg_to_e7(lng), deg_to_e7(lat)) for lng, lat in ring]


def _positions(ring: Any) -> list[list[float]]:  # noqa: ANN401 - shapely is untyped
    return [[round(x) / DEG_E7, round(y) / DEG_E7] for x, y in ring.coords]

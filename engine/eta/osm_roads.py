"""Roads of an OpenStreetMap extract (`.osm.pbf`, `.osm`, `.osm.bz2`): drivable ways, one-way rules, speeds."""

import re
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import osmium

from config.limits import ROAD_NODES_MAX
from engine.core.units import METRES_PER_DEG
from engine.eta.road_graph import NONE, Ints, Roads
from engine.eta.source import Floats

KMH: Final = {
    "motorway": 100,
    "trunk": 80,
    "primary": 50,
    "secondary": 42,
    "tertiary": 36,
    "unclassified": 28,
    "residential": 24,
    "living_street": 9,
    "service": 14,
    "road": 24,
    "motorway_link": 55,
    "trunk_link": 48,
    "primary_link": 38,
    "secondary_link": 33,
    "tertiary_link": 28,
}
"""What a car keeps up in a town, by class of road: a choice of ours, which learned times then scale."""
POSTED_SHARE: Final = 0.8
"""A posted limit is kept up to this share."""
KMH_PER_MPH: Final = 1.609344
KMH_MIN: Final = 5
KMH_MAX: Final = 130
CLOSED: Final = {"no", "private", "agricultural", "forestry", "delivery", "military", "emergency"}
ONE_WAY: Final = {"yes": 1, "true": 1, "1": 1, "-1": -1, "reverse": -1}
NOT_STREETS: Final = {"parking_aisle", "driveway", "drive-through", "emergency_access"}
WAYS_A_STEP: Final = 500
POSTED: Final = re.compile(r"\s*(\d{1,3}(?:\.\d+)?)\s*(mph|km/h|kmh)?\s*")


class OsmFileError(Exception):
    """An extract cannot be read, or is larger than the limit."""


@dataclass(frozen=True, slots=True)
class _Way:
    nodes: tuple[int, ...]
    lat_e7: tuple[int, ...]
    lng_e7: tuple[int, ...]
    kmh: float
    direction: int
    """1: only as drawn, -1: only against it, 0: both."""


def read_osm(path: Path, progress: Callable[[int], None] = lambda _ways: None) -> Roads:
    """Return the drivable roads, cut at every node that two of them share.

    `progress` is told how many ways were read.

    Raises:
        OsmFileError: It is no extract, is damaged, or has more junctions than `ROAD_NODES_MAX`.
    """
    ways: list[_Way] = []
    try:
        reading = osmium.FileProcessor(str(path)).with_locations()
        for thing in reading.with_filter(osmium.filter.KeyFilter("highway")):
            if isinstance(thing, osmium.osm.Way) and (way := _way(thing)) is not None:
                ways.append(way)
                if len(ways) % WAYS_A_STEP == 0:
                    progress(len(ways))
    except (RuntimeError, OSError) as error:
        raise OsmFileError(f"{path}: {error}") from error
    progress(len(ways))
    return _cut(path, ways)


def speed_kmh(highway: str, posted: str | None) -> float:
    """Return what a car keeps up on a road of this class under this `maxspeed`."""
    usual = float(KMH[highway])
    match = POSTED.fullmatch(posted or "")
    if match is None:
        return usual
    kmh = float(match[1]) * (KMH_PER_MPH if match[2] == "mph" else 1) * POSTED_SHARE
    return min(max(kmh, KMH_MIN), KMH_MAX)


def direction_of(tags: dict[str, str]) -> int:
    """Return which way cars may drive: 1 as drawn, -1 against it, 0 both."""
    stated = tags.get("oneway:motor_vehicle", tags.get("oneway"))
    if stated in ONE_WAY:
        return ONE_WAY[stated]
    if stated == "no":
        return 0
    is_implied = tags.get("junction") in {"roundabout", "circular"} or tags["highway"] in {"motorway", "motorway_link"}
    return int(is_implied)


def is_drivable(tags: dict[str, str]) -> bool:
    """Return whether a car of the public may use a way: the most specific access tag decides."""
    if tags.get("highway") not in KMH or tags.get("area") == "yes" or tags.get("service") in NOT_STREETS:
        return False
    for key in ("motorcar", "motor_vehicle", "vehicle", "access"):
        if key in tags:
            return tags[key] not in CLOSED
    return True


def _way(thing: osmium.osm.Way) -> _Way | None:
    tags = dict(thing.tags)
    if not is_drivable(tags):
        return None
    points = [(node.ref, node.y, node.x) for node in thing.nodes if node.location.valid()]
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    nodes, lat_e7, lng_e7 = zip(*points, strict=True)
    return _Way(nodes, lat_e7, lng_e7, speed_kmh(tags["highway"], tags.get("maxspeed")), direction_of(tags))


def _cut(path: Path, ways: list[_Way]) -> Roads:
    uses = Counter(node for way in ways for node in way.nodes)
    uses.update(end for way in ways for end in (way.nodes[0], way.nodes[-1]))
    number: dict[int, int] = {}
    place: dict[int, tuple[int, int]] = {}
    columns = {name: array("i") for name in ("tail", "head", "direction", "shape_end", "lat", "lng")}
    kmh = array("d")
    for way in ways:
        begin = 0
        for at in range(1, len(way.nodes)):
            if uses[way.nodes[at]] == 1:
                continue
            for side, index in (("tail", begin), ("head", at)):
                node = way.nodes[index]
                place[node] = way.lat_e7[index], way.lng_e7[index]
                columns[side].append(number.setdefault(node, len(number)))
            columns["lat"].extend(way.lat_e7[begin : at + 1])
            columns["lng"].extend(way.lng_e7[begin : at + 1])
            columns["shape_end"].append(len(columns["lat"]))
            columns["direction"].append(way.direction)
            kmh.append(way.kmh)
            begin = at
    if len(number) > ROAD_NODES_MAX:
        raise OsmFileError(f"{path} has {len(number):,} junctions, more than {ROAD_NODES_MAX:,}: cut it smaller")
    lat, lng = (np.array([place[node][axis] for node in number], np.int32) for axis in (0, 1))
    return _roads(lat, lng, {name: np.array(column, np.int32) for name, column in columns.items()}, np.array(kmh))


def _roads(lat: Ints, lng: Ints, drawn: dict[str, Ints], kmh: Floats) -> Roads:
    metres = drawn_metres(drawn["shape_end"], drawn["lat"], drawn["lng"])
    ms = np.round(metres / kmh * 3600).astype(np.int32)
    return Roads(
        lat,
        lng,
        drawn["tail"],
        drawn["head"],
        forward_ms=np.where(drawn["direction"] >= 0, ms, np.int32(NONE)).astype(np.int32),
        backward_ms=np.where(drawn["direction"] <= 0, ms, np.int32(NONE)).astype(np.int32),
        metres=np.round(metres).astype(np.int32),
        shape_end=drawn["shape_end"],
        shape_lat_e7=drawn["lat"],
        shape_lng_e7=drawn["lng"],
    )


def drawn_metres(shape_end: Ints, lat_e7: Ints, lng_e7: Ints) -> Floats:
    """Return the length of each stretch along its shape."""
    lat, lng = lat_e7 / 1e7, lng_e7 / 1e7
    step_m = METRES_PER_DEG * np.hypot(np.diff(lat), np.diff(lng) * np.cos(np.radians(lat[1:])))
    step_m[shape_end[:-1] - 1] = 0
    gone = np.concatenate([[0.0], np.cumsum(step_m)])
    starts = np.concatenate([[0], shape_end[:-1]])
    lengths: Floats = gone[shape_end - 1] - gone[starts]
    return lengths

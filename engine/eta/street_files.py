"""Roads of plain files: a pair of CSV tables, or GeoJSON lines as `clenzy sim streets` writes them."""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from engine.eta.osm_roads import drawn_metres
from engine.eta.road_graph import NONE, Ints, Roads
from engine.eta.source import Floats

E7: Final = 1e7


class StreetFileError(Exception):
    """A file of streets cannot be read; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class DirectedEdges:
    """Roads as one row a direction: nodes in degrees, edges with seconds and metres, and their shapes."""

    lat_deg: Floats
    lng_deg: Floats
    tail: Ints
    head: Ints
    seconds: Floats
    metres: Floats
    shapes: list[list[tuple[float, float]]] | None = None
    """Points (lat, lng) of each edge; none: straight."""


def read_csv(nodes_path: Path, edges_path: Path) -> Roads:
    """Return the roads of two tables.

    Nodes: `node_index,pos_x,pos_y` (degrees east and north). Edges: `from_node,to_node,distance,travel_time`, metres
    and seconds, one way; more columns are passed over; `.gz` is opened.

    Raises:
        StreetFileError: A column is missing, a number is none, or an edge names no node.
    """
    try:
        nodes = [(int(row["node_index"]), float(row["pos_y"]), float(row["pos_x"])) for row in _rows(nodes_path)]
        number = {index: at for at, (index, _, _) in enumerate(nodes)}
        edges = [
            (number[int(row["from_node"])], number[int(row["to_node"])], row["travel_time"], row["distance"])
            for row in _rows(edges_path)
        ]
        tail, head, seconds, metres = np.array(edges, np.float64).reshape(-1, 4).T
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise StreetFileError(f"{nodes_path}, {edges_path}: {error!r}") from error
    place = np.array([(lat, lng) for _, lat, lng in nodes], np.float64).reshape(-1, 2)
    return paired(
        DirectedEdges(place[:, 0], place[:, 1], tail.astype(np.int32), head.astype(np.int32), seconds, metres)
    )


def read_geojson(path: Path) -> Roads:
    """Return the roads of a FeatureCollection of lines with `oneway` and `speed_mps`; equal ends are one node.

    Raises:
        StreetFileError: It is no such collection.
    """
    number: dict[tuple[float, float], int] = {}
    ends, speeds, one_ways, shape, shape_end = [], [], [], [], []
    try:
        for feature in orjson.loads(path.read_bytes())["features"]:
            line = [(float(lat), float(lng)) for lng, lat in feature["geometry"]["coordinates"]]
            ends.append([number.setdefault(point, len(number)) for point in (line[0], line[-1])])
            speeds.append(float(feature["properties"]["speed_mps"]))
            one_ways.append(bool(feature["properties"]["oneway"]))
            shape += line
            shape_end.append(len(shape))
    except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
        raise StreetFileError(f"{path}: {error!r}") from error
    tail, head = np.array(ends, np.int32).reshape(-1, 2).T
    shape_e7, nodes_e7 = _e7(shape), _e7(list(number))
    stops = np.array(shape_end, np.int32)
    metres = drawn_metres(stops, shape_e7[:, 0], shape_e7[:, 1])
    ms = np.round(metres / np.array(speeds) * 1e3).astype(np.int32)
    return Roads(
        nodes_e7[:, 0],
        nodes_e7[:, 1],
        tail,
        head,
        forward_ms=ms,
        backward_ms=np.where(one_ways, np.int32(NONE), ms).astype(np.int32),
        metres=np.round(metres).astype(np.int32),
        shape_end=stops,
        shape_lat_e7=shape_e7[:, 0],
        shape_lng_e7=shape_e7[:, 1],
    )


def paired(edges: DirectedEdges) -> Roads:
    """Return the roads of directed edges: two of the same length between the same nodes are one road both ways."""
    ms, metres = np.round(edges.seconds * 1e3).astype(np.int32), np.round(edges.metres).astype(np.int32)
    waiting: dict[tuple[int, int, int], list[int]] = {}
    stretches: list[tuple[int, int]] = []
    for edge, key in enumerate(zip(edges.tail.tolist(), edges.head.tolist(), metres.tolist(), strict=True)):
        tail, head, length = key
        if opposite := waiting.get((head, tail, length)):
            at = opposite.pop()
            stretches[at] = (stretches[at][0], edge)
        else:
            waiting.setdefault(key, []).append(len(stretches))
            stretches.append((edge, NONE))
    first, back = np.array(stretches, np.int32).reshape(-1, 2).T
    place = list(zip(edges.lat_deg.tolist(), edges.lng_deg.tolist(), strict=True))
    if edges.shapes is None:
        shapes = [[place[edges.tail[edge]], place[edges.head[edge]]] for edge in first]
    else:
        shapes = [edges.shapes[edge] for edge in first]
    shape_e7, nodes_e7 = _e7([point for shape in shapes for point in shape]), _e7(place)
    return Roads(
        nodes_e7[:, 0],
        nodes_e7[:, 1],
        edges.tail[first],
        edges.head[first],
        forward_ms=ms[first],
        backward_ms=np.where(back == NONE, np.int32(NONE), ms[back]).astype(np.int32),
        metres=metres[first],
        shape_end=np.cumsum([len(shape) for shape in shapes]).astype(np.int32),
        shape_lat_e7=shape_e7[:, 0],
        shape_lng_e7=shape_e7[:, 1],
    )


def _e7(points: list[tuple[float, float]]) -> Ints:
    return np.ascontiguousarray(np.round(np.array(points, np.float64).reshape(-1, 2) * E7).astype(np.int32))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        yield from csv.DictReader(file)

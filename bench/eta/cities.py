"""Made cities of any size: a grid with streets missing, one-way streets, arterials and motorways."""

from typing import Final

import numpy as np

from engine.eta.road_graph import RoadGraph, Roads, assemble
from engine.eta.road_snap import M_PER_E7

BLOCK_M: Final = 120
MISSING: Final = 0.18
ONE_WAY: Final = 0.2
ARTERIAL_EVERY: Final = 8
MOTORWAY_EVERY: Final = 40
STREET_KMH: Final = 24
ARTERIAL_KMH: Final = 45
MOTORWAY_KMH: Final = 95
SOUTH_WEST_E7: Final = (48_0000000, 11_0000000)


def made_city(nodes: int, seed: int = 7) -> RoadGraph:
    """Return a city of about so many junctions (a few get lost with the missing streets)."""
    random = np.random.default_rng(seed)
    side = round(nodes**0.5)
    row, column = (axis.ravel() for axis in np.mgrid[0:side, 0:side])
    shift_m = random.uniform(-0.3 * BLOCK_M, 0.3 * BLOCK_M, (2, side * side))
    south, west = SOUTH_WEST_E7
    lat_e7 = (south + (row * BLOCK_M + shift_m[0]) / M_PER_E7).astype(np.int32)
    lng_e7 = (west + (column * BLOCK_M + shift_m[1]) / M_PER_E7 / np.cos(np.radians(48))).astype(np.int32)
    node = np.arange(side * side, dtype=np.int32).reshape(side, side)
    tail = np.concatenate([node[:, :-1].ravel(), node[:-1].ravel()])
    head = np.concatenate([node[:, 1:].ravel(), node[1:].ravel()])
    line = np.concatenate([np.repeat(np.arange(side), side - 1), np.tile(np.arange(side), side - 1)])
    kmh = np.select([line % MOTORWAY_EVERY == 0, line % ARTERIAL_EVERY == 0], [MOTORWAY_KMH, ARTERIAL_KMH], STREET_KMH)
    kept = (random.random(len(tail)) > MISSING) | (kmh > STREET_KMH)
    tail, head, kmh = tail[kept], head[kept], kmh[kept]
    east = (lng_e7[head] - lng_e7[tail]) * np.cos(np.radians(48))
    metres = np.hypot(lat_e7[head] - lat_e7[tail], east) * M_PER_E7
    ms = (metres / kmh * 3600 * random.uniform(0.9, 1.1, len(tail))).astype(np.int32)
    is_one_way = (random.random(len(tail)) < ONE_WAY) & (kmh == STREET_KMH)
    ends = np.column_stack([tail, head]).ravel()
    stretches = Roads(
        lat_e7,
        lng_e7,
        tail,
        head,
        forward_ms=ms,
        backward_ms=np.where(is_one_way, np.int32(-1), ms).astype(np.int32),
        metres=metres.astype(np.int32),
        shape_end=np.arange(2, 2 * len(tail) + 1, 2, dtype=np.int32),
        shape_lat_e7=lat_e7[ends],
        shape_lng_e7=lng_e7[ends],
    )
    return assemble(stretches)

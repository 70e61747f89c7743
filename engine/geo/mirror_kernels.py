"""The mirror's compiled loops: who is near, over one row a worker with a place and lists of rows by bucket.

Leaves: arrays and scalars in, arrays out. `engine.geo.mirror` owns the arrays and says what they mean.

Places are unit vectors, so a distance is the square of a chord: three multiplications, no angle, and nothing special at
the poles or at 180 degrees. Buckets are squares of a grid of our own and not H3's cells: their neighbours follow from
two additions, where a disk of hexagons costs more than the whole query. The grid's rows are bands of latitude, each
with as many columns as keep a bucket about as wide as it is high. A query looks through the buckets that a circle
touches, then through those that a wider one touches besides, until the circle holds as many as are wanted: each bucket
is looked at once and nobody is missed.
"""

import math
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel
from engine.core.units import METRES_PER_DEG
from engine.geo.fixes import RecordArray, SlotArray
from engine.geo.mirror_layout import (
    FREE,
    NOBODY,
    USED,
    WORKERS,
    BySlot,
    ColumnArray,
    CountArray,
    FloatArray,
    Grid,
    HeadArray,
    Mask,
    RowArray,
)

Triple: TypeAlias = tuple[float, float, float]
Query: TypeAlias = tuple[Triple, float, Mask]
"""Unit vector of a place, the square of the longest chord, and who is wanted."""
Best: TypeAlias = tuple[SlotArray, FloatArray]
"""Where to write: whom, and how far."""

BANDS: Final = 180_000
"""Bands of latitude: 0.001 degrees, about 111 m."""
_COLUMN_BITS: Final = 19
assert 2 * BANDS <= 1 << _COLUMN_BITS

SPHERE_RADIUS_M: Final = METRES_PER_DEG * 180 / math.pi
"""Of the sphere that the engine measures on."""
_RAD_PER_E7: Final = math.pi / 1.8e9
_LAT_E7_MAX: Final = 900_000_000
_LNG_E7_MAX: Final = 1_800_000_000
_BAND_SPREAD: Final = 73_856_093
_COLUMN_SPREAD: Final = 19_349_663
"""Primes that spread neighbouring buckets over the lists; no product leaves 64 bits. Teschner et al., VMV 2003."""
_MARGIN_RAD: Final = 1e-9
"""Added to a circle before buckets are chosen: 6 mm, far more than rounding can move a worker across an edge."""
_START_RAD: Final = math.pi / BANDS / 4
"""The first circle of a search: half as wide as a bucket, for a bucket at a taxi stand holds hundreds."""
_GROWTH_MAX: Final = 3.0
"""A circle that holds too few grows by what they let expect, and by this where it holds nobody."""
_BUCKETS_PER_ROW: Final = 0.5
"""A circle of more buckets than this for each row is answered by looking at every row instead."""


def grid_columns() -> ColumnArray:
    """Return how many buckets go around the globe in each band."""
    edges_rad = np.abs(np.arange(BANDS + 1) / BANDS - 0.5) * math.pi
    narrow = np.maximum(edges_rad[:-1], edges_rad[1:])
    around: ColumnArray = np.maximum(1, np.floor(2 * BANDS * np.cos(narrow))).astype(np.int32)
    return around


@kernel
def place(
    grid: Grid,
    counts: CountArray,
    by_slot: BySlot,
    slots: SlotArray,
    records: RecordArray,
) -> None:
    """Put workers where their records say; later ones of a batch win. There are free rows enough.

    A record without a cell, or with a place that is none, takes its worker off the map.
    """
    rows, heads, columns = grid
    row_of, skills, statuses, groups = by_slot
    for i in range(len(slots)):
        slot, record = slots[i], records[i]
        lat_e7, lng_e7 = record["lat_e7"], record["lng_e7"]
        if record["cell"] == 0 or abs(lat_e7) > _LAT_E7_MAX or abs(lng_e7) > _LNG_E7_MAX:
            _take_off(rows, heads, counts, row_of, slot)
            continue
        at = row_of[slot]
        if at == NOBODY:
            at = _take_row(rows, counts)
            row_of[slot] = at
            rows[at]["slot"], rows[at]["group"] = slot, groups[slot]
            rows[at]["skills"], rows[at]["status"] = skills[slot], statuses[slot]
        rows[at]["ts_ms"] = record["ts_ms"]
        lat, lng = lat_e7 * _RAD_PER_E7, lng_e7 * _RAD_PER_E7
        rows[at]["x"] = math.cos(lat) * math.cos(lng)
        rows[at]["y"] = math.cos(lat) * math.sin(lng)
        rows[at]["z"] = math.sin(lat)
        band = _band_of(lat)
        around = int(columns[band])
        bucket = _bucket_of(band, _column_of(lng, around) % around)
        if bucket != rows[at]["bucket"]:
            _unlink(rows, heads, at)
            _link(rows, heads, at, bucket)


@kernel
def remove(rows: RowArray, heads: HeadArray, counts: CountArray, by_slot: BySlot, slots: SlotArray) -> None:
    """Take workers off the map."""
    for i in range(len(slots)):
        _take_off(rows, heads, counts, by_slot[0], slots[i])


@kernel
def describe(rows: RowArray, by_slot: BySlot, slots: SlotArray) -> None:
    """Copy what is known of slots to their rows."""
    row_of, skills, statuses, groups = by_slot
    for i in range(len(slots)):
        slot = slots[i]
        at = row_of[slot]
        if at != NOBODY:
            rows[at]["skills"], rows[at]["status"], rows[at]["group"] = skills[slot], statuses[slot], groups[slot]


@kernel
def places(rows: RowArray, row_of: NDArray[np.int32], slots: SlotArray, records: RecordArray) -> None:
    """Write the place of each slot into `records`, which are all zero."""
    for i in range(len(slots)):
        slot = slots[i]
        at = row_of[slot] if slot < len(row_of) else NOBODY
        if at == NOBODY:
            continue
        row = rows[at]
        lat, lng = math.atan2(row["z"], math.hypot(row["x"], row["y"])), math.atan2(row["y"], row["x"])
        records[i]["ts_ms"], records[i]["cell"] = row["ts_ms"], 1
        records[i]["lat_e7"], records[i]["lng_e7"] = round(lat / _RAD_PER_E7), round(lng / _RAD_PER_E7)


@kernel
def relink(rows: RowArray, heads: HeadArray, used: int) -> None:
    """Build the lists anew, into `heads` that are all `NOBODY`."""
    for at in range(used):
        bucket = rows[at]["bucket"]
        if bucket != NOBODY:
            _link(rows, heads, at, bucket)


@kernel
def nearest(grid: Grid, used: int, cap: Triple, wanted: Mask, slots: SlotArray, distances_m: FloatArray) -> int:
    """Write the nearest workers, nearest first, to `slots` and `distances_m`; return how many there are.

    cap: latitude, longitude, radius, in radians. Of equal distances the lower slot wins. Places beyond the last one
    found get `NOBODY` and infinity.
    """
    rows, _, columns = grid
    radius = min(cap[2], math.pi)
    query = (_vector_of(cap[0], cap[1]), _chord2_of(radius), wanted)
    best = (slots, distances_m)
    inner, circle, found = -1.0, min(_START_RAD, radius), 0
    while True:
        if _buckets_of(columns, cap[0], circle) > used * _BUCKETS_PER_ROW:
            found = _look_everywhere(rows, used, query, best)
            break
        found = _look_around(grid, (cap[0], cap[1], inner, circle), query, best, found)
        if circle >= radius or (found == len(slots) and distances_m[0] <= _chord2_of(circle)):
            break
        inner, circle = circle, min(_wider(circle, found, len(slots), distances_m[0]), radius)
    _sort(slots, distances_m, found)
    for i in range(found):
        distances_m[i] = _metres(distances_m[i])
    slots[found:] = NOBODY
    distances_m[found:] = np.inf
    return found


@kernel
def nearest_many(
    grid: Grid,
    used: int,
    places: FloatArray,
    radius: float,
    wanted: Mask,
    answers: tuple[CountArray, SlotArray, FloatArray],
) -> None:
    """Answer `nearest` for each of `places` (n, 2): latitude, longitude; radians. answers: (n), (n, k), (n, k)."""
    found, slots, distances_m = answers
    for i in range(len(places)):
        found[i] = nearest(grid, used, (places[i, 0], places[i, 1], radius), wanted, slots[i], distances_m[i])


@kernel
def pairs_within(grid: Grid, used: int, radius: float, wanted: Mask, pairs: SlotArray, distances_m: FloatArray) -> int:
    """Write pairs of workers within `radius` (radians), the lower slot first, as far as there is room.

    Returns how many there are: more than `len(pairs)` where the room was too small. pairs: (n, 2).
    """
    rows, _, columns = grid
    found = 0
    for at in range(used):
        if rows[at]["bucket"] == NOBODY or not _is_wanted(rows, at, wanted):
            continue
        row = rows[at]
        lat, lng = math.atan2(row["z"], math.hypot(row["x"], row["y"])), math.atan2(row["y"], row["x"])
        query = ((row["x"], row["y"], row["z"]), _chord2_of(radius), wanted)
        if _buckets_of(columns, lat, radius) > used * _BUCKETS_PER_ROW:
            for other in range(at + 1, used):
                if rows[other]["bucket"] != NOBODY:
                    found = _offer_pair(rows, at, other, query, (pairs, distances_m), found)
        else:
            found = _pairs_around(grid, at, (lat, lng, radius), query, (pairs, distances_m), found)
    return found


@kernel
def _pairs_around(grid: Grid, at: int, cap: Triple, query: Query, told: Best, found: int) -> int:
    """Offer the pairs of one row and those after it in the buckets that a circle around it touches."""
    rows, heads, columns = grid
    lat, lng, radius = cap
    for band in range(_band_of(lat - radius - _MARGIN_RAD), _band_of(lat + radius + _MARGIN_RAD) + 1):
        around = int(columns[band])
        west, east = _columns_of(lat, lng, radius, around)
        for column in range(west, east + 1):
            bucket = _bucket_of(band, column % around)
            other = heads[_list_of(bucket, len(heads))]
            while other != NOBODY:
                if other > at and rows[other]["bucket"] == bucket:
                    found = _offer_pair(rows, at, other, query, told, found)
                other = rows[other]["next"]
    return found


@kernel
def _offer_pair(rows: RowArray, at: int, other: int, query: Query, told: Best, found: int) -> int:
    center, limit, wanted = query
    chord2 = _chord2_to(rows, other, center)
    if chord2 > limit or not _is_wanted(rows, other, wanted):
        return found
    pairs, distances_m = told
    if found < len(pairs):
        slot, other_slot = rows[at]["slot"], rows[other]["slot"]
        pairs[found, 0], pairs[found, 1] = min(slot, other_slot), max(slot, other_slot)
        distances_m[found] = _metres(chord2)
    return found + 1


@kernel
def _look_everywhere(rows: RowArray, used: int, query: Query, best: Best) -> int:
    found = 0
    for at in range(used):
        if rows[at]["bucket"] != NOBODY:
            found = _offer(rows, at, query, best, found)
    return found


@kernel
def _look_around(grid: Grid, ring: tuple[float, float, float, float], query: Query, best: Best, found: int) -> int:
    """Offer everybody in the buckets that a circle touches and a smaller one around the same place does not.

    ring: latitude, longitude, radius of the smaller circle (negative: none) and of the larger, in radians.
    """
    rows, heads, columns = grid
    lat, lng, inner, circle = ring
    inner_first, inner_last = _band_of(lat - inner - _MARGIN_RAD), _band_of(lat + inner + _MARGIN_RAD)
    for band in range(_band_of(lat - circle - _MARGIN_RAD), _band_of(lat + circle + _MARGIN_RAD) + 1):
        around = int(columns[band])
        west, east = _columns_of(lat, lng, circle, around)
        seen_from, seen = west, 0
        if inner >= 0 and inner_first <= band <= inner_last:
            seen_from, seen_to = _columns_of(lat, lng, inner, around)
            seen = seen_to - seen_from + 1
        for column in range(west, east + 1):
            beyond = column - seen_from
            if (beyond if beyond >= 0 else beyond + around) < seen:
                continue
            bucket = _bucket_of(band, column % around)
            at = heads[_list_of(bucket, len(heads))]
            while at != NOBODY:
                if rows[at]["bucket"] == bucket:
                    found = _offer(rows, at, query, best, found)
                at = rows[at]["next"]
    return found


@kernel
def _wider(circle: float, found: int, enough: int, worst_chord2: float) -> float:
    """Return the next circle of a search: one that surely holds enough, or about as many as are wanted."""
    if found == enough:
        return 2 * math.asin(min(1.0, math.sqrt(worst_chord2) / 2)) + _MARGIN_RAD
    if found == 0:
        return _GROWTH_MAX * circle
    return circle * min(_GROWTH_MAX, 1.2 * math.sqrt(enough / found))


@kernel
def _offer(rows: RowArray, at: int, query: Query, best: Best, found: int) -> int:
    """Take a worker among the best so far (a heap, the worst first) if it belongs there; return how many they are."""
    center, limit, wanted = query
    slots, chords2 = best
    chord2 = _chord2_to(rows, at, center)
    if chord2 > limit or not _is_wanted(rows, at, wanted):
        return found
    slot = int(rows[at]["slot"])
    if found < len(slots):
        _sift_up(slots, chords2, found, slot, chord2)
        return found + 1
    if _is_after(chords2[0], slots[0], chord2, slot):
        _sift_down(slots, chords2, found, slot, chord2)
    return found


@kernel
def _is_wanted(rows: RowArray, at: int, wanted: Mask) -> bool:
    row = rows[at]
    if (wanted[1] >> row["status"]) & 1 == 0 or row["ts_ms"] < wanted[2]:
        return False
    group = wanted[3]
    if group and row["group"] != group:
        return False
    return bool((row["skills"] & wanted[0]) == wanted[0])


@kernel
def _chord2_to(rows: RowArray, at: int, center: Triple) -> float:
    row = rows[at]
    dx, dy, dz = row["x"] - center[0], row["y"] - center[1], row["z"] - center[2]
    return float(dx * dx + dy * dy + dz * dz)


@kernel
def _metres(chord2: float) -> float:
    return 2 * SPHERE_RADIUS_M * math.asin(min(1.0, math.sqrt(chord2) / 2))


@kernel
def _is_after(chord2: float, slot: int, other_chord2: float, other_slot: int) -> bool:
    return chord2 > other_chord2 or (chord2 == other_chord2 and slot > other_slot)


@kernel
def _sift_up(slots: SlotArray, chords2: FloatArray, at: int, slot: int, chord2: float) -> None:
    """Put an element into a heap whose first free place is `at`."""
    while at > 0:
        parent = (at - 1) // 2
        if not _is_after(chord2, slot, chords2[parent], slots[parent]):
            break
        slots[at], chords2[at] = slots[parent], chords2[parent]
        at = parent
    slots[at], chords2[at] = slot, chord2


@kernel
def _sift_down(slots: SlotArray, chords2: FloatArray, length: int, slot: int, chord2: float) -> None:
    """Put an element in the place of a heap's first."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= length:
            break
        right = child + 1
        if right < length and _is_after(chords2[right], slots[right], chords2[child], slots[child]):
            child = right
        if not _is_after(chords2[child], slots[child], chord2, slot):
            break
        slots[at], chords2[at] = slots[child], chords2[child]
        at = child
    slots[at], chords2[at] = slot, chord2


@kernel
def _sort(slots: SlotArray, chords2: FloatArray, length: int) -> None:
    """Turn a heap into an ascending list."""
    for last in range(length - 1, 0, -1):
        slot, chord2 = slots[last], chords2[last]
        slots[last], chords2[last] = slots[0], chords2[0]
        _sift_down(slots, chords2, last, slot, chord2)


@kernel
def _take_row(rows: RowArray, counts: CountArray) -> int:
    counts[WORKERS] += 1
    at = counts[FREE]
    if at == NOBODY:
        at = counts[USED]
        counts[USED] += 1
    else:
        counts[FREE] = rows[at]["next"]
    return int(at)


@kernel
def _take_off(rows: RowArray, heads: HeadArray, counts: CountArray, row_of: NDArray[np.int32], slot: int) -> None:
    at = row_of[slot]
    if at == NOBODY:
        return
    _unlink(rows, heads, at)
    row_of[slot] = NOBODY
    rows[at]["next"] = counts[FREE]
    counts[FREE] = at
    counts[WORKERS] -= 1


@kernel
def _buckets_of(columns: ColumnArray, lat: float, circle: float) -> float:
    """Return about how many buckets a circle touches."""
    share = _half_width(lat, circle) / math.pi
    return (2 * circle / math.pi * BANDS + 2) * (share * float(columns[_band_of(lat)]) + 2)


@kernel
def _columns_of(lat: float, lng: float, circle: float, around: int) -> tuple[int, int]:
    """Return the first and the last column of a band that a circle may touch, each of them once."""
    width = _half_width(lat, circle)
    west = _column_of(lng - width, around)
    return west, min(_column_of(lng + width, around), west + around - 1)


@kernel
def _half_width(lat: float, circle: float) -> float:
    """Return how far east and west of its middle a circle reaches, in radians; pi where it holds a pole."""
    reach = circle + _MARGIN_RAD
    if abs(lat) + reach >= math.pi / 2 - _MARGIN_RAD:
        return math.pi
    return math.asin(min(1.0, math.sin(reach) / math.cos(lat))) + _MARGIN_RAD / math.cos(lat)


@kernel
def _band_of(lat: float) -> int:
    return min(max(math.floor((lat / math.pi + 0.5) * BANDS), 0), BANDS - 1)


@kernel
def _column_of(lng: float, around: int) -> int:
    """Return the column of a longitude, not yet taken around the globe."""
    return math.floor((lng / (2 * math.pi) + 0.5) * around)


@kernel
def _bucket_of(band: int, column: int) -> int:
    return (band << _COLUMN_BITS) | column


@kernel
def _list_of(bucket: int, lists: int) -> int:
    spread = (bucket >> _COLUMN_BITS) * _BAND_SPREAD ^ (bucket & ((1 << _COLUMN_BITS) - 1)) * _COLUMN_SPREAD
    return (spread ^ spread >> 16) & (lists - 1)


@kernel
def _vector_of(lat: float, lng: float) -> Triple:
    return math.cos(lat) * math.cos(lng), math.cos(lat) * math.sin(lng), math.sin(lat)


@kernel
def _chord2_of(angle_rad: float) -> float:
    half = math.sin(min(angle_rad, math.pi) / 2)
    return 4 * half * half


@kernel
def _link(rows: RowArray, heads: HeadArray, at: int, bucket: int) -> None:
    head = _list_of(bucket, len(heads))
    first = heads[head]
    rows[at]["bucket"], rows[at]["next"], rows[at]["previous"] = bucket, first, NOBODY
    if first != NOBODY:
        rows[first]["previous"] = at
    heads[head] = at


@kernel
def _unlink(rows: RowArray, heads: HeadArray, at: int) -> None:
    bucket = rows[at]["bucket"]
    if bucket == NOBODY:
        return
    before, after = rows[at]["previous"], rows[at]["next"]
    if before == NOBODY:
        heads[_list_of(bucket, len(heads))] = after
    else:
        rows[before]["next"] = after
    if after != NOBODY:
        rows[after]["previous"] = before
    rows[at]["bucket"] = NOBODY

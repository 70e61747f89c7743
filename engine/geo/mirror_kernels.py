"""The mirror's compiled loops: who is near, over one row a worker and lists of rows by bucket.

Leaves: arrays and scalars in, arrays out. `engine.geo.mirror` owns the arrays and says what they mean.

Places are unit vectors, so a distance is the square of a chord: three multiplications, no angle, and nothing special at
the poles or at 180 degrees. Buckets are squares of a grid of our own and not H3's cells: their neighbours follow from
two additions, where a disk of hexagons costs more than the whole query. The grid's rows are bands of latitude, each
with as many columns as keep a bucket about as wide as it is high. A query looks through every bucket that its circle
touches and widens the circle until it holds enough, so nobody is missed.
"""

import math
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.core.jit import kernel
from engine.core.units import METRES_PER_DEG
from engine.geo.fixes import RecordArray, SlotArray

ROW: Final = np.dtype(
    [
        ("x", "<f8"),
        ("y", "<f8"),
        ("z", "<f8"),
        ("ts_ms", "<i8"),
        ("skills", "<i8"),
        ("status", "<i8"),
        ("bucket", "<i8"),
        ("next", "<i4"),
        ("previous", "<i4"),
    ]
)
"""What is known of one slot, in one cache line: who walks a list of them touches one line a worker."""
assert ROW.itemsize == 64  # noqa: PLR2004 - a cache line

NOBODY: Final = -1
"""No row, no bucket: the end of a list, or a worker without a place."""

BANDS: Final = 180_000
"""Bands of latitude: 0.001 degrees, about 111 m."""
_COLUMN_BITS: Final = 19
assert 2 * BANDS <= 1 << _COLUMN_BITS

RowArray: TypeAlias = NDArray[np.void]
"""One dimension of `ROW`."""
HeadArray: TypeAlias = NDArray[np.int32]
"""First row of each list; the length is a power of two."""
ColumnArray: TypeAlias = NDArray[np.int32]
FloatArray: TypeAlias = NDArray[np.float64]
Triple: TypeAlias = tuple[float, float, float]

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
_START_RAD: Final = math.pi / BANDS / 2
"""The first circle of a search: as wide as a bucket."""
_BUCKETS_PER_ROW: Final = 0.5
"""A circle of more buckets than this for each row of the table is answered by looking at every row instead."""


def grid_columns() -> ColumnArray:
    """Return how many buckets go around the globe in each band."""
    edges_rad = np.abs(np.arange(BANDS + 1) / BANDS - 0.5) * math.pi
    narrow = np.maximum(edges_rad[:-1], edges_rad[1:])
    around: ColumnArray = np.maximum(1, np.floor(2 * BANDS * np.cos(narrow))).astype(np.int32)
    return around


@kernel
def apply(rows: RowArray, heads: HeadArray, columns: ColumnArray, slots: SlotArray, records: RecordArray) -> int:
    """Take over the records that are newer than the rows they are for; return how many were.

    A record without a cell, or with a place that is none, takes its worker off the map.
    """
    newer = 0
    for i in range(len(slots)):
        slot, record = slots[i], records[i]
        if record["ts_ms"] <= rows[slot]["ts_ms"]:
            continue
        newer += 1
        rows[slot]["ts_ms"] = record["ts_ms"]
        lat_e7, lng_e7 = record["lat_e7"], record["lng_e7"]
        if record["cell"] == 0 or abs(lat_e7) > _LAT_E7_MAX or abs(lng_e7) > _LNG_E7_MAX:
            _unlink(rows, heads, slot)
            continue
        lat, lng = lat_e7 * _RAD_PER_E7, lng_e7 * _RAD_PER_E7
        rows[slot]["x"] = math.cos(lat) * math.cos(lng)
        rows[slot]["y"] = math.cos(lat) * math.sin(lng)
        rows[slot]["z"] = math.sin(lat)
        band = _band(lat)
        around = int(columns[band])
        bucket = _bucket(band, _column(lng, around) % around)
        if bucket != rows[slot]["bucket"]:
            _unlink(rows, heads, slot)
            _link(rows, heads, slot, bucket)
    return newer


@kernel
def remove(rows: RowArray, heads: HeadArray, slots: SlotArray) -> None:
    """Take workers off the map; the time of what was known stays."""
    for i in range(len(slots)):
        _unlink(rows, heads, slots[i])


@kernel
def relink(rows: RowArray, heads: HeadArray) -> None:
    """Build the lists anew, into `heads` that are all `NOBODY`."""
    for slot in range(len(rows)):
        bucket = rows[slot]["bucket"]
        if bucket != NOBODY:
            _link(rows, heads, slot, bucket)


@kernel
def nearest(
    rows: RowArray,
    heads: HeadArray,
    columns: ColumnArray,
    cap: Triple,
    wanted: tuple[int, int, int],
    slots: SlotArray,
    distances_m: FloatArray,
) -> int:
    """Write the nearest workers, nearest first, to `slots` and `distances_m`; return how many there are.

    cap: latitude, longitude, radius, in radians. wanted: skills needed, mask of statuses, oldest fix (Unix ms).
    Of equal distances the lower slot wins. Places beyond the last one found get `NOBODY` and infinity.
    """
    lat, lng, radius = cap[0], cap[1], min(cap[2], math.pi)
    center = (math.cos(lat) * math.cos(lng), math.cos(lat) * math.sin(lng), math.sin(lat))
    circle = min(_START_RAD, radius)
    while True:
        if _buckets_of(columns, lat, circle) > len(rows) * _BUCKETS_PER_ROW:
            circle = radius
            found = _look_everywhere(rows, center, _chord2(circle), wanted, slots, distances_m)
        else:
            found = _look_around(rows, heads, columns, (lat, lng, circle), center, wanted, slots, distances_m)
        if found == len(slots) or circle >= radius:
            break
        circle = min(2 * circle, radius)
    _sort(slots, distances_m, found)
    for i in range(found):
        distances_m[i] = 2 * SPHERE_RADIUS_M * math.asin(min(1.0, math.sqrt(distances_m[i]) / 2))
    slots[found:] = NOBODY
    distances_m[found:] = np.inf
    return found


@kernel
def _look_everywhere(
    rows: RowArray,
    center: Triple,
    limit: float,
    wanted: tuple[int, int, int],
    slots: SlotArray,
    chords2: FloatArray,
) -> int:
    found = 0
    for slot in range(len(rows)):
        if rows[slot]["bucket"] != NOBODY:
            found = _offer(rows, slot, center, limit, wanted, slots, chords2, found)
    return found


@kernel
def _look_around(  # noqa: PLR0913, PLR0917 - a leaf: compiled into its caller
    rows: RowArray,
    heads: HeadArray,
    columns: ColumnArray,
    cap: Triple,
    center: Triple,
    wanted: tuple[int, int, int],
    slots: SlotArray,
    chords2: FloatArray,
) -> int:
    """Offer everybody in the buckets that a circle (latitude, longitude, radius) touches."""
    lat, lng, circle = cap
    limit = _chord2(circle)
    width = _half_width(lat, circle)
    found = 0
    for band in range(_band(lat - circle - _MARGIN_RAD), _band(lat + circle + _MARGIN_RAD) + 1):
        around = int(columns[band])
        west = _column(lng - width, around)
        for column in range(west, min(_column(lng + width, around), west + around - 1) + 1):
            bucket = _bucket(band, column % around)
            slot = heads[_list_of(bucket, len(heads))]
            while slot != NOBODY:
                if rows[slot]["bucket"] == bucket:
                    found = _offer(rows, slot, center, limit, wanted, slots, chords2, found)
                slot = rows[slot]["next"]
    return found


@kernel
def _buckets_of(columns: ColumnArray, lat: float, circle: float) -> float:
    """Return about how many buckets a circle touches."""
    share = _half_width(lat, circle) / math.pi
    return (2 * circle / math.pi * BANDS + 2) * (share * float(columns[_band(lat)]) + 2)


@kernel
def _offer(  # noqa: PLR0913, PLR0917 - a leaf: compiled into its caller
    rows: RowArray,
    slot: int,
    center: Triple,
    limit: float,
    wanted: tuple[int, int, int],
    slots: SlotArray,
    chords2: FloatArray,
    found: int,
) -> int:
    """Take a worker among the best so far (a heap, the worst first) if it belongs there; return how many they are."""
    row = rows[slot]
    dx, dy, dz = row["x"] - center[0], row["y"] - center[1], row["z"] - center[2]
    chord2 = dx * dx + dy * dy + dz * dz
    if chord2 > limit or (row["skills"] & wanted[0]) != wanted[0]:
        return found
    if (wanted[1] >> row["status"]) & 1 == 0 or row["ts_ms"] < wanted[2]:
        return found
    if found < len(slots):
        _sift_up(slots, chords2, found, slot, chord2)
        return found + 1
    if _is_after(chords2[0], slots[0], chord2, slot):
        _sift_down(slots, chords2, found, slot, chord2)
    return found


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
def _chord2(angle_rad: float) -> float:
    half = math.sin(min(angle_rad, math.pi) / 2)
    return 4 * half * half


@kernel
def _half_width(lat: float, circle: float) -> float:
    """Return how far east and west of its middle a circle reaches, in radians; pi where it holds a pole."""
    reach = circle + _MARGIN_RAD
    if abs(lat) + reach >= math.pi / 2 - _MARGIN_RAD:
        return math.pi
    return math.asin(min(1.0, math.sin(reach) / math.cos(lat))) + _MARGIN_RAD / math.cos(lat)


@kernel
def _band(lat: float) -> int:
    return min(max(math.floor((lat / math.pi + 0.5) * BANDS), 0), BANDS - 1)


@kernel
def _column(lng: float, around: int) -> int:
    """Return the column of a longitude, not yet taken around the globe."""
    return math.floor((lng / (2 * math.pi) + 0.5) * around)


@kernel
def _bucket(band: int, column: int) -> int:
    return (band << _COLUMN_BITS) | column


@kernel
def _list_of(bucket: int, lists: int) -> int:
    spread = (bucket >> _COLUMN_BITS) * _BAND_SPREAD ^ (bucket & ((1 << _COLUMN_BITS) - 1)) * _COLUMN_SPREAD
    return (spread ^ spread >> 16) & (lists - 1)


@kernel
def _link(rows: RowArray, heads: HeadArray, slot: int, bucket: int) -> None:
    at = _list_of(bucket, len(heads))
    first = heads[at]
    rows[slot]["bucket"], rows[slot]["next"], rows[slot]["previous"] = bucket, first, NOBODY
    if first != NOBODY:
        rows[first]["previous"] = slot
    heads[at] = slot


@kernel
def _unlink(rows: RowArray, heads: HeadArray, slot: int) -> None:
    bucket = rows[slot]["bucket"]
    if bucket == NOBODY:
        return
    before, after = rows[slot]["previous"], rows[slot]["next"]
    if before == NOBODY:
        heads[_list_of(bucket, len(heads))] = after
    else:
        rows[before]["next"] = after
    if after != NOBODY:
        rows[after]["previous"] = before
    rows[slot]["bucket"] = NOBODY

"""The arrays of a mirror: one row a worker with a place, and what their columns mean. Pure."""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

ROW: Final = np.dtype(
    [
        ("x", "<f8"),
        ("y", "<f8"),
        ("z", "<f8"),
        ("ts_ms", "<i8"),
        ("bucket", "<i8"),
        ("skills", "<i4"),
        ("status", "<i4"),
        ("next", "<i4"),
        ("previous", "<i4"),
        ("slot", "<i4"),
        ("group", "<i4"),
    ]
)
"""What is known of one worker with a place, in one cache line: who walks a list of them touches one line a worker.

A row without a bucket is free, and `next` is the free row after it.
"""
assert ROW.itemsize == 64  # noqa: PLR2004 - a cache line

NOBODY: Final = -1
"""No slot, no row, no bucket: the end of a list, or a worker without a place."""
USED, FREE, WORKERS = 0, 1, 2
"""Columns of `CountArray`: rows that were ever taken, the first free one of them, and how many are not free."""

RowArray: TypeAlias = NDArray[np.void]
"""One dimension of `ROW`."""
HeadArray: TypeAlias = NDArray[np.int32]
"""First row of each list; the length is a power of two."""
ColumnArray: TypeAlias = NDArray[np.int32]
"""How many buckets go around the globe in each band of latitude."""
Grid: TypeAlias = tuple[RowArray, HeadArray, ColumnArray]
CountArray: TypeAlias = NDArray[np.int64]
BySlot: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32]]
"""Of each slot: its row, the worker's skills, status and group."""
FloatArray: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = tuple[int, int, int, int]
"""Skills needed, mask of statuses, oldest fix (Unix ms), group (0: any)."""

"""The fix as bytes: 24 on the wire, 32 in the slab. Pure: knows no transport, no store and no clock.

The formats are public (docs/protocol.md, section 2). A flush of many connections is decoded at once: the payloads of
all frames are joined and viewed as one structured array, so no Python object stands for a single fix.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from config.limits import FIXES_PER_FRAME_MAX
from engine.core.errors import WireError
from engine.core.units import DEG_E7

FIX: Final = np.dtype(
    [
        ("ts_ms", "<i8"),
        ("lat_e7", "<i4"),
        ("lng_e7", "<i4"),
        ("accuracy_dm", "<u2"),
        ("speed_cm_s", "<u2"),
        ("heading_cdeg", "<u2"),
        ("battery_pct", "u1"),
        ("flags", "u1"),
    ]
)
"""A fix as the phone sends it."""
RECORD: Final = np.dtype([*FIX.descr, ("cell", "<u8")])
"""A fix as the slab keeps it: the newest accepted one of a slot. `ts_ms` 0: absent; `cell` 0: off duty, in no cell."""

FIX_BYTES: Final = 24
RECORD_BYTES: Final = 32
UNKNOWN_U16: Final = 65_535
"""Accuracy, speed or heading that the phone did not tell."""
UNKNOWN_BATTERY: Final = 255
NO_FIX: Final = bytes(FIX_BYTES)

FixArray: TypeAlias = NDArray[np.void]
"""One dimension of `FIX`."""
RecordArray: TypeAlias = NDArray[np.void]
"""One dimension of `RECORD`."""
SlotArray: TypeAlias = NDArray[np.int64]

_E7_OUT_OF_RANGE: Final = 2**31 - 1
_TS_OUT_OF_RANGE: Final = 0

assert FIX.itemsize == FIX_BYTES
assert RECORD.itemsize == RECORD_BYTES


def check_payload(payload: object) -> bytes:
    """Return the binary part of a ping frame, checked for its size only.

    Raises:
        WireError: not binary, empty or not a whole number of fixes.
    """
    if not isinstance(payload, bytes):
        raise WireError("fixes travel as one binary value")
    if not payload or len(payload) % FIX_BYTES:
        raise WireError(f"a ping frame holds 1-{FIXES_PER_FRAME_MAX} fixes of {FIX_BYTES} bytes")
    return payload


def decode(payloads: Sequence[bytes], slots: Sequence[int]) -> tuple[FixArray, SlotArray]:
    """Return every fix of the checked `payloads` in order, and beside each the slot it came from.

    Raises:
        WireError: a payload is not a whole number of fixes.
    """
    lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
    if (lengths % FIX_BYTES).any():
        raise WireError(f"a payload is not a multiple of {FIX_BYTES} bytes")
    fixes = np.frombuffer(b"".join(payloads), FIX)
    return fixes, np.repeat(np.fromiter(slots, np.int64, len(slots)), lengths // FIX_BYTES)


def encode(fixes: FixArray) -> bytes:
    """Return the wire's bytes of `fixes`."""
    assert fixes.dtype == FIX
    return fixes.tobytes()


def payload_of_objects(objects: Sequence[object]) -> bytes:
    """Return the payload of fixes that a client wrote as JSON objects.

    A number that no fix can hold (NaN, null, beyond any range) becomes a record that acceptance refuses as `invalid`:
    it is counted like every other bad fix and does not fail its neighbours.

    Raises:
        WireError: an element is not an object, or a field is neither a number nor null.
    """
    rows = [_row_of_object(each) for each in objects]
    if not rows:
        raise WireError("a ping holds at least one fix")
    return np.array(rows, FIX).tobytes()


def _row_of_object(each: object) -> tuple[int, ...]:
    if not isinstance(each, Mapping):
        raise WireError("a fix is an object", field="fixes")
    return (
        _integer(each, "ts_ms", scale=1, high=2**53, otherwise=_TS_OUT_OF_RANGE),
        _integer(each, "lat", scale=DEG_E7, high=_E7_OUT_OF_RANGE, otherwise=_E7_OUT_OF_RANGE),
        _integer(each, "lng", scale=DEG_E7, high=_E7_OUT_OF_RANGE, otherwise=_E7_OUT_OF_RANGE),
        _optional(each, "accuracy_m", scale=10, unknown=UNKNOWN_U16),
        _optional(each, "speed_mps", scale=100, unknown=UNKNOWN_U16),
        _optional(each, "heading_deg", scale=100, unknown=UNKNOWN_U16),
        _optional(each, "battery_pct", scale=1, unknown=UNKNOWN_BATTERY),
        0,
    )


def _integer(each: Mapping[str, Any], field: str, *, scale: int, high: int, otherwise: int) -> int:
    value = _number(each, field)
    if value is None or not abs(value) < math.inf or abs(value) * scale >= high:
        return otherwise
    return round(value * scale)


def _optional(each: Mapping[str, Any], field: str, *, scale: int, unknown: int) -> int:
    """Return an optional field; one that is too large is its largest value, so a hopeless accuracy stays hopeless."""
    value = _number(each, field)
    if value is None or not abs(value) < math.inf or value < 0:
        return unknown
    return round(min(value * scale, unknown - 1))


def _number(each: Mapping[str, Any], field: str) -> float | int | None:
    """Return a number as JSON has it: NaN, infinite, or an integer of any length, which no float need hold."""
    value = each.get(field)
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    raise WireError(f"{field} is a number", field=f"fixes.{field}")

"""A head and named arrays as one piece of bytes that shows when a byte of it has changed. Pure.

The head is JSON, so that a person can read what a record is about; arrays keep their exact bits, little-endian.
"""

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

MAGIC: Final = b"cpak\x01"
DIGEST_BYTES: Final = 16
LENGTH_BYTES: Final = 4
LEVEL: Final = 1
"""zlib's fastest: most rows are the same number all along."""
TYPES: Final = frozenset({"<i4", "<i8", "<f4", "<f8", "|u1"})


class RecordError(ValueError):
    """These bytes are no record, or not as they were written."""


def pack(head: Mapping[str, object], arrays: Arrays) -> bytes:
    """Return the bytes: magic, digest, and compressed the length of the head, the head and the arrays."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    shapes = [(name, array.dtype.str, array.shape) for name, array in whole.items()]
    assert {kind for _, kind, _ in shapes} <= TYPES
    text = orjson.dumps({**head, "arrays": shapes})
    body = b"".join((len(text).to_bytes(LENGTH_BYTES, "little"), text, *(array.tobytes() for array in whole.values())))
    squeezed = zlib.compress(body, LEVEL)
    return MAGIC + _digest(squeezed) + squeezed


def unpack(data: bytes, *, bytes_max: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return head and arrays of what `pack` wrote; the arrays cannot be written to.

    Raises:
        RecordError: these bytes are none, a byte is not as it was written, or they would take more than `bytes_max`.
    """
    start = len(MAGIC) + DIGEST_BYTES
    if not data.startswith(MAGIC) or data[len(MAGIC) : start] != _digest(data[start:]):
        raise RecordError("not a record, or not as it was written")
    try:
        unzip = zlib.decompressobj()
        body = unzip.decompress(data[start:], bytes_max)
        if not unzip.eof or unzip.unused_data:
            raise RecordError(f"more than {bytes_max} bytes, or cut short")
        return _unpacked(body)
    except (ValueError, TypeError, KeyError, zlib.error) as error:
        raise RecordError(f"not a record of this version: {error}") from error


def _unpacked(body: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    at = LENGTH_BYTES + int.from_bytes(body[:LENGTH_BYTES], "little")
    head = orjson.loads(body[LENGTH_BYTES:at])
    arrays = {}
    for name, kind, shape in head.pop("arrays"):
        if kind not in TYPES:
            raise RecordError(f"{name}: of type {kind}")
        array = np.frombuffer(body, kind, int(np.prod(shape)), at).reshape(shape)
        arrays[name] = array
        at += array.nbytes
    if at != len(body):
        raise RecordError("bytes are left over")
    return head, arrays


def _digest(squeezed: bytes) -> bytes:
    return hashlib.blake2b(squeezed, digest_size=DIGEST_BYTES).digest()

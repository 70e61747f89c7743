"""Road indexes on disk: one file, memory-mapped, refused when it is damaged or of another version.

Layout: 8 bytes of name, u32 version, u32 length of the head, u32 CRC-32 of the head, head, arrays. The head (JSON)
names each array with type, shape, offset and CRC-32; offsets count from the start of the file and are multiples of 64.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from struct import Struct
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.eta.hub_labels import HubLabels
from engine.eta.road_graph import RoadGraph
from engine.eta.road_snap import SnapGrid
from engine.eta.road_times import RoadIndex

NAME: Final = b"CLZROADS"
VERSION: Final = 1
PREFIX: Final = Struct("<8sIII")
ALIGNMENT: Final = 64
HEAD_BYTES_MAX: Final = 65_536
PARTS: Final = {"graph": RoadGraph, "labels": HubLabels, "grid": SnapGrid}


class RoadFileError(Exception):
    """A road file cannot be used; the text says why and what to do."""


def write(index: RoadIndex, path: Path, about: dict[str, Any]) -> None:
    """Write an index beside `path` and put it there at once, so that nobody ever reads half a file.

    `about` is any JSON: what the file was made of.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in _arrays(index)}
    entries: dict[str, Any] = {}
    offset = 0
    for name, array in arrays.items():
        entries[name] = [array.dtype.str, array.shape, offset, zlib.crc32(array.data)]
        offset = _aligned(offset + array.nbytes)
    head = orjson.dumps({"about": about, "arrays": entries})
    start = _aligned(PREFIX.size + len(head))
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(PREFIX.pack(NAME, VERSION, len(head), zlib.crc32(head)))
        file.write(head)
        for name, array in arrays.items():
            file.seek(start + entries[name][2])
            file.write(array.data)
        file.truncate(start + offset)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read(path: Path) -> tuple[RoadIndex, dict[str, Any]]:
    """Return the index of a file, memory-mapped, and what it was made of.

    Raises:
        RoadFileError: It is not there, is no road file, has another version, or any byte of it has changed.
    """
    try:
        data = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        raise RoadFileError(f"{path} cannot be read: {error}") from error
    head, start = _head(path, data)
    try:
        arrays = {name: _array(data, start, *entry) for name, entry in head["arrays"].items()}
        parts = {
            part: of(**{field.name: arrays[f"{part}.{field.name}"] for field in fields(of)})
            for part, of in PARTS.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise RoadFileError(f"{path} is damaged ({error}): build it again") from error
    return RoadIndex(**parts), head["about"]


def _arrays(index: RoadIndex) -> Iterator[tuple[str, NDArray[Any]]]:
    for part, of in PARTS.items():
        for field in fields(of):
            yield f"{part}.{field.name}", getattr(getattr(index, part), field.name)


def _head(path: Path, data: NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    if len(data) < PREFIX.size:
        raise RoadFileError(f"{path} is no road file: make one with `clenzy roads build`")
    name, version, length, checksum = PREFIX.unpack(data[: PREFIX.size].tobytes())
    if name != NAME:
        raise RoadFileError(f"{path} is no road file: make one with `clenzy roads build`")
    if version != VERSION:
        raise RoadFileError(f"{path} has version {version}, this build reads {VERSION}: build it again")
    head = data[PREFIX.size : PREFIX.size + min(length, HEAD_BYTES_MAX)].tobytes()
    if zlib.crc32(head) != checksum:
        raise RoadFileError(f"{path} is damaged (head): build it again")
    return orjson.loads(head), _aligned(PREFIX.size + length)


def _array(
    data: NDArray[np.uint8], start: int, kind: str, shape: list[int], offset: int, checksum: int
) -> NDArray[Any]:
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
    piece = data[start + offset : start + offset + size]
    if len(piece) != size:
        raise ValueError("cut short")
    if zlib.crc32(piece.data) != checksum:
        raise ValueError("checksum")
    array: NDArray[Any] = np.frombuffer(piece, kind).reshape(shape)
    return array


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT

"""What one console looks at, and the frames that keep it up to date. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

import msgpack
import numpy as np
from numpy.typing import NDArray

from config.limits import CELL_RESOLUTION, CONSOLE_CELL_ZOOM, CONSOLE_WORKERS_MAX
from engine.core.errors import WireError
from engine.core.units import DEG_E7
from engine.geo.cells import parents_of
from gateway_ws.live_map.columns import BUSY, LiveMap

CELL_ROW: Final = np.dtype([("h3", "<u8"), ("workers", "<u4"), ("busy", "<u4")])
_CORNERS: Final = 4
_ZOOM_MAX: Final = 24
_NUMBER_END: Final = 1e6
"""Beyond every degree and zoom; JSON has integers that no float holds."""


@dataclass(frozen=True, slots=True)
class Box:
    """A bounding box in degrees; `west > east` crosses the 180th meridian."""

    west: float
    south: float
    east: float
    north: float
    zoom: float

    @classmethod
    def parse(cls, body: object) -> Self:
        """Return the box of a `view` event.

        Raises:
            WireError: a field is missing or not a place.
        """
        match body:
            case {"bbox": [*corners], "zoom": zoom} if len(corners) == _CORNERS:
                numbers = [*corners, zoom]
            case _:
                raise WireError("a view is {bbox: [west, south, east, north], zoom}")
        if not all(isinstance(each, (int, float)) and abs(each) < _NUMBER_END for each in numbers):
            raise WireError("bbox and zoom are numbers", field="bbox")
        west, south, east, north = (float(each) for each in corners)
        if not -90 <= south <= north <= 90:  # noqa: PLR2004 - degrees
            raise WireError("south and north are latitudes in this order", field="bbox")
        if east - west >= 360:  # noqa: PLR2004 - degrees: a map far out shows the world more than once
            west, east = -180.0, 180.0
        return cls(_wrapped(west), south, _wrapped(east), north, min(max(float(zoom), 0), _ZOOM_MAX))


ViewState: TypeAlias = tuple[Box, int, int, int]


class MapView:
    """The state of one console's map: the box, and what it was sent last."""

    def __init__(self, box: Box, org: int) -> None:
        self.box = box
        self._org = org
        self._shown: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._seen_version = -1
        """What the last frame of any kind was made of."""
        self._sent_version = -1
        """What the last frame of workers was made of; -1: the next one is whole."""

    def start_over(self) -> None:
        """Send a whole frame next: the map was loaded anew."""
        self._seen_version = self._sent_version = -1

    @property
    def state(self) -> ViewState:
        """What decides the next frame, besides the map: views of the same state get the same one."""
        return self.box, self._org, self._seen_version, self._sent_version

    def follow(self, other: Self) -> None:
        """Take note that this view was sent what `other`, of the same state, was sent."""
        self._shown = other._shown
        self._seen_version = other._seen_version
        self._sent_version = other._sent_version

    def frame(self, live: LiveMap, now_ms: int) -> bytes | None:
        """Return the next frame as MessagePack, or nothing when nothing changed."""
        if self._seen_version == live.version:
            return None
        self._seen_version = live.version
        inside = self._inside(live)
        is_first = self._sent_version < 0
        if self.box.zoom < CONSOLE_CELL_ZOOM or int(inside.sum()) > CONSOLE_WORKERS_MAX:
            frame = self._cells_frame(live, inside, now_ms)
            self._sent_version = -1  # back among the workers, the first frame is whole
            return frame
        frame_or_none = self._workers_frame(live, inside, now_ms, is_first=is_first)
        self._shown = inside
        self._sent_version = live.version
        return frame_or_none

    def _inside(self, live: LiveMap) -> NDArray[np.bool_]:
        box, lat, lng = self.box, live.rows["lat_e7"], live.rows["lng_e7"]
        inside: NDArray[np.bool_] = (live.cells != 0) & (live.org == self._org)
        inside &= (lat >= box.south * DEG_E7) & (lat <= box.north * DEG_E7)
        from_west, to_east = lng >= box.west * DEG_E7, lng <= box.east * DEG_E7
        inside &= (from_west & to_east) if box.west <= box.east else (from_west | to_east)
        return inside

    def _workers_frame(self, live: LiveMap, inside: NDArray[np.bool_], now_ms: int, *, is_first: bool) -> bytes | None:
        shown = np.zeros(len(inside), np.bool_)
        if not is_first:
            shown[: len(self._shown)] = self._shown
        rows = live.rows[inside & ((live.changed > self._sent_version) | ~shown)]
        gone = np.nonzero(shown & ~inside)[0].astype("<u4")
        if not is_first and not len(rows) and not len(gone):
            return None
        return _packed(
            {
                "kind": "workers",
                "at_ms": now_ms,
                "full": is_first,
                "rows": rows.tobytes(),
                "gone": gone.tobytes(),
            }
        )

    def _cells_frame(self, live: LiveMap, inside: NDArray[np.bool_], now_ms: int) -> bytes:
        cells = parents_of(live.cells[inside], cell_resolution(self.box.zoom))
        busy = live.rows["status"][inside] == BUSY
        unique, position = np.unique(cells, return_inverse=True)
        rows = np.zeros(len(unique), CELL_ROW)
        rows["h3"] = unique
        rows["workers"] = np.bincount(position, minlength=len(unique))
        rows["busy"] = np.bincount(position, weights=busy, minlength=len(unique))
        return _packed({"kind": "cells", "at_ms": now_ms, "cells": rows.tobytes()})


def cell_resolution(zoom: float) -> int:
    """Return the H3 resolution whose cells are some 30 pixels wide on a Mercator map at this zoom."""
    return min(max(round(zoom * 0.75 - 1), 1), CELL_RESOLUTION)


def _packed(body: Mapping[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(body)
    return packed


def _wrapped(lng_deg: float) -> float:
    return lng_deg if -180 <= lng_deg <= 180 else (lng_deg + 180) % 360 - 180  # noqa: PLR2004 - degrees

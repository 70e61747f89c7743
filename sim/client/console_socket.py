"""A dispatcher's console: the live map's rows, bookings, incidents, figures."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
import msgpack
import numpy as np
import numpy.typing as npt

from sim.client.errors import WireFault
from sim.client.rest import Account
from sim.client.socketio_session import SocketIoSession

MAP_ROW_DTYPE: Final = np.dtype(
    [
        ("slot", "<u4"),
        ("lat_e7", "<i4"),
        ("lng_e7", "<i4"),
        ("ts_ms", "<i8"),
        ("heading_cdeg", "<u2"),
        ("status", "u1"),
        ("battery_pct", "u1"),
    ]
)
CELL_ROW_DTYPE: Final = np.dtype([("h3", "<u8"), ("workers", "<u4"), ("busy", "<u4")])
MAP_ROW_BYTES: Final = 24
CELL_ROW_BYTES: Final = 16

assert MAP_ROW_DTYPE.itemsize == MAP_ROW_BYTES
assert CELL_ROW_DTYPE.itemsize == CELL_ROW_BYTES


class LiveMap:
    """What a console knows after the frames so far: the newest row of every worker in view, or cells with counts."""

    def __init__(self) -> None:
        self.workers: dict[int, np.void] = {}
        self.cells: npt.NDArray[np.void] = np.zeros(0, CELL_ROW_DTYPE)
        self.frames = 0

    def take(self, data: bytes) -> None:
        """Apply one binary `map` event.

        Raises:
            WireFault: not a frame of the protocol.
        """
        try:
            frame = msgpack.unpackb(data)
            self._apply(frame)
        except (ValueError, TypeError, KeyError) as error:
            raise WireFault(f"a map frame of {len(data)} bytes cannot be read: {error!r}") from error
        self.frames += 1

    def _apply(self, frame: Mapping[str, Any]) -> None:
        if frame["kind"] == "cells":
            self.cells = np.frombuffer(frame["cells"], CELL_ROW_DTYPE)
            self.workers.clear()
            return
        if frame["kind"] != "workers":
            raise ValueError(frame["kind"])
        if frame["full"]:
            self.workers.clear()
        for row in np.frombuffer(frame["rows"], MAP_ROW_DTYPE):
            self.workers[int(row["slot"])] = row
        for slot in np.frombuffer(frame["gone"], "<u4"):
            self.workers.pop(int(slot), None)


class ConsoleSocket(SocketIoSession):
    """`/console`. `live_map` is kept up to date; other events go to the handlers registered with `on`."""

    def __init__(
        self,
        *,
        http: aiohttp.ClientSession,
        gateway_url: str,
        account: Account,
        on_map: Callable[[LiveMap], None] | None = None,
    ) -> None:
        super().__init__(http=http, gateway_url=gateway_url, namespace="/console", account=account)
        self.live_map = LiveMap()
        self._on_map = on_map
        self.on("map", self._take_map)

    async def view(self, west: float, south: float, east: float, north: float, *, zoom: float) -> None:
        """Choose what to see (degrees); raises as `call` does."""
        await self.call("view", {"bbox": [west, south, east, north], "zoom": zoom})

    def _take_map(self, data: bytes) -> None:
        self.live_map.take(data)
        if self._on_map is not None:
            self._on_map(self.live_map)

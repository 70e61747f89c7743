"""A raw connection whose line ends before anybody was told."""

import asyncio
from typing import cast

from engine.core.errors import WireError
from gateway_ws.background import Background
from gateway_ws.closing import Close
from gateway_ws.fan_out.stalled import StalledConnections
from gateway_ws.raw.connection import RawConnection
from gateway_ws.raw.wire import AckState
from tests.fakes import ManualClock


class Line:
    """A transport as uvloop's: writing to a closed one is an error."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_cut = False

    def is_closing(self) -> bool:
        return self.is_cut

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        if self.is_cut:
            raise RuntimeError("the handler is closed")
        self.written.append(data)


async def test_nothing_is_written_to_a_line_that_was_cut(clock: ManualClock) -> None:
    line = Line()
    async with asyncio.TaskGroup() as tasks:
        connection = RawConnection(
            cast("asyncio.Transport", line),
            slot=7,
            stalled=StalledConnections(clock),
            background=Background(tasks),
        )
        connection.acknowledge(1, AckState.INDEXED)
        assert len(line.written) == 1
        line.is_cut = True
        assert connection.is_closed
        connection.acknowledge(2, AckState.INDEXED)
        connection.acknowledge(3, AckState.COMMITTED)
        connection.event("booking", {})
        connection.refuse(WireError("no"))
        connection.close(Close.GOING_AWAY)
        assert connection.pump()
    assert len(line.written) == 1

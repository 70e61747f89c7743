"""The prebuilt pings of the stream benchmark: they are what they say, and come out as they say."""

import asyncio
from collections import Counter
from typing import Any

import numpy as np
import pytest
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.base_protocol import BaseProtocol

from bench.stream.frames import FIRST_SEQ, Pings, pings
from config.limits import FIXES_PER_FRAME_MAX
from engine.geo import acceptance
from engine.geo.worker_table import WorkerTable
from gateway_ws.raw import wire

NOW_MS = 1_750_000_000_000


def crowd(fixes: int, *, bad_every: int = 3) -> Pings:
    return pings(4, 12, fixes, from_ms=NOW_MS, bad_every=bad_every, random=np.random.default_rng(5))


@pytest.mark.parametrize("fixes", [1, 5, 10, 11, FIXES_PER_FRAME_MAX])
async def test_a_line_is_one_masked_frame_after_the_other(fixes: int) -> None:
    sent = crowd(fixes)
    for row, line in enumerate(sent.on_the_line(np.random.default_rng(6))):
        queue = WebSocketDataQueue(BaseProtocol(asyncio.get_running_loop()), 1 << 20, loop=asyncio.get_running_loop())
        WebSocketReader(queue, 1 << 16, compress=False, decode_text=True).feed_data(line)
        for number in range(sent.frames):
            message: Any = await queue.read()
            assert wire.decode(message.data) == wire.Fixes(FIRST_SEQ + number, sent.fixes[row, number].tobytes())
        assert len(line) % sent.frames == 0


def test_what_must_come_of_them_is_what_the_rules_make_of_them() -> None:
    sent = crowd(6)
    taken = np.array([12, 7, 1, 0])
    table = WorkerTable()
    counted: Counter[object] = Counter()
    for row in range(sent.phones):
        table.set_duty(row, 0)
        fixes = sent.fixes[row, : taken[row]].reshape(-1)
        outcomes = np.empty(len(fixes), np.uint8)
        slots = np.full(len(fixes), row)
        acceptance.accept(fixes, slots, table.columns, NOW_MS + 3_600_000, acceptance.RULES, outcomes)
        counted.update({**acceptance.TAKEN, **acceptance.REFUSALS}[code] for code in outcomes.tolist())
    accepted, refused = sent.expected(taken)
    assert len(+refused) == 4
    assert counted == {acceptance.TAKEN[acceptance.ACCEPTED]: accepted, **(+refused)}
    places = sent.last_places(taken)
    for column in ("ts_ms", "lat_e7", "lng_e7"):
        assert np.array_equal(table.last[column][:3], places[column])

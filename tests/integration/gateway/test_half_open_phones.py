"""A phone that vanishes without a word is let go of within the heartbeat's time, and one that is only quiet is not."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

import aiohttp
import pytest
import socketio

from engine.core.vocabulary import Role
from gateway_ws import gateway as gateway_module
from gateway_ws.engineio.server import EngineOptions
from gateway_ws.raw import ping_socket
from gateway_ws.worker_session import WorkerSession
from tests.integration.gateway.harness import PORTO, City, Stage, eventually, page_on, phone_on
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.integration

INTERVAL_MS, TIMEOUT_MS = 1_000, 700
LATE_MS = 1_500
"""For a machine that is busy with other tests."""
AT_ONCE = aiohttp.ClientWSTimeout(ws_close=0.1)


@pytest.fixture(autouse=True)
def _quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping_socket, "HEARTBEAT_INTERVAL_MS", INTERVAL_MS)
    quick = partial(EngineOptions, interval_ms=INTERVAL_MS, timeout_ms=TIMEOUT_MS)
    monkeypatch.setattr(gateway_module, "EngineOptions", quick)


@pytest.fixture
async def line(stage: Stage) -> AsyncIterator[TcpProxy]:
    there = urlsplit(stage.url)
    async with TcpProxy(there.hostname or "", there.port or 0).running() as proxy:
        yield proxy


def far(stage: Stage, line: TcpProxy) -> Stage:
    """The same gateway at the other end of the line."""
    return replace(stage, url=f"http://127.0.0.1:{line.port}")


async def test_a_vanished_raw_phone_is_let_go_of_in_time_and_a_quiet_one_is_not(
    stage: Stage, city: City, line: TcpProxy
) -> None:
    quiet = stage.token(Role.WORKER, await city.worker(1), slot=1)
    vanishing = stage.token(Role.WORKER, await city.worker(2), slot=2)
    registry = stage.gateway.services.registry
    async with (
        phone_on(stage, quiet) as stays,
        phone_on(far(stage, line), vanishing, timeout=AT_ONCE) as gone,
    ):
        await stays.hear(0)
        await gone.hear(0)
        await gone.send(1, 1, stage.fixes(PORTO))
        await gone.hear(2)
        answering = asyncio.ensure_future(stays.socket.receive())  # answers pings
        line.go_dead()
        # A frame that came just after the last look puts the ping off once; the pong has half an interval.
        await eventually(lambda: len(registry) == 1, timeout_s=(2.5 * INTERVAL_MS + LATE_MS) / 1_000)
        await asyncio.sleep(3 * INTERVAL_MS / 1_000)
        assert [session.principal.slot for session in registry] == [1]
        assert not gone.socket.closed, "nobody told the phone"
        answering.cancel()


async def test_a_phone_that_sends_is_not_pinged_and_one_that_falls_silent_is_before_it_is_cut_off(
    stage: Stage, city: City
) -> None:
    token = stage.token(Role.WORKER, await city.worker(1), slot=1)
    async with phone_on(stage, token, autoping=False, timeout=AT_ONCE) as phone:
        await phone.hear(0)
        for seq in range(1, 21):
            await phone.send(1, seq, stage.fixes(PORTO))
            await asyncio.sleep(INTERVAL_MS / 8 / 1_000)
            await phone.hear(2, where=lambda frame, seq=seq: frame[1] == seq)  # a ping would fail here
        assert (await phone.socket.receive()).type is aiohttp.WSMsgType.PING
        assert (await phone.socket.receive()).type is aiohttp.WSMsgType.CLOSED


async def test_a_vanished_phone_with_events_on_their_way_leaves_nothing_behind(
    stage: Stage, city: City, line: TcpProxy
) -> None:
    worker_id = await city.worker(2)
    token = stage.token(Role.WORKER, worker_id, slot=2)
    async with phone_on(far(stage, line), token, timeout=AT_ONCE) as phone:
        await phone.hear(0)
        (session,) = stage.gateway.services.registry
        assert isinstance(session, WorkerSession)
        transport = session._connection._transport  # what the kernel would hold for a quarter of an hour
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        line.go_dead()
        while not transport.get_write_buffer_size():
            assert not transport.is_closing(), "let go of before there was anything to leave behind"
            await stage.publish(f"user:{worker_id}", "note", {"padding": "x" * 30_000})
            await asyncio.sleep(0)
        await eventually(lambda: not len(stage.gateway.services.registry))
        await eventually(lambda: transport.is_closing() and not transport.get_write_buffer_size())


async def test_a_vanished_page_is_let_go_of_in_time_and_a_quiet_one_is_not(
    stage: Stage, city: City, line: TcpProxy
) -> None:
    auth = {"token": stage.token(Role.DISPATCHER, await city.person(Role.DISPATCHER, "D"))}
    registry = stage.gateway.services.registry
    async with page_on(stage, "/console", auth) as stays:
        await stays.hear("welcome")
        client = socketio.AsyncClient(reconnection=False)
        await client.connect(
            far(stage, line).url, namespaces=["/console"], auth=auth, transports=["websocket"], wait_timeout=5
        )
        await eventually(lambda: len(registry) == 2)
        line.go_dead()
        await eventually(lambda: len(registry) == 1, timeout_s=(INTERVAL_MS + TIMEOUT_MS + LATE_MS) / 1_000)
        await asyncio.sleep(3 * INTERVAL_MS / 1_000)
        assert len(registry) == 1
        await client.shutdown()
        await client.eio.ws.close()  # a client whose server fell silent leaves it to the collector

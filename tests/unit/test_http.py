"""What every server of ours does with a peer that does not speak HTTP, or does not speak at all."""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from config.settings import Settings
from ops import http
from ops.http import add_ops_routes, app_runner
from ops.logs import configure_logs
from ops.readiness import Readiness


@asynccontextmanager
async def served():
    app = web.Application()
    add_ops_routes(app, Readiness())
    runner = app_runner(app, stop_ms=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
def _own_logs() -> Iterator[None]:
    """Give the test's logging back as it was."""
    root, server = logging.getLogger(), logging.getLogger("aiohttp.server")
    kept = (root.handlers[:], root.level, server.filters[:])
    yield
    root.handlers[:], server.filters[:] = kept[0], kept[2]
    root.setLevel(kept[1])


@pytest.mark.parametrize("said", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_who_never_ends_the_head_of_a_request_is_cut_off(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(http, "CONNECTION_IDLE_MS", 50)
    async with served() as port, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        assert await reader.read() == b""
        writer.close()


@pytest.mark.usefixtures("_own_logs")
async def test_what_is_not_http_is_one_line_that_quotes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("test", Settings())
    async with served() as port:
        for said in (b"GET / HTTP/9.9\r\n\r\n", b"GET /?lat=41.1\x00 HTTP/1.1\r\n\r\n", b"secret\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            assert (await reader.read()).startswith(b"HTTP/1.0 400")
            writer.close()
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [line for line in lines if line["logger"] == "aiohttp.server"]
    assert [(line["level"], line["event"]) for line in told][:2] == [("info", "http.malformed")] * 2
    assert all("exception" not in line and "41.1" not in json.dumps(line) for line in told)

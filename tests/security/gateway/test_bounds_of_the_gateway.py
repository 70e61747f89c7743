"""Lines 11 and 12 at the gateway: what is too large, too compressed, too slow or from a page that is not ours."""

import asyncio
import gzip
import zlib
from urllib.parse import urlsplit

import aiohttp
import pytest

from config.limits import FRAME_BYTES_MAX, TRACKER_BODY_BYTES_MAX
from engine.core.errors import BodyTooLarge, WireError
from engine.core.vocabulary import Role
from gateway_ws.trackers.compressed import unpacked
from tests.integration.gateway.harness import City, Stage, page_on, phone_on

ENGINE_BYTES_MAX = 65_536
"""`max_http_buffer_size` of other servers is 1,000,000."""


def engine_url(stage: Stage, transport: str) -> str:
    return f"{stage.url}/socket.io/?EIO=4&transport={transport}"


@pytest.mark.parametrize("path", ["/ws/ping", "/socket.io/?EIO=4&transport=websocket"])
async def test_line_11_no_socket_agrees_to_compress(stage: Stage, path: str) -> None:
    """Nobody unpacks what nobody agreed to pack: permessage-deflate is declined, however it is offered."""
    async with aiohttp.ClientSession() as client, client.ws_connect(stage.url + path, compress=15) as socket:
        assert socket.compress == 0
        assert "Sec-WebSocket-Extensions" not in socket._response.headers


async def test_line_11_a_frame_with_the_compressed_bit_ends_the_connection(stage: Stage) -> None:
    host, port = urlsplit(stage.url).netloc.split(":")
    bomb = zlib.compress(b"0" * 1_000_000)[:100]
    for path in ("/ws/ping", "/socket.io/?EIO=4&transport=websocket"):
        async with asyncio.timeout(15):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            assert b"101" in await reader.readline()
            await reader.readuntil(b"\r\n\r\n")
            writer.write(bytes([0xC2, 0x80 | len(bomb), 0, 0, 0, 0]) + bomb)  # FIN + RSV1 + binary, masked with zeros
            rest = await reader.read()
        assert (1002).to_bytes(2) in rest, "a protocol error, and the end"
        writer.close()


async def test_line_11_a_payload_of_engine_io_is_bounded(stage: Stage) -> None:
    async with aiohttp.ClientSession() as client:
        async with client.get(engine_url(stage, "polling")) as opened:
            handshake = (await opened.text())[1:]
        assert f'"maxPayload":{ENGINE_BYTES_MAX}' in handshake
        sid = handshake.split('"sid":"')[1].split('"')[0]
        large = b"4" + b"x" * ENGINE_BYTES_MAX
        async with client.post(f"{engine_url(stage, 'polling')}&sid={sid}", data=large) as refused:
            assert refused.status == 400
        async with client.ws_connect(engine_url(stage, "websocket")) as socket, asyncio.timeout(15):
            await socket.receive()
            await socket.send_str("4" + "x" * ENGINE_BYTES_MAX)
            while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSED:
                pass
            assert socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_line_11_a_packed_payload_of_engine_io_is_not_unpacked(stage: Stage) -> None:
    async with aiohttp.ClientSession() as client:
        async with client.get(engine_url(stage, "polling")) as opened:
            sid = (await opened.text()).split('"sid":"')[1].split('"')[0]
        bomb = gzip.compress(b"4" * 10_000_000)
        headers = {"Content-Encoding": "gzip"}
        async with client.post(f"{engine_url(stage, 'polling')}&sid={sid}", data=bomb, headers=headers) as refused:
            assert refused.status == 400


async def test_line_11_a_frame_of_a_phone_is_bounded(stage: Stage, city: City) -> None:
    async with phone_on(stage, stage.token(Role.WORKER, await city.worker(8), slot=8)) as phone:
        await phone.hear(0)
        await phone.socket.send_bytes(b"\x00" * (FRAME_BYTES_MAX + 1))
        assert await phone.close_code() == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate"])
def test_line_11_a_bomb_is_unpacked_no_further_than_a_body_may_be(encoding: str) -> None:
    pack = zlib.compress if encoding == "deflate" else gzip.compress
    with pytest.raises(BodyTooLarge):
        unpacked(pack(b"0" * 100_000_000), encoding)
    most = b"0" * TRACKER_BODY_BYTES_MAX
    assert unpacked(pack(most), encoding) == most


def test_line_11_what_is_packed_wrongly_is_refused() -> None:
    whole = gzip.compress(b"a fix")
    assert unpacked(zlib.compress(b"a fix")[2:-4], "deflate") == b"a fix", "also without its head"
    assert unpacked(b"a fix", "") == unpacked(b"a fix", "Identity") == b"a fix"
    for body, encoding in (
        (whole[:-9], "gzip"), (b"", "gzip"), (b"no", "gzip"), (whole, "br"), (whole, "zstd"), (whole, "gzip, gzip"),
    ):  # fmt: skip
        with pytest.raises(WireError):
            unpacked(body, encoding)


FOREIGN = ["https://evil.example", "null", "https://desk.example.evil.example", "http://desk.example",
           "https://desk.example:444", "https://DESK.example"]  # fmt: skip


@pytest.mark.parametrize("origin", FOREIGN)
async def test_line_12_a_page_that_is_not_ours_opens_no_socket(stage: Stage, origin: str) -> None:
    async with aiohttp.ClientSession() as client:
        for path in ("/ws/ping", "/socket.io/?EIO=4&transport=websocket"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(stage.url + path, origin=origin)
            assert refused.value.status == 403
        async with client.get(engine_url(stage, "polling"), headers={"Origin": origin}) as polled:
            assert (polled.status, "Access-Control-Allow-Origin" in polled.headers) == (403, False)


async def test_line_12_who_names_no_origin_gets_in_by_the_token_of_the_payload_alone(stage: Stage, city: City) -> None:
    """Apps name none, and a page cannot leave it out. So it says nothing, and the token must be in the payload."""
    token = stage.token(Role.CUSTOMER, await city.person(Role.CUSTOMER, "C"))
    async with page_on(stage, "/customer", {"token": token}) as page:
        await page.hear("welcome")
    elsewhere = {"Authorization": f"Bearer {token}", "Cookie": f"token={token}"}
    async with aiohttp.ClientSession(headers=elsewhere) as client:
        for name in ("token", "auth", "access_token"):
            async with client.ws_connect(f"{engine_url(stage, 'websocket')}&{name}={token}") as socket:
                assert (await socket.receive_str(timeout=15)).startswith("0")
                await socket.send_str("40/customer,{}")
                assert (await socket.receive_str(timeout=15)).startswith("44/customer,")
        async with client.ws_connect(f"{stage.url}/ws/ping?token={token}") as socket:
            await socket.send_bytes(b"\x93\x00\xa0\x80")  # a hello without a token
            async with asyncio.timeout(15):
                while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSED:
                    pass
            assert socket.close_code == 4401


async def test_line_12_no_answer_of_the_gateway_sets_a_cookie(stage: Stage) -> None:
    async with aiohttp.ClientSession() as client:
        for url in (engine_url(stage, "polling"), f"{stage.url}/healthz", f"{stage.url}/nothing"):
            async with client.get(url) as answer:
                assert "Set-Cookie" not in answer.headers


async def test_line_19_every_answer_of_the_gateway_carries_the_guards(stage: Stage) -> None:
    async with aiohttp.ClientSession() as client:
        for path in ("/healthz", "/metrics", "/nothing", "/ingest/osmand", "/socket.io/", "/ws/ping"):
            async with client.get(stage.url + path) as answer:
                assert answer.headers["X-Content-Type-Options"] == "nosniff", path
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], path
                assert answer.headers["Cache-Control"] == "no-store", path
                assert answer.headers["Referrer-Policy"] == "no-referrer", path

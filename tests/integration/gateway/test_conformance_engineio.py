"""Engine.IO 4, point by point as the official suite of the protocol asks, against the server that the gateway runs.

Source of the points: github.com/socketio/engine.io-protocol, test-suite (24 points).
"""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest

from tests.integration.gateway.echo_server import INTERVAL_MS, PAYLOAD_BYTES_MAX, TIMEOUT_MS, serving

pytestmark = pytest.mark.integration

SID_BYTES_MIN = 16


@pytest.fixture(params=[True, False], ids=["lane", "public"])
async def http(request: pytest.FixtureRequest) -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        asyncio.timeout(20),
        serving(has_lane=request.param) as url,
        aiohttp.ClientSession(f"{url}/engine.io/", timeout=aiohttp.ClientTimeout(5)) as client,
    ):
        yield client


def path(transport: str = "polling", sid: str | None = None, version: str | None = "4") -> str:
    fields = {"EIO": version, "transport": transport, "sid": sid}
    return "?" + "&".join(f"{name}={value}" for name, value in fields.items() if value is not None)


async def opened(http: aiohttp.ClientSession) -> str:
    async with http.get(path()) as response:
        return str(orjson.loads((await response.text())[1:])["sid"])


async def poll(http: aiohttp.ClientSession, sid: str) -> tuple[int, str]:
    async with http.get(path(sid=sid)) as response:
        return response.status, await response.text()


async def post(http: aiohttp.ClientSession, sid: str, body: str) -> tuple[int, str]:
    async with http.post(path(sid=sid), data=body) as response:
        return response.status, await response.text()


async def closed(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Read on until the server closes."""
    async with asyncio.timeout(5):
        while (await socket.receive()).type not in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}:
            pass


async def upgraded(http: aiohttp.ClientSession, sid: str) -> aiohttp.ClientWebSocketResponse:
    socket = await http.ws_connect(path("websocket", sid))
    await socket.send_str("2probe")
    assert await socket.receive_str(timeout=5) == "3probe"
    await socket.send_str("5")
    await socket.send_str("4are you there")
    assert await socket.receive_str(timeout=5) == "4are you there"
    return socket


# ---------------------------------------------------------------- handshake


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_session_opens_with_the_five_fields(http: aiohttp.ClientSession, transport: str) -> None:
    if transport == "polling":
        async with http.get(path()) as response:
            assert response.status == 200
            packet = await response.text()
    else:
        async with http.ws_connect(path("websocket")) as socket:
            packet = await socket.receive_str(timeout=5)
    assert packet[0] == "0"
    fields = orjson.loads(packet[1:])
    assert len(fields.pop("sid")) >= SID_BYTES_MIN
    assert fields == {
        "upgrades": ["websocket"] if transport == "polling" else [],
        "pingInterval": INTERVAL_MS,
        "pingTimeout": TIMEOUT_MS,
        "maxPayload": PAYLOAD_BYTES_MAX,
    }


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?transport=polling", 5),
        ("?EIO=abc&transport=polling", 5),
        ("?EIO=3&transport=polling", 5),
        ("?EIO=4", 0),
        ("?EIO=4&transport=abc", 0),
        ("?EIO=4&transport=websocket", 3),
    ],
    ids=["no EIO", "invalid EIO", "old EIO", "no transport", "invalid transport", "websocket without an upgrade"],
)
async def test_polling_with_an_invalid_query_is_refused(http: aiohttp.ClientSession, query: str, code: int) -> None:
    async with http.get(query) as response:
        assert response.status == 400
        assert (await response.json())["code"] == code


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_polling_with_an_invalid_method_is_refused(http: aiohttp.ClientSession, method: str) -> None:
    async with http.request(method, path()) as response:
        assert response.status == 400
        assert (await response.json())["code"] == 2


@pytest.mark.parametrize(
    "query", ["?transport=websocket", "?EIO=abc&transport=websocket", "?EIO=4", "?EIO=4&transport=abc"]
)
async def test_a_websocket_with_an_invalid_query_is_refused(http: aiohttp.ClientSession, query: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(query)
    assert refused.value.status == 400


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_an_unknown_session_is_refused(http: aiohttp.ClientSession, transport: str) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"} if transport == "websocket" else {}
    async with http.get(path(transport, "nobody"), headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["code"] == 1


# ---------------------------------------------------------------- messages by polling


@pytest.mark.parametrize(
    "payload",
    ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA=="],
    ids=["one text packet", "several text packets", "text and binary packets"],
)
async def test_polling_carries_a_payload(http: aiohttp.ClientSession, payload: str) -> None:
    sid = await opened(http)
    assert await post(http, sid, payload) == (200, "ok")
    assert await poll(http, sid) == (200, payload)


@pytest.mark.parametrize(
    "payload", ["abc", "", "4a\x1e", "b=!", "4" + "x" * PAYLOAD_BYTES_MAX, "\x1e".join(["4"] * 65)]
)
async def test_polling_closes_upon_an_invalid_payload(http: aiohttp.ClientSession, payload: str) -> None:
    sid = await opened(http)
    status, _ = await post(http, sid, payload)
    assert status == 400
    assert (await poll(http, sid))[0] == 400


async def test_polling_closes_upon_a_second_poll(http: aiohttp.ClientSession) -> None:
    sid = await opened(http)
    first = asyncio.ensure_future(poll(http, sid))
    await asyncio.sleep(0.05)
    assert (await poll(http, sid))[0] == 400
    assert await first == (200, "1")
    assert (await poll(http, sid))[0] == 400


# ---------------------------------------------------------------- messages by websocket


async def test_a_websocket_carries_text_and_binary(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(path("websocket")) as socket:
        await socket.receive_str(timeout=5)
        await socket.send_str("4hello")
        assert await socket.receive_str(timeout=5) == "4hello"
        await socket.send_bytes(b"\x01\x02\x03\x04")
        assert await socket.receive_bytes(timeout=5) == b"\x01\x02\x03\x04"


@pytest.mark.parametrize("packet", ["abc", ""])
async def test_a_websocket_closes_upon_an_invalid_packet(http: aiohttp.ClientSession, packet: str) -> None:
    async with http.ws_connect(path("websocket")) as socket:
        await socket.receive_str(timeout=5)
        await socket.send_str(packet)
        await closed(socket)


# ---------------------------------------------------------------- heartbeat


async def test_polling_is_pinged(http: aiohttp.ClientSession) -> None:
    sid = await opened(http)
    for _ in range(3):
        assert await poll(http, sid) == (200, "2")
        assert (await post(http, sid, "3"))[0] == 200


async def test_polling_that_answers_no_ping_is_closed(http: aiohttp.ClientSession) -> None:
    sid = await opened(http)
    await asyncio.sleep((INTERVAL_MS + TIMEOUT_MS) / 1000)
    assert (await poll(http, sid))[0] == 400


async def test_a_websocket_is_pinged(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(path("websocket")) as socket:
        await socket.receive_str(timeout=5)
        for _ in range(3):
            assert await socket.receive_str(timeout=5) == "2"
            await socket.send_str("3")


async def test_a_websocket_that_answers_no_ping_is_closed(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(path("websocket")) as socket:
        await closed(socket)


# ---------------------------------------------------------------- close


async def test_polling_that_says_close_is_closed(http: aiohttp.ClientSession) -> None:
    sid = await opened(http)
    polling = asyncio.ensure_future(poll(http, sid))
    await asyncio.sleep(0.05)
    assert await post(http, sid, "1") == (200, "ok")
    assert await polling == (200, "6")
    assert (await poll(http, sid))[0] == 400


async def test_a_websocket_that_says_close_is_closed(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(path("websocket")) as socket:
        await socket.receive_str(timeout=5)
        await socket.send_str("1")
        await closed(socket)


# ---------------------------------------------------------------- upgrade


async def test_polling_is_upgraded(http: aiohttp.ClientSession) -> None:
    sid = await opened(http)
    async with http.ws_connect(path("websocket", sid)) as socket:
        await socket.send_str("2probe")
        assert await socket.receive_str(timeout=5) == "3probe"
        assert await poll(http, sid) == (200, "6")
        await socket.send_str("5")
        await socket.send_str("4hello")
        assert await socket.receive_str(timeout=5) == "4hello"


async def test_what_waited_for_a_poll_goes_over_the_upgrade_in_order(http: aiohttp.ClientSession) -> None:
    sid = await opened(http)
    await post(http, sid, "4one\x1e4two\x1ebAQ==")
    async with http.ws_connect(path("websocket", sid)) as socket:
        await socket.send_str("2probe")
        await socket.send_str("5")
        await socket.send_str("4three")
        heard = [(await socket.receive(timeout=5)).data for _ in range(5)]
    assert heard == ["3probe", "4one", "4two", b"\x01", "4three"]


@pytest.mark.parametrize("packet", ["2prob", "4hello", "5"])
async def test_a_failed_upgrade_leaves_polling_as_it_was(http: aiohttp.ClientSession, packet: str) -> None:
    sid = await opened(http)
    async with http.ws_connect(path("websocket", sid)) as socket:
        await socket.send_str(packet)
        await closed(socket)
    assert await post(http, sid, "4hello") == (200, "ok")
    assert await poll(http, sid) == (200, "4hello")


async def test_polls_are_refused_after_an_upgrade(http: aiohttp.ClientSession) -> None:
    sid = await opened(http)
    socket = await upgraded(http, sid)
    assert (await poll(http, sid))[0] == 400
    await socket.send_str("4hello")
    assert await socket.receive_str(timeout=5) == "4hello"
    await socket.close()


async def test_a_second_websocket_of_a_session_is_closed(http: aiohttp.ClientSession) -> None:
    sid = await opened(http)
    socket = await upgraded(http, sid)
    async with http.ws_connect(path("websocket", sid)) as second:
        await closed(second)
    await socket.send_str("4hello")
    assert await socket.receive_str(timeout=5) == "4hello"
    await socket.close()

"""Socket.IO 5, point by point as the official suite of the protocol asks; those of Engine.IO are in the other file.

Source of the points: github.com/socketio/socket.io-protocol, test-suite (32 points, 15 of them here).
"""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest

from tests.integration.gateway.echo_server import serving

pytestmark = pytest.mark.integration


@pytest.fixture(params=[True, False], ids=["lane", "public"])
async def socket(request: pytest.FixtureRequest) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A websocket that has read the handshake of Engine.IO."""
    async with (
        asyncio.timeout(10),
        serving(has_lane=request.param) as url,
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket") as socket,
    ):
        assert (await socket.receive_str())[0] == "0"
        yield socket


async def heard(socket: aiohttp.ClientWebSocketResponse) -> str | bytes:
    """Return the next message that is no ping; answer those."""
    while True:
        message = await socket.receive()
        assert message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}, message
        if message.data != "2":
            data: str | bytes = message.data
            return data
        await socket.send_str("3")


async def entered(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.send_str("40")
    await heard(socket)
    assert await heard(socket) == '42["auth",{}]'


async def closed(socket: aiohttp.ClientWebSocketResponse) -> None:
    while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
        assert message.data == "2", "nothing but pings comes before the end"
        await socket.send_str("3")
    assert message.type is aiohttp.WSMsgType.CLOSE


# ---------------------------------------------------------------- connect


@pytest.mark.parametrize(
    ("address", "payload"),
    [("", ""), ("", '{"token":"123"}'), ("/custom,", ""), ("/custom,", '{"token":"abc"}')],
    ids=["main", "main with a payload", "custom", "custom with a payload"],
)
async def test_a_namespace_is_entered(socket: aiohttp.ClientWebSocketResponse, address: str, payload: str) -> None:
    await socket.send_str(f"40{address}{payload}")
    answer = await heard(socket)
    assert isinstance(answer, str)
    assert answer.startswith(f"40{address}")
    fields = orjson.loads(answer.removeprefix(f"40{address}"))
    assert list(fields) == ["sid"]
    assert isinstance(fields["sid"], str)
    assert await heard(socket) == f'42{address}["auth",{payload or "{}"}]'


@pytest.mark.parametrize("address", ["/random", "/random,", "/worker"])
async def test_an_unknown_namespace_is_refused(socket: aiohttp.ClientWebSocketResponse, address: str) -> None:
    await socket.send_str(f"40{address}")
    assert await heard(socket) == f'44{address.rstrip(",")},{{"message":"Invalid namespace"}}'


async def test_an_invalid_handshake_closes(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.send_str("4abc")
    await closed(socket)


async def test_no_handshake_closes(socket: aiohttp.ClientWebSocketResponse) -> None:
    await closed(socket)


# ---------------------------------------------------------------- disconnect


async def test_the_main_namespace_is_left_in_silence(socket: aiohttp.ClientWebSocketResponse) -> None:
    await entered(socket)
    await socket.send_str("41")
    assert (await socket.receive()).data == "2"


async def test_a_custom_namespace_is_left_and_the_main_one_lives(socket: aiohttp.ClientWebSocketResponse) -> None:
    await entered(socket)
    await socket.send_str("40/custom")
    await heard(socket)
    assert await heard(socket) == '42/custom,["auth",{}]'
    await socket.send_str("41/custom")
    await socket.send_str('42["message","message to main namespace"]')
    assert await heard(socket) == '42["message-back","message to main namespace"]'


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ('42["message",1,"2",{"3":[true]}]', '42["message-back",1,"2",{"3":[true]}]'),
        ('42456["message-with-ack",1,"2",{"3":[false]}]', '43456[1,"2",{"3":[false]}]'),
    ],
    ids=["event", "acknowledged event"],
)
async def test_text_is_carried(socket: aiohttp.ClientWebSocketResponse, sent: str, answer: str) -> None:
    await entered(socket)
    await socket.send_str(sent)
    assert await heard(socket) == answer


@pytest.mark.parametrize(
    ("head", "answer"),
    [('452-["message",{}]', '452-["message-back",{}]'), ('452-789["message-with-ack",{}]', "462-789[{}]")],
    ids=["event", "acknowledged event"],
)
async def test_binary_attachments_are_carried(socket: aiohttp.ClientWebSocketResponse, head: str, answer: str) -> None:
    places = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    await entered(socket)
    await socket.send_str(head.replace("{}", places))
    await socket.send_bytes(b"\x01\x02\x03")
    await socket.send_bytes(b"\xc1\x05\x06")
    assert [await heard(socket) for _ in range(3)] == [answer.replace("{}", places), b"\x01\x02\x03", b"\xc1\x05\x06"]


@pytest.mark.parametrize(
    "packet",
    ["4abc", "42{}", '42abc["message-with-ack",1,"2",{"3":[false]}]', "4", "42[]", "47", '4599-["message"]'],
    ids=["type", "payload", "ack id", "empty", "no name", "unknown type", "too many attachments"],
)
async def test_an_invalid_packet_closes(socket: aiohttp.ClientWebSocketResponse, packet: str) -> None:
    await entered(socket)
    await socket.send_str(packet)
    await closed(socket)

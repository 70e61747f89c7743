"""Lines 11, 12 and 19 at SafeTap's own port: what is too large, too compressed, too slow, or from a page not ours."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from uuid import uuid4

import aiohttp
import orjson
import pytest
from pydantic import SecretStr

from config.limits import CALLBACK_BYTES_MAX, CALLBACK_FIELDS_MAX, TRIGGER_BYTES_MAX
from engine.people.tokens import AccessTokens
from safetap_door import whole_body
from tests.conftest import TokenKeys
from tests.integration.safetap.doors import CLOCK, ORIGIN, OpenDoor, door_settings, open_door
from tests.integration.safetap.world import World

PATHS = ("/v1/safetap", "/v1/safetap/doors/shortcut", "/v1/safetap/doors/button", "/v1/safetap/doors/sms",
         "/v1/safetap/receipts/webhook", "/v1/incidents/x/close")  # fmt: skip


@pytest.fixture
def token(world: World, tokens: AccessTokens) -> str:
    return world.token(tokens, world.worker, now_ms=CLOCK.now_ms())


def trigger(**fields: object) -> dict[str, object]:
    return {"trigger_id": str(uuid4()), "kind": "button", **fields}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "made up"])
async def test_line_11_nothing_is_unpacked_at_the_door(door: OpenDoor, token: str, encoding: str) -> None:
    """100 kB of a stranger's would be 100 MB of work in the process that alarms depend on."""
    bomb = gzip.compress(b"0" * 5_000_000) if encoding.startswith("gzip") else zlib.compress(b"0" * 5_000_000)
    headers = {"Content-Encoding": encoding, "Authorization": f"Bearer {token}"}
    for path in PATHS[:2]:
        async with door.by_port.post(path, data=bomb[:TRIGGER_BYTES_MAX], headers=headers) as answer:
            problem = await answer.json(content_type=None)
        expected = 422 if path == PATHS[0] else 200  # a Shortcut's press counts, whatever it carries
        assert answer.status == expected, (path, problem)


async def test_line_11_a_body_is_bounded_however_it_says_its_length(door: OpenDoor, token: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(CALLBACK_BYTES_MAX // 1024):
            yield b"x" * 1024

    for path in PATHS:
        for data in (b"x" * (CALLBACK_BYTES_MAX + 1), endless()):
            async with door.by_port.post(path, data=data, headers={"Authorization": f"Bearer {token}"}) as answer:
                assert answer.status in (401, 403, 404, 413), (path, answer.status)
    async with door.by_port.post(
        "/v1/safetap", data=b"x" * (TRIGGER_BYTES_MAX + 1), headers={"Authorization": f"Bearer {token}"}
    ) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (413, "body_too_large")


async def test_line_11_a_body_that_drips_is_given_up_and_holds_nobody_back(
    door: OpenDoor, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_body, "BODY_READ_MS", 300)
    ended = asyncio.Event()

    async def drip() -> AsyncIterator[bytes]:
        yield b'{"trigger_id": '
        await ended.wait()

    async def slow(path: str) -> int:
        async with door.by_port.post(path, data=drip(), headers={"Authorization": f"Bearer {token}"}) as answer:
            return answer.status

    dripping = asyncio.gather(*(slow(path) for path in PATHS))
    assert (await door.trigger(token, trigger()))[0] == 200, "while the others drip"
    assert set(await dripping) == {408}
    ended.set()


async def test_line_11_depth_and_numbers_of_json_are_bounded(door: OpenDoor, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    deep = b'{"trigger_id": ' + b"[" * 4_000 + b"]" * 4_000 + b"}"
    for body in (deep, b'{"kind": ' + b"9" * 5_000 + b"}", b'{"a":NaN}', b'{"fix": {"lat": 1e999}}', b"\xff", b""):
        status, problem = await door.trigger("", body, headers=headers)
        assert (status, problem["code"]) == (422, "invalid_input"), body[:30]
    huge = orjson.dumps(trigger()).replace(b"}", b', "fix": {"lat": 1e308, "lng": -1e308, "ts_ms": 1e300}}')
    assert (await door.trigger("", huge, headers=headers))[0] == 200, "an alarm is not refused for its place"


async def test_line_11_a_form_with_many_fields_is_not_looked_at(
    tmp_path: object, database_url: str, token_keys: TokenKeys, world: World
) -> None:
    settings = door_settings(tmp_path, database_url, token_keys.public_pem)
    settings = settings.model_copy(update={"phone_secret": SecretStr("secret")})
    async with open_door(settings) as door:
        for fields, status in ((CALLBACK_FIELDS_MAX, 403), (CALLBACK_FIELDS_MAX + 1, 422)):
            form = b"&".join(b"a=b" for _ in range(fields))
            for path in ("/v1/safetap/doors/sms", "/v1/safetap/doors/voice", "/v1/safetap/receipts/sms"):
                async with door.by_port.post(path, data=form) as answer:
                    assert answer.status == status, (path, fields)
    assert await world.pool.fetchval("SELECT count(*) FROM orphan_trigger") == 0


async def test_line_11_a_message_of_a_desk_is_bounded_and_never_packed(
    door: OpenDoor, world: World, tokens: AccessTokens
) -> None:
    desk = world.token(tokens, world.dispatcher, now_ms=CLOCK.now_ms())
    async with door.by_port.ws_connect("/v1/safetap/live", compress=15) as socket, asyncio.timeout(15):
        assert socket.compress == 0
        await socket.send_json({"token": desk})
        assert (await socket.receive_json())["type"] == "snapshot"
        await socket.send_str(" " * (TRIGGER_BYTES_MAX + 1))
        while (await socket.receive()).type is not aiohttp.WSMsgType.CLOSED:
            pass
        assert socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


@pytest.mark.parametrize("origin", ["https://evil.test", "null", f"{ORIGIN}.evil.test", ORIGIN.replace("s:", ":")])
async def test_line_12_a_page_that_is_not_ours_hears_no_desk(door: OpenDoor, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await door.by_port.ws_connect("/v1/safetap/live", origin=origin)
    assert refused.value.status == 403
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with door.by_port.options("/v1/safetap", headers=headers) as asked:
        assert "Access-Control-Allow-Origin" not in asked.headers


async def test_line_12_a_desks_token_counts_in_its_first_message_alone(
    door: OpenDoor, world: World, tokens: AccessTokens
) -> None:
    desk = world.token(tokens, world.dispatcher, now_ms=CLOCK.now_ms())
    headers = {"Authorization": f"Bearer {desk}", "Cookie": f"token={desk}"}
    async with door.by_port.ws_connect(f"/v1/safetap/live?token={desk}", headers=headers) as socket:
        await socket.send_json({})
        message = await socket.receive(15)
        assert (message.type, socket.close_code) == (aiohttp.WSMsgType.CLOSE, 4401)
    async with door.by_port.ws_connect("/v1/safetap/live") as socket:
        await socket.send_json({"token": desk})
        assert (await socket.receive_json(timeout=15))["type"] == "snapshot"


async def test_line_19_every_answer_of_the_door_carries_the_guards(door: OpenDoor) -> None:
    for path in ("/healthz", "/metrics", "/nothing", "/v1/safetap", "/v1/safetap/live"):
        async with door.by_port.get(path) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff", path
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"], path
            assert answer.headers["Cache-Control"] == "no-store", path
            assert "Strict-Transport-Security" not in answer.headers

"""The short way of a trigger on a real connection: what it takes, what it hands on, in which order it answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import orjson
import pytest

from config.limits import STRANGERS_TICK_MS, UNVERIFIED_ANSWER_MS
from engine.people.tokens import AccessTokens
from safetap_door.strangers_turns import StrangersTurns
from tests.integration.safetap.doors import CLOCK, ORIGIN, OpenDoor
from tests.integration.safetap.world import World

WAIT_S = 20


@dataclass
class Line:
    """A client that writes bytes and reads answers."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[int, dict[str, str], dict[str, object]]:
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self.reader.readexactly(int(fields["content-length"]))
        return int(first.split(" ")[1]), fields, orjson.loads(body)


@asynccontextmanager
async def line_to(door: OpenDoor) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.settings.safetap_port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


def posted(token: str, body: dict[str, object], *more: str) -> bytes:
    data = orjson.dumps(body)
    head = ["POST /v1/safetap HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", f"Content-Length: {len(data)}"]
    return "\r\n".join([*head, *more, "", ""]).encode() + data


def trigger() -> dict[str, object]:
    return {"trigger_id": str(uuid4()), "kind": "button"}


@pytest.fixture
def token(world: World, tokens: AccessTokens) -> str:
    return world.token(tokens, world.worker, now_ms=CLOCK.now_ms())


async def test_requests_in_one_piece_are_answered_in_their_order_whoever_reads_them(
    door: OpenDoor, world: World, token: str
) -> None:
    bodies = [trigger() for _ in range(3)]
    async with line_to(door) as line:
        line.writer.write(
            posted(token, bodies[0]) + posted("forged", bodies[1]) + posted(token, bodies[2])
            + b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n" + posted(token, bodies[0])
        )  # fmt: skip
        answers = [await line.answer() for _ in range(5)]
    states = [(status, body.get("state"), body.get("trigger_id")) for status, _, body in answers]
    ids = [body["trigger_id"] for body in bodies]
    assert states[:3] == [(200, "committed", ids[0]), (202, "received", ids[1]), (200, "committed", ids[2])]
    assert states[3][0] == 200
    assert answers[3][2]["checks"]
    assert states[4] == (200, "committed", ids[0])
    assert await world.pool.fetchval("SELECT count(*) FROM safetap_trigger") == 2


async def test_a_request_in_pieces_is_taken_too(door: OpenDoor, world: World, token: str) -> None:
    whole = posted(token, trigger())
    for cut in (10, len(whole) - 5):
        async with line_to(door) as line:
            line.writer.write(whole[:cut])
            await line.writer.drain()
            await CLOCK.sleep_ms(50)
            line.writer.write(whole[cut:])
            assert (await line.answer())[0] == 200
    assert await world.pool.fetchval("SELECT count(*) FROM safetap_trigger") == 1


async def test_both_ways_answer_alike(door: OpenDoor, token: str) -> None:
    body = trigger()
    for sent in (token, "forged"):
        answers = []
        for more in (
            (f"Origin: {ORIGIN}",),
            (f"Origin: {ORIGIN}", "TE: trailers"),
        ):  # the second is read by the full server
            async with line_to(door) as line:
                line.writer.write(posted(sent, body, *more))
                answers.append(await line.answer())
        (short_status, short_fields, short), (full_status, full_fields, full) = answers
        assert (short_status, short) == (full_status, full)
        for told in ("server", "date"):
            full_fields.pop(told)
        assert short_fields == full_fields


async def test_who_hangs_up_loses_no_alarm_and_harms_nobody(door: OpenDoor, world: World, token: str) -> None:
    body = trigger()
    for sent in (posted(token, body), posted("forged", trigger())):
        async with line_to(door) as line:
            line.writer.write(sent)
            await line.writer.drain()
    async with asyncio.timeout(WAIT_S):
        while not await world.pool.fetchval("SELECT count(*) FROM safetap_trigger"):
            await CLOCK.sleep_ms(20)
    assert (await door.trigger(token, body))[0] == 200


async def test_a_crowd_of_strangers_does_not_hold_up_whom_the_door_knows(
    door: OpenDoor, world: World, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers have no time at all here: known phones are answered, also on new connections; the others wait."""
    body = trigger()
    async with line_to(door) as known, line_to(door) as stranger:
        known.writer.write(posted(token, body))
        assert (await known.answer())[0] == 200
        with monkeypatch.context() as patch:
            patch.setattr(StrangersTurns, "has_time", lambda _turns: False)
            stranger.writer.write(posted("forged", trigger()))
            known.writer.write(posted(token, body))
            assert (await known.answer())[0] == 200
            async with line_to(door) as another:
                another.writer.write(posted(token, body))
                assert (await another.answer())[0] == 200
            assert (await door.trigger(token, body, through_socket=True))[0] == 200
            waiting = asyncio.ensure_future(stranger.answer())
            done, _ = await asyncio.wait({waiting}, timeout=(UNVERIFIED_ANSWER_MS + 10 * STRANGERS_TICK_MS) / 1000)
            assert not done
        assert (await waiting)[0] == 202
    assert await world.pool.fetchval("SELECT count(*) FROM safetap_trigger") == 1


async def test_nobody_keeps_their_standing_by_forging(
    door: OpenDoor, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with line_to(door) as line:
        for sent in (token, "forged"):
            line.writer.write(posted(sent, trigger()))
            await line.answer()
        with monkeypatch.context() as patch:
            patch.setattr(StrangersTurns, "has_time", lambda _turns: False)
            line.writer.write(posted("forged anew", trigger()))
            waiting = asyncio.ensure_future(line.answer())
            done, _ = await asyncio.wait({waiting}, timeout=(UNVERIFIED_ANSWER_MS + 10 * STRANGERS_TICK_MS) / 1000)
            assert not done
        assert (await waiting)[0] == 202

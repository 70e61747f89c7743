"""However the line cuts what Redis says, the same replies are heard, each once and in order."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse, ResponseError

from engine.core.pubsub import PubSubLine

Reply: TypeAlias = list[bytes | int]

WORDS = st.binary(max_size=40) | st.sampled_from([b"", b"\r\n", b"$-1\r\n", b"*3\r\n$7\r\nmessage\r\n", bytes(9_000)])
REPLIES = st.lists(
    st.builds(lambda channel, payload: [b"message", channel, payload], WORDS, WORDS)
    | st.builds(lambda channel, payload: [b"pmessage", b"map:*", channel, payload], WORDS, WORDS)
    | st.builds(lambda channel, count: [b"subscribe", channel, count], WORDS, st.integers(0, 2**40))
    | st.builds(lambda token: [b"pong", token], WORDS),
    max_size=8,
)
PARTS = st.lists(st.integers(1, 50) | st.integers(1, 20_000), min_size=1, max_size=20)
"""Sizes of reads; the rest comes in reads of the last one's size."""


def resp(reply: Reply) -> bytes:
    """Return RESP2, written here by its description and not by the library that reads it."""
    words = [b":%d\r\n" % word if isinstance(word, int) else b"$%d\r\n%b\r\n" % (len(word), word) for word in reply]
    return b"*%d\r\n" % len(reply) + b"".join(words)


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    parts, left = [], list(sizes)
    while data:
        size = left.pop(0) if len(left) > 1 else left[0]
        parts.append(data[:size])
        data = data[size:]
    return parts


def heard_from(parts: Sequence[bytes], *, fails_at: int | None = None) -> tuple[list[Any], BaseException | None]:
    """Return what a line makes of these reads, and how it ended."""
    heard: list[Any] = []

    def hear(reply: Any) -> None:
        if len(heard) == fails_at:
            raise KeyError("a listener of ours is wrong")
        heard.append(reply)

    async def listen() -> BaseException | None:
        line = PubSubLine(hear, silence_ms=60_000)
        for part in parts:
            line.data_received(part)
        try:
            await line.listen(0)
        except Exception as error:  # noqa: BLE001 - told to who asks
            return error
        finally:
            line.close()
        return None

    return heard, asyncio.run(listen())


@given(replies=REPLIES, sizes=PARTS)
def test_any_cut_of_the_stream_gives_the_same_replies(replies: list[Reply], sizes: list[int]) -> None:
    stream = b"".join(map(resp, replies))
    assert heard_from(cut(stream, sizes)) == (replies, None)
    assert heard_from([stream]) == (replies, None)


@given(replies=REPLIES, sizes=PARTS, missing=st.integers(1, 30))
def test_what_has_not_come_whole_is_not_heard(replies: list[Reply], sizes: list[int], missing: int) -> None:
    torn = resp([b"message", b"fan:last", b"the end"])[:-missing]
    stream = b"".join(map(resp, replies)) + torn
    assert heard_from(cut(stream, sizes)) == (replies, None)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"-NOPERM this user may not subscribe\r\n", ResponseError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", InvalidResponse),
    ],
)
@given(replies=REPLIES, sizes=PARTS)
def test_a_refusal_and_a_stranger_end_the_line_after_what_came_before(
    said: bytes, error: type[Exception], replies: list[Reply], sizes: list[int]
) -> None:
    stream = b"".join(map(resp, replies)) + said + resp([b"message", b"fan:late", b"unheard"])
    heard, ended = heard_from(cut(stream, sizes))
    assert heard == replies
    assert isinstance(ended, error)


@given(replies=REPLIES.filter(bool), sizes=PARTS, data=st.data())
def test_a_listener_that_raises_ends_the_line_and_is_told_of(
    replies: list[Reply], sizes: list[int], data: st.DataObject
) -> None:
    fails_at = data.draw(st.integers(0, len(replies) - 1))
    heard, ended = heard_from(cut(b"".join(map(resp, replies)), sizes), fails_at=fails_at)
    assert heard == replies[:fails_at]
    assert isinstance(ended, KeyError)

"""The short reader of a trigger's request: it reads its one form exactly, and leaves everything else alone."""

from email.parser import BytesParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.limits import TRIGGER_BYTES_MAX
from safetap_door.trigger_request import TriggerRequest, read_trigger_request

START = b"POST /v1/safetap HTTP/1.1\r\n"
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)


def request(body: bytes = b"{}", *, more: bytes = b"", length: bytes | None = None) -> bytes:
    counted = str(len(body)).encode() if length is None else length
    return START + b"Host: x\r\nAuthorization: Bearer t\r\n" + more + b"Content-Length: " + counted + b"\r\n\r\n" + body


@given(body=st.binary(max_size=200), token=VALUES, origin=VALUES, after=st.binary(max_size=50))
def test_a_request_is_read_as_a_plain_parser_reads_it(body: bytes, token: str, origin: str, after: bytes) -> None:
    fields = f"HOST:x\r\nauthorization: \tBearer {token} \r\nOrigin: {origin}\r\nContent-Length:{len(body)}\r\n\r\n"
    data = START + fields.encode() + body
    plain = BytesParser().parsebytes(fields.encode())
    assert read_trigger_request(data + after) == TriggerRequest(
        plain["Authorization"].strip(), "", "", plain["Origin"].strip(), body, len(data)
    )


@given(cut=st.integers(0, len(request(b'{"kind": "button"}')) - 1))
def test_nothing_is_read_before_all_of_it_is_there(cut: int) -> None:
    assert read_trigger_request(request(b'{"kind": "button"}')[:cut]) is None


@given(data=st.binary(max_size=300), head=st.sampled_from([b"", START, START + b"Content-Length: 3\r\n"]))
def test_no_bytes_make_it_fail(data: bytes, head: bytes) -> None:
    read_trigger_request(head + data)


@pytest.mark.parametrize(
    "data",
    [
        request().replace(b"POST", b"PUT"),
        request().replace(b"/v1/safetap", b"/v1/safetap/live"),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(more=b"Transfer-Encoding: chunked\r\n"),
        request(more=b"Content-Encoding: gzip\r\n"),
        request(more=b"Expect: 100-continue\r\n"),
        request(more=b"Upgrade: websocket\r\n"),
        request(more=b"Connection: close\r\n"),
        request(more=b"Content-Length: 2\r\n"),
        request(more=b"authorization: Bearer other\r\n"),
        request(more=b" folded\r\n"),
        request(more=b"X : y\r\n"),
        request(more=b"X: a\nY: b\r\n"),
        request(more=b"X: a\x00\r\n"),
        request(length=b"+2"),
        request(length=b"2, 2"),
        request(length="\u0662".encode()),
        request(length=b"0" * 5_000),
        request(b"x" * (TRIGGER_BYTES_MAX + 1)),
        request(more=b"X: " + b"y" * 9_000 + b"\r\n"),
    ],
)
def test_what_could_mean_something_else_is_left_to_the_full_server(data: bytes) -> None:
    assert read_trigger_request(data) is None

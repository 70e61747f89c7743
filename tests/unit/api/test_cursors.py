"""Cursors come back as they went out, and nothing else comes in."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api_rest.cursors import decode_moment, decode_number, encode_cursor, encode_moment
from engine.core.errors import InvalidInput
from engine.core.units import utc_from_ms

MOMENTS = st.integers(min_value=-(10**12), max_value=10**14).map(utc_from_ms)


@given(at=MOMENTS, row_id=st.uuids())
def test_a_moment_comes_back(at: datetime, row_id: UUID) -> None:
    cursor = encode_moment(at, row_id)
    assert decode_moment(cursor) == (at, row_id)
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&?#")


@given(number=st.integers(min_value=0, max_value=2**31 - 1))
def test_a_number_comes_back(number: int) -> None:
    assert decode_number(encode_cursor(number)) == number


@given(text=st.text(max_size=60))
@example("M0")  # "3" in base64 with a stray bit: reads as a number
def test_noise_is_refused_by_name_or_means_something(text: str) -> None:
    for decode in (decode_moment, decode_number):
        refusal = refusal_of(decode, text)
        assert refusal is None or refusal.field == "cursor"


def refusal_of(decode: Callable[[str], object], text: str) -> InvalidInput | None:
    try:
        decode(text)
    except InvalidInput as refusal:
        return refusal
    return None


@pytest.mark.parametrize("parts", [("a",), ("1", "2", "3"), ("1", "no-id"), ("x", UUID(int=1)), (10**30, UUID(int=1))])
def test_wrong_parts_are_refused(parts: tuple[object, ...]) -> None:
    with pytest.raises(InvalidInput):
        decode_moment(encode_cursor(*parts))


@pytest.mark.parametrize("number", ["-1", "", "1.0", "²", 2**31, " 1"])
def test_what_is_no_slot_is_refused(number: object) -> None:
    with pytest.raises(InvalidInput):
        decode_number(encode_cursor(number))


def test_a_moment_is_whole_milliseconds_of_utc() -> None:
    at = datetime(2026, 11, 21, 4, 5, 6, 789_000, tzinfo=UTC)
    assert decode_moment(encode_moment(at, UUID(int=7)))[0] == at

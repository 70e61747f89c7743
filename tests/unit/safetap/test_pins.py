"""PINs that cannot be mistaken, and answers that leave on the tick."""

import asyncio

import pytest

from config.limits import PIN_ANSWER_MS
from engine.core.errors import InvalidInput
from engine.safetap.pins import check_pins, even_timing
from tests.fakes import ManualClock


@pytest.mark.parametrize(
    ("safe_pin", "duress_pin", "field"),
    [
        ("123", "4321", "safe_pin"),
        ("1234", "123456789", "duress_pin"),
        ("1234", "12a4", "duress_pin"),
        ("1234", "1234", "duress_pin"),
        ("1234", "1235", "duress_pin"),
        ("1234", "12345", "duress_pin"),
        ("1234", "\u0661\u0662\u0663\u0664", "duress_pin"),
    ],
)
def test_pins_that_can_be_mistaken_are_refused(safe_pin: str, duress_pin: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_pins(safe_pin, duress_pin)
    assert refused.value.field == field


@pytest.mark.parametrize(("safe_pin", "duress_pin"), [("1234", "1243"), ("1234", "123456"), ("00000000", "9999")])
def test_pins_two_digits_apart_are_taken(safe_pin: str, duress_pin: str) -> None:
    check_pins(safe_pin, duress_pin)


@pytest.mark.parametrize("worked_ms", [0, 1, 90, PIN_ANSWER_MS - 1, PIN_ANSWER_MS + 1])
@pytest.mark.parametrize("fails", [False, True])
async def test_an_answer_leaves_on_the_tick_whatever_was_done(worked_ms: int, *, fails: bool) -> None:
    clock = ManualClock()
    left_ms = []

    async def answer() -> None:
        try:
            async with even_timing(clock):
                await clock.sleep_ms(worked_ms)
                if fails:
                    raise InvalidInput  # noqa: TRY301 - whatever goes wrong inside
        except InvalidInput:
            pass
        left_ms.append(clock.steady_ns() / 1e6)

    answering = asyncio.ensure_future(answer())
    await clock.advance_ms(3 * PIN_ANSWER_MS)
    await answering
    assert left_ms == [PIN_ANSWER_MS * (1 + worked_ms // PIN_ANSWER_MS)]

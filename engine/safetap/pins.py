"""The two PINs of a person: the safe one says that all is well, the duress one says so to whoever is watching.

Whatever is given, both hashes are always computed, so that the time tells nothing of which one it was, nor whether
there are any. Wrong ones are limited; beyond the limit every PIN is refused alike, and a duress PIN is still heard.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from config.limits import PIN_ANSWER_MS, PIN_DIGITS_MAX, PIN_DIGITS_MIN, PIN_FAILURES_MAX, PIN_WINDOW_MS
from engine.core.clock import Clock
from engine.core.database import Connection, Pool
from engine.core.errors import InvalidInput, TooMany
from engine.core.ids import PersonId
from engine.core.units import NS_PER_MS, utc_from_ms
from engine.people.passwords import Passwords

DIFFERENT_DIGITS_MIN: Final = 2
"""One slip of a finger must not turn one PIN into the other."""

# Attempts of one person count one after the other, whichever process they reach.
LOCK_PERSON: Final = "SELECT pg_advisory_xact_lock(hashtextextended(($1::uuid)::text, 7))"
FORGET_OLD: Final = "DELETE FROM safety_pin_attempt WHERE person_id = $1 AND at <= $2"
COUNT_ATTEMPTS: Final = "SELECT count(*) FROM safety_pin_attempt WHERE person_id = $1"
ADD_ATTEMPT: Final = "INSERT INTO safety_pin_attempt (person_id, at) VALUES ($1, $2)"
FORGIVE: Final = "DELETE FROM safety_pin_attempt WHERE person_id = $1"
READ_HASHES: Final = "SELECT safe_hash, duress_hash FROM safety_pin WHERE person_id = $1"
SET_PINS: Final = """
INSERT INTO safety_pin (person_id, safe_hash, duress_hash, set_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (person_id) DO UPDATE
   SET safe_hash = excluded.safe_hash, duress_hash = excluded.duress_hash, set_at = excluded.set_at
"""


class PinKind(StrEnum):
    """What a PIN turned out to be."""

    SAFE = "safe"
    DURESS = "duress"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a PIN is, and whether its person has tried too often: then it opens nothing, whatever it is."""

    kind: PinKind
    is_locked: bool
    has_pins: bool


def check_pins(safe_pin: str, duress_pin: str) -> None:
    """Refuse PINs that could be taken for each other.

    Raises:
        InvalidInput: with the field and the rule.
    """
    for field, pin in (("safe_pin", safe_pin), ("duress_pin", duress_pin)):
        if not (pin.isascii() and pin.isdigit() and PIN_DIGITS_MIN <= len(pin) <= PIN_DIGITS_MAX):
            raise InvalidInput(f"{PIN_DIGITS_MIN} to {PIN_DIGITS_MAX} digits.", field=field)
    apart = sum(one != other for one, other in zip(safe_pin, duress_pin, strict=False))
    if apart + abs(len(safe_pin) - len(duress_pin)) < DIFFERENT_DIGITS_MIN:
        raise InvalidInput(f"At least {DIFFERENT_DIGITS_MIN} digits other than the safe PIN's.", field="duress_pin")


def check_right(verdict: Verdict, *, field: str) -> None:
    """Refuse a PIN that is none of the person's.

    Raises:
        InvalidInput: it is wrong.
        TooMany: wrong ones before it were too many, whatever this one is.
    """
    if verdict.is_locked:
        raise TooMany("Too many wrong PINs: wait a quarter of an hour.")
    if verdict.kind is PinKind.WRONG:
        raise InvalidInput("The PIN is wrong.", field=field)


@asynccontextmanager
async def even_timing(clock: Clock) -> AsyncIterator[None]:
    """Leave at the next multiple of `limits.PIN_ANSWER_MS` after the beginning, whatever happens inside."""
    started_ns = clock.steady_ns()
    try:
        yield
    finally:
        took_ms = (clock.steady_ns() - started_ns) / NS_PER_MS
        await clock.sleep_ms(PIN_ANSWER_MS - took_ms % PIN_ANSWER_MS)


async def save_pins(conn: Connection, *, person_id: PersonId, safe_hash: str, duress_hash: str, now_ms: int) -> None:
    """Write the hashes of a person's PINs; earlier ones no longer count, nor do attempts at them."""
    await conn.execute(SET_PINS, person_id, safe_hash, duress_hash, utc_from_ms(now_ms))
    await conn.execute(FORGIVE, person_id)


async def judge_pin(pool: Pool, passwords: Passwords, *, person_id: PersonId, pin: str, now_ms: int) -> Verdict:
    """Say what a PIN is. The attempt counts before it is checked, and a right PIN forgives it and those before.

    Many attempts at once are therefore no way around the limit. No connection is held while the hashes are computed.
    """
    is_locked = await _count_attempt(pool, person_id, now_ms=now_ms)
    row = await pool.fetchrow(READ_HASHES, person_id)
    # Never "and": the second hash is computed although the first has said it all.
    is_safe = await passwords.verify(None if row is None else row["safe_hash"], pin)
    is_duress = await passwords.verify(None if row is None else row["duress_hash"], pin)
    kind = PinKind.DURESS if is_duress else PinKind.SAFE if is_safe else PinKind.WRONG
    if kind is not PinKind.WRONG and not is_locked:
        await pool.execute(FORGIVE, person_id)
    return Verdict(kind, is_locked=is_locked, has_pins=row is not None)


async def _count_attempt(pool: Pool, person_id: PersonId, *, now_ms: int) -> bool:
    """Count an attempt; return whether there had been too many already."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(LOCK_PERSON, person_id)
        await conn.execute(FORGET_OLD, person_id, utc_from_ms(now_ms - PIN_WINDOW_MS))
        is_locked = int(await conn.fetchval(COUNT_ATTEMPTS, person_id)) >= PIN_FAILURES_MAX
        if not is_locked:
            await conn.execute(ADD_ATTEMPT, person_id, utc_from_ms(now_ms))
    return is_locked

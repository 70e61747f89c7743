"""Whose text message or call is an alarm: numbers that people registered, each with a word of theirs.

A sender's number can be forged by who knows how, so that the word makes a message theirs; a mere call counts in full
only for who chose that. The doors keep all of them in memory: they count while Postgres is away.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from config.limits import PHONE_DOORS_CHECK_MS
from engine.core.clock import Clock
from engine.core.database import POSTGRES_ERRORS, Connection, Pool
from engine.core.ids import OrgId, PersonId, RegionId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.outbox.durable_loop import keep_running
from engine.outbox.listener import Wake

WORDS_MAX: Final = 5
"""A person's word may be a phrase of so many words; what follows it in a message is not looked at."""
PUNCTUATION: Final = ".,;:!?\"'()"

SET: Final = """
INSERT INTO phone_door (person_id, phone, word_hash, is_call_alarm, updated_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (person_id) DO UPDATE
   SET phone = excluded.phone, word_hash = excluded.word_hash, is_call_alarm = excluded.is_call_alarm,
       updated_at = excluded.updated_at
"""
OWN: Final = "SELECT phone, is_call_alarm FROM phone_door WHERE person_id = $1"
REMOVE: Final = "DELETE FROM phone_door WHERE person_id = $1"
ALL: Final = """
SELECT d.person_id, d.phone, d.word_hash, d.is_call_alarm, p.org_id, p.region_id, p.role
  FROM phone_door d JOIN person p USING (person_id)
 WHERE p.status = 'active' AND p.role IN ('customer', 'worker')
"""


@dataclass(frozen=True, slots=True)
class PhoneDoor:
    """One person's number."""

    person_id: PersonId
    role: Role
    org_id: OrgId
    region_id: RegionId
    phone: str
    word_hash: bytes
    is_call_alarm: bool

    def is_meant_by(self, text: str) -> bool:
        """Return whether a message begins with the person's word."""
        words = words_of(text)[:WORDS_MAX]
        starts = [" ".join(words[:count]) for count in range(1, len(words) + 1)]
        return any(hmac.compare_digest(word_hash(self.person_id, start), self.word_hash) for start in starts)


class PhoneDoors:
    """All registered numbers as Postgres last had them. `changed` is the handler of `clenzy_phone_door`."""

    def __init__(self, *, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._by_phone: dict[str, list[PhoneDoor]] = {}
        self._wake = Wake()
        self._wake.set()

    def changed(self, _payload: str) -> None:
        """Take note that some of them changed."""
        self._wake.set()

    async def run(self) -> None:
        """Follow Postgres until cancelled, through its restarts."""
        await keep_running(self._round, name="phone_doors", clock=self._clock, errors=POSTGRES_ERRORS)

    def of(self, phone: str) -> Sequence[PhoneDoor]:
        """Return whose number this is."""
        return self._by_phone.get(phone, ())

    async def _round(self) -> None:
        await self._wake.wait(PHONE_DOORS_CHECK_MS)
        try:
            async with self._pool.acquire() as conn:
                doors = [PhoneDoor(**{**row, "role": Role(row["role"])}) for row in await conn.fetch(ALL)]
        except (*POSTGRES_ERRORS, asyncio.CancelledError):
            self._wake.set()
            raise
        by_phone: dict[str, list[PhoneDoor]] = {}
        for door in doors:
            by_phone.setdefault(door.phone, []).append(door)
        self._by_phone = by_phone


def words_of(text: str) -> list[str]:
    """Return the words of a text without case and punctuation."""
    return [word for raw in text.casefold().split() if (word := raw.strip(PUNCTUATION))]


def word_hash(person_id: PersonId, word: str) -> bytes:
    """Return what is kept of a person's word."""
    return hashlib.sha256(person_id.bytes + " ".join(words_of(word)).encode()).digest()


async def set_phone_door(
    conn: Connection, *, person_id: PersonId, phone: str, word: str, is_call_alarm: bool, now_ms: int
) -> None:
    """Let messages from `phone` that begin with `word` raise this person's alarm."""
    await conn.execute(SET, person_id, phone, word_hash(person_id, word), is_call_alarm, utc_from_ms(now_ms))


async def own_phone_door(conn: Connection, person_id: PersonId) -> tuple[str, bool] | None:
    """Return a person's number, and whether a mere call from it raises their alarm; the word is not kept."""
    row = await conn.fetchrow(OWN, person_id)
    return None if row is None else (row["phone"], row["is_call_alarm"])


async def remove_phone_door(conn: Connection, person_id: PersonId) -> bool:
    """Forget a person's number; return whether there was one."""
    return await conn.execute(REMOVE, person_id) != "DELETE 0"

"""Answering the question by text message: what a message says, and whose number it came from.

A number can be forged by who knows how, so that a PIN makes an answer theirs wherever the organisation wants one; where
it wants none, `OK` says what a tap says. Any other text is no answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from config.limits import (
    CHECK_IN_REPLY_KEPT_MS,
    CHECK_IN_REPLY_MS,
    PEOPLE_PER_NUMBER_MAX,
    PIN_DIGITS_MAX,
    PIN_DIGITS_MIN,
)
from engine.core.database import Connection
from engine.core.ids import OrgId, PersonId, RegionId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Role
from engine.safetap.phone_doors import words_of

ALL_IS_WELL: Final = frozenset({"ok", "okay"})

# Whom the question went to on this number, and who registered it and is on a job.
ASKED: Final = """
SELECT p.person_id, p.role, p.org_id, p.region_id
  FROM (SELECT person_id FROM silence_ask WHERE phone_index = ($1::blind_index).digest AND sent_at > $2
        UNION
        SELECT person_id FROM silence_watch WHERE person_id = ANY($3::uuid[])) AS asked
  JOIN person p USING (person_id)
 WHERE p.status = 'active'
 ORDER BY p.person_id
 LIMIT $4
"""
FORGET_REPLIES: Final = "DELETE FROM check_in_reply WHERE at <= $1"
ADD_REPLY: Final = """
INSERT INTO check_in_reply (reply_id, person_id, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING true
"""


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """What a message says: that all is well, or a PIN, which may say so or the contrary."""

    pin: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody whose answer this may be."""

    person_id: PersonId
    role: Role
    org_id: OrgId
    region_id: RegionId


def answer_in(text: str) -> TextAnswer | None:
    """Return what a message answers, or `None`: it is no answer."""
    words = words_of(text)
    if len(words) != 1:
        return None
    (word,) = words
    if word in ALL_IS_WELL:
        return TextAnswer(None)
    is_pin = word.isascii() and word.isdigit() and PIN_DIGITS_MIN <= len(word) <= PIN_DIGITS_MAX
    return TextAnswer(word) if is_pin else None


async def asked_on(conn: Connection, phone: str, *, owners: Sequence[PersonId], now_ms: int) -> list[Asked]:
    """Return whose answer a message from `phone` may be; `owners` registered the number for their alarms."""
    since = utc_from_ms(now_ms - CHECK_IN_REPLY_MS)
    rows = await conn.fetch(ASKED, phone, since, list(owners), PEOPLE_PER_NUMBER_MAX)
    return [
        Asked(PersonId(row["person_id"]), Role(row["role"]), OrgId(row["org_id"]), RegionId(row["region_id"]))
        for row in rows
    ]


async def is_first_time(conn: Connection, *, reply_id: str, person_id: PersonId, now_ms: int) -> bool:
    """Take note of a message, and return whether it is new. In the transaction that acts on it."""
    await conn.execute(FORGET_REPLIES, utc_from_ms(now_ms - CHECK_IN_REPLY_KEPT_MS))
    return bool(await conn.fetchval(ADD_REPLY, reply_id, person_id, utc_from_ms(now_ms)))

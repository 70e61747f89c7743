"""Refresh tokens: each is spent once for the next; one that comes back spent was stolen, and its family ends."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from config.limits import REFRESH_TOKEN_MS
from engine.core.database import Connection
from engine.core.ids import PersonId
from engine.core.units import utc_from_ms

ADD: Final = """
INSERT INTO refresh_token (token_hash, person_id, family_id, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5)
"""

# Wins once: of two who bring the same token, one finds it spent.
SPEND: Final = """
UPDATE refresh_token t
   SET used_at = $2
  FROM person p
 WHERE t.token_hash = $1 AND t.used_at IS NULL AND t.revoked_at IS NULL AND t.expires_at > $2
   AND p.person_id = t.person_id AND p.status = 'active' AND p.tokens_valid_after <= t.issued_at
RETURNING t.person_id, t.family_id
"""

FIND_SPENT: Final = "SELECT person_id, family_id FROM refresh_token WHERE token_hash = $1 AND used_at IS NOT NULL"

FAMILY_OF: Final = "SELECT family_id FROM refresh_token WHERE token_hash = $1 AND person_id = $2"

REVOKE_FAMILY: Final = "UPDATE refresh_token SET revoked_at = $2 WHERE family_id = $1 AND revoked_at IS NULL"


@dataclass(frozen=True, slots=True)
class Spent:
    """A token that was good: its person, and the family that the next one joins."""

    person_id: PersonId
    family_id: UUID


@dataclass(frozen=True, slots=True)
class Reused:
    """A token that had been spent before. Its family is revoked."""

    person_id: PersonId
    family_id: UUID


async def add_refresh_token(conn: Connection, *, person_id: PersonId, family_id: UUID, now_ms: int) -> str:
    """Store the hash of a new random token (256 bits) and return the token."""
    token = secrets.token_urlsafe(32)
    issued_at, expires_at = utc_from_ms(now_ms), utc_from_ms(now_ms + REFRESH_TOKEN_MS)
    await conn.execute(ADD, token_hash(token), person_id, family_id, issued_at, expires_at)
    return token


async def spend_refresh_token(conn: Connection, token: str, *, now_ms: int) -> Spent | Reused | None:
    """Spend a token. `None`: it never was one, or has ended.

    Reuse is an answer and not an error: the revocation must commit with the caller's transaction.
    """
    row = await conn.fetchrow(SPEND, token_hash(token), utc_from_ms(now_ms))
    if row is not None:
        return Spent(PersonId(row["person_id"]), row["family_id"])
    row = await conn.fetchrow(FIND_SPENT, token_hash(token))
    if row is None:
        return None
    await conn.execute(REVOKE_FAMILY, row["family_id"], utc_from_ms(now_ms))
    return Reused(PersonId(row["person_id"]), row["family_id"])


async def revoke_family_of(conn: Connection, token: str, *, person_id: PersonId, now_ms: int) -> UUID | None:
    """End the family of this person's token and return it; `None`: the token is not theirs."""
    family_id: UUID | None = await conn.fetchval(FAMILY_OF, token_hash(token), person_id)
    if family_id is not None:
        await conn.execute(REVOKE_FAMILY, family_id, utc_from_ms(now_ms))
    return family_id


def token_hash(token: str) -> bytes:
    """Return what is stored of a token. A fast hash is enough: nobody guesses 256 random bits."""
    return hashlib.sha256(token.encode()).digest()

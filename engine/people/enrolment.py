"""Enrolment codes: what a person without a password types once to sign in on their own device."""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from typing import Final

from config.limits import ENROLMENT_CODE_MS
from engine.core.database import Connection
from engine.core.ids import PersonId
from engine.core.units import utc_from_ms

CODE_BYTES: Final = 10
"""80 random bits: 16 letters and digits."""

DROP_UNUSED_CODES: Final = "DELETE FROM enrolment_code WHERE person_id = ANY($1) AND used_at IS NULL"

ADD_CODES: Final = """
INSERT INTO enrolment_code (code_hash, person_id, created_at, expires_at)
SELECT code_hash, person_id, $3, $4 FROM unnest($1::bytea[], $2::uuid[]) AS code (code_hash, person_id)
"""

SPEND_CODE: Final = """
UPDATE enrolment_code c
   SET used_at = $2
  FROM person p
 WHERE c.code_hash = $1 AND c.used_at IS NULL AND c.expires_at > $2
   AND p.person_id = c.person_id AND p.status = 'active'
RETURNING c.person_id
"""


def new_code() -> str:
    """Return a random code in groups of four, as a person reads it out: `ABCD-EFGH-2345-67XY`."""
    letters = base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode()
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def code_hash(code: str) -> bytes:
    """Return what is stored of a code; case, spaces and dashes do not matter."""
    return hashlib.sha256("".join(code.upper().replace("-", "").split()).encode()).digest()


async def replace_codes(conn: Connection, person_ids: Sequence[PersonId], *, now_ms: int) -> list[str]:
    """Give each person a new code, in order, and forget the unused ones they had."""
    codes = [new_code() for _ in person_ids]
    await conn.execute(DROP_UNUSED_CODES, person_ids)
    await conn.execute(
        ADD_CODES,
        [code_hash(code) for code in codes],
        person_ids,
        utc_from_ms(now_ms),
        utc_from_ms(now_ms + ENROLMENT_CODE_MS),
    )
    return codes


async def spend_code(conn: Connection, code: str, *, now_ms: int) -> PersonId | None:
    """Return whose code this is and spend it; `None`: unknown, spent or expired."""
    person_id = await conn.fetchval(SPEND_CODE, code_hash(code), utc_from_ms(now_ms))
    return None if person_id is None else PersonId(person_id)

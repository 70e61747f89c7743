"""Acknowledging by an answer: the code of a text message, a key pressed during a call.

An answer acts as the responder who was told, through the same function as every desk. A wrong one is told nothing, and
counts: a number from which too many came is not listened to for a while, so that nobody guesses four digits.
"""

import hashlib
import re
import secrets
from collections.abc import Callable
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from config.limits import WRONG_REPLIES_MAX, WRONG_REPLY_WINDOW_MS
from engine.core.database import Connection
from engine.core.errors import Conflict, NotAllowed, NotFound
from engine.core.ids import IncidentId, NoticeId, OrgId, PersonId, RegionId
from engine.core.units import utc_from_ms
from engine.core.vocabulary import Delivery, Role
from engine.people.tokens import Principal
from engine.safetap.desk import acknowledge
from engine.safetap.notice_record import Told, record_told

log = structlog.get_logger(__name__)

NewCode = Callable[[], str]

CODE: Final = re.compile(r"\s*(?:ack\w*\W*)?([0-9]{4})\W*", re.IGNORECASE)
ATTEMPTS_MAX: Final = 20
"""Codes tried for one phone; with a handful of live incidents the first one is nearly always free."""
PERSON_TARGET: Final = re.compile(r"person:([0-9a-f-]{36})(?:/[0-9]+)?")

FORGET_CLOSED: Final = """
DELETE FROM reply_code r USING incident i
 WHERE r.address = $1 AND i.incident_id = r.incident_id AND i.state = 'closed'
"""

ALLOT: Final = """
INSERT INTO reply_code (incident_id, address, code, person_id, created_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
"""

CODE_OF: Final = "SELECT code FROM reply_code WHERE incident_id = $1 AND address = $2"

# The answer shows that some message was read: the newest that was sent, else the only one that somebody began to send
# and may have died over. Of several such ones it does not tell which: each is sent again. One that nobody has touched
# yet is still to be sent.
TOLD_BY_CODE: Final = """
SELECT r.incident_id, p.person_id, p.org_id, p.region_id, p.role,
       (SELECT coalesce((array_agg(n.notice_id ORDER BY n.created_at DESC) FILTER (WHERE n.state = 'sent'))[1],
                        CASE count(*) WHEN 1 THEN (array_agg(n.notice_id))[1] END)
          FROM notice n
         WHERE n.incident_id = r.incident_id AND n.address = r.address AND n.channel = 'sms' AND n.attempts > 0
       ) AS notice_id
  FROM reply_code r JOIN person p USING (person_id)
 WHERE r.address = $1 AND r.code = $2
"""

TOLD_BY_CALL: Final = """
SELECT n.incident_id, n.notice_id, p.person_id, p.org_id, p.region_id, p.role
  FROM notice n JOIN person p ON p.person_id = $3 AND p.org_id = n.org_id
 WHERE n.notice_id = $1 AND n.address = $2 AND n.channel = 'voice'
"""

TARGET_OF: Final = "SELECT target FROM notice WHERE notice_id = $1"

IS_AWAITED: Final = """
SELECT EXISTS (SELECT FROM notice n JOIN incident i USING (incident_id)
                WHERE n.address IN ($1, 'index:' || encode(($2::blind_index).digest, 'hex'))
                  AND n.channel IN ('sms', 'voice') AND i.state <> 'closed')
"""

WRONG_REPLIES: Final = "SELECT count(*) FROM wrong_reply WHERE address_hash = $1 AND at > $2"
COUNT_WRONG_REPLY: Final = "INSERT INTO wrong_reply (address_hash, at) VALUES ($1, $2)"
FORGET_WRONG_REPLIES: Final = "DELETE FROM wrong_reply WHERE at <= $1"


def random_code() -> str:
    """Return four random digits."""
    return f"{secrets.randbelow(10_000):04d}"


def code_in(text: str) -> str | None:
    """Return the code that a text message answers with (`ACK 1234`, `1234`), or `None`: it is no answer."""
    match = CODE.fullmatch(text)
    return None if match is None else match[1]


def person_of(target: str) -> PersonId | None:
    """Return whom a notice's target names, or `None`: it is nobody who could acknowledge."""
    match = PERSON_TARGET.fullmatch(target)
    return None if match is None else PersonId(UUID(match[1]))


async def allot_code(
    conn: Connection, *, incident_id: IncidentId, phone: str, target: str, now_ms: int, new_code: NewCode
) -> str | None:
    """Return the code that stands for this incident on this phone, the same however often it is told.

    `None`: the target is nobody who could acknowledge, or all codes of the phone are taken.
    """
    person_id = person_of(target)
    if person_id is None:
        return None
    await conn.execute(FORGET_CLOSED, phone)
    for _ in range(ATTEMPTS_MAX):
        code: str | None = await conn.fetchval(CODE_OF, incident_id, phone)
        if code is not None:
            return code
        await conn.execute(ALLOT, incident_id, phone, new_code(), person_id, utc_from_ms(now_ms))
    log.error("reply_code.none_free", incident_id=str(incident_id))
    return None


async def is_awaited(conn: Connection, phone: str) -> bool:
    """Return whether somebody was told of a live incident on this phone, so that what comes from it is an answer."""
    return bool(await conn.fetchval(IS_AWAITED, phone, phone))


async def acknowledge_by_code(conn: Connection, *, phone: str, code: str, now_ms: int) -> bool:
    """Acknowledge what the code stands for on this phone, as the responder who was told; return whether it was right.

    What a number sends after too many wrong codes is not even looked up.
    """
    sender = hashlib.sha256(phone.encode()).digest()
    since = utc_from_ms(now_ms - WRONG_REPLY_WINDOW_MS)
    if await conn.fetchval(WRONG_REPLIES, sender, since) >= WRONG_REPLIES_MAX:
        return False
    told = await conn.fetchrow(TOLD_BY_CODE, phone, code)
    if told is not None and await _acknowledge(conn, told, now_ms=now_ms):
        return True
    await conn.execute(FORGET_WRONG_REPLIES, since)
    await conn.execute(COUNT_WRONG_REPLY, sender, utc_from_ms(now_ms))
    return False


async def acknowledge_by_call(conn: Connection, *, notice_id: NoticeId, phone: str, now_ms: int) -> bool:
    """Acknowledge what a call was about, as the responder who was called; return whether it could be."""
    person_id = person_of(await conn.fetchval(TARGET_OF, notice_id) or "")
    told = None if person_id is None else await conn.fetchrow(TOLD_BY_CALL, notice_id, phone, person_id)
    return told is not None and await _acknowledge(conn, told, now_ms=now_ms)


async def _acknowledge(conn: Connection, told: asyncpg.Record, *, now_ms: int) -> bool:
    incident_id = IncidentId(told["incident_id"])
    try:
        await acknowledge(conn, incident_id=incident_id, actor=_principal(told, now_ms), now_ms=now_ms)
    except (Conflict, NotAllowed, NotFound) as error:
        log.warning("reply.refused", incident_id=str(incident_id), error=error.code)
        return False
    if told["notice_id"] is not None:
        async with conn.transaction():
            await record_told(conn, NoticeId(told["notice_id"]), Told(Delivery.READ, detail="answered"), now_ms=now_ms)
    return True


def _principal(told: asyncpg.Record, now_ms: int) -> Principal:
    """Return the responder as an actor for this one act; the answer came without any session."""
    return Principal(
        person_id=PersonId(told["person_id"]),
        role=Role(told["role"]),
        org_id=OrgId(told["org_id"]),
        region_id=RegionId(told["region_id"]),
        slot=None,
        session_id=UUID(int=0),
        issued_at_ms=now_ms,
        expires_at_ms=now_ms,
    )

"""Repeatable POSTs: the answer commits in the transaction of the act, so that a crash leaves both or neither.

A second request with the same key waits on the first one's row and then gets the first one's answer. Refusals are not
kept: they changed nothing, and asking again may find a better moment.

Answers hold tokens and codes, and requests hold passwords, neither of which is stored readable anywhere else. So
nothing readable is stored here either: the row is named by a hash of the key, the request is a MAC under the key, and
the answer is sealed with the key and the request. Who has the database but not the client's request learns nothing.
"""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from config.limits import IDEMPOTENCY_KEPT_MS, IDEMPOTENCY_WAIT_MS
from engine.core.database import Connection
from engine.core.errors import Conflict
from engine.core.ids import PersonId
from engine.core.units import utc_from_ms

NOBODY: Final = PersonId(UUID(int=0))
"""Owns the keys of requests before sign-in."""

SET_LOCK_TIMEOUT: Final = "SELECT set_config('lock_timeout', $1, true)"

# An outdated key is taken over as if it were new. The INSERT waits for another transaction that has just made the row.
CLAIM_KEY: Final = """
INSERT INTO idempotency_key (person_id, key, request_hash, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (person_id, key) DO UPDATE
   SET request_hash = excluded.request_hash, created_at = excluded.created_at, status = NULL, body = NULL
 WHERE idempotency_key.created_at <= $5
RETURNING true
"""

FIRST_ANSWER: Final = "SELECT request_hash, status, body FROM idempotency_key WHERE person_id = $1 AND key = $2"

KEEP_ANSWER: Final = "UPDATE idempotency_key SET status = $3, body = $4 WHERE person_id = $1 AND key = $2"

NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer. `is_replayed`: it was given before."""

    status: int
    body: bytes
    is_replayed: bool = False
    media_type: str | None = None
    """Default: JSON. Only on routes without a key: what is kept is JSON."""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that its sender may repeat."""

    owner: PersonId
    row_key: str
    request_mac: bytes
    seal: bytes

    @classmethod
    def of(cls, key: str, *, owner: PersonId | None, method: str, path: str, body: bytes) -> "KeyedRequest":
        """Name a request by what its sender sent; `owner` is `None` before sign-in."""
        secret = key.encode()
        request = hashlib.sha256(b"\0".join((method.encode(), path.encode(), body))).digest()
        # Before sign-in everybody shares one space of keys: there the request is part of the name, so that strangers
        # who both count from 1 do not meet.
        named = secret if owner is not None else secret + b"\0" + request
        return cls(
            owner=owner or NOBODY,
            row_key=hashlib.sha256(named).hexdigest(),
            request_mac=hmac.digest(secret, b"request" + request, "sha256"),
            seal=hmac.digest(secret, b"answer" + request, "sha256"),
        )

    def sealed(self, body: bytes) -> bytes:
        """Return the answer's body, encrypted."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + ChaCha20Poly1305(self.seal).encrypt(nonce, body, None)

    def opened(self, sealed: bytes) -> bytes:
        """Return the body that `sealed` made."""
        return ChaCha20Poly1305(self.seal).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)


async def answer_once(
    conn: Connection, request: KeyedRequest, act: Callable[[], Awaitable[Answer]], *, now_ms: int
) -> Answer:
    """Act and keep the answer, or return the answer of the first time. The caller holds a transaction.

    Raises:
        Conflict: the key was used with another request, or its first request is still under way.
    """
    if not await _claim(conn, request, now_ms=now_ms):
        return await _first_answer(conn, request)
    answer = await act()
    await conn.execute(KEEP_ANSWER, request.owner, request.row_key, answer.status, request.sealed(answer.body))
    return answer


async def _claim(conn: Connection, request: KeyedRequest, *, now_ms: int) -> bool:
    await conn.execute(SET_LOCK_TIMEOUT, f"{IDEMPOTENCY_WAIT_MS}ms")
    try:
        claimed = await conn.fetchval(
            CLAIM_KEY,
            request.owner,
            request.row_key,
            request.request_mac,
            utc_from_ms(now_ms),
            utc_from_ms(now_ms - IDEMPOTENCY_KEPT_MS),
        )
    except asyncpg.LockNotAvailableError as error:
        raise Conflict("The first request with this key is still under way.") from error
    await conn.execute(SET_LOCK_TIMEOUT, "0")
    return bool(claimed)


async def _first_answer(conn: Connection, request: KeyedRequest) -> Answer:
    row = await conn.fetchrow(FIRST_ANSWER, request.owner, request.row_key)
    if row is None or row["status"] is None:
        raise Conflict("The first request with this key is still under way.")
    if not hmac.compare_digest(row["request_hash"], request.request_mac):
        raise Conflict("This key was used with another request.", field="Idempotency-Key")
    return Answer(row["status"], request.opened(row["body"]), is_replayed=True)

"""Lets a connection to Postgres seal and open envelopes: statements name wrapped keys, the client's side uses them.

A statement reads `ROW(k.wrapped, column_sealed, column)::sealed_text` and gets text: what the envelope holds, else
the clear text that nobody has sealed yet, else nothing. It writes `($1::sealed_text).sealed`, given a `Sealed`. So
nothing above the store handles a key, and Postgres sees neither a key nor, of what is sealed, the content.

Whoever was erased reads as `ERASED`. What cannot be opened reads as `UNREADABLE` and is logged: a call card with one
unreadable line is better than none.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog

from engine.core.database import Connection
from engine.core.errors import Conflict
from engine.core.ids import PersonId
from engine.core.units import utc_from_ms
from engine.people.envelopes import (
    KEY_BYTES,
    CannotOpenError,
    WrappingKeys,
    blind_index,
    open_envelope,
    seal,
    unwrap,
    wrap,
    wrapped_by,
)
from engine.people.keyring import Keyring

log = structlog.get_logger(__name__)

ERASED: Final = "erased"
UNREADABLE: Final = "unreadable"

WRAPPED_KEYS: Final = "SELECT person_id, wrapped FROM person_key WHERE person_id = ANY($1::uuid[])"
ADD_KEY: Final = """
INSERT INTO person_key (person_id, wrapped, created_at) VALUES ($1, ($2::sealed_bytes).wrapped, $3)
    ON CONFLICT (person_id) DO NOTHING
RETURNING person_id, wrapped
"""

Composite = tuple[bytes | None, bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A content that is sealed with a person's key on its way into a statement."""

    wrapped: bytes
    content: str | bytes | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A person's key that is made, and wrapped, on its way into a statement."""


class ErasedError(Conflict):
    """This person was erased."""


async def person_keys(conn: Connection, person_ids: Sequence[PersonId], *, now_ms: int) -> dict[PersonId, bytes]:
    """Return the wrapped key of each person, made where there is none yet. The people exist.

    Raises:
        ErasedError: one of them was erased.
    """
    wanted = sorted(set(person_ids))
    keys = {row["person_id"]: row["wrapped"] for row in await conn.fetch(WRAPPED_KEYS, wanted)}
    missing = [person_id for person_id in wanted if person_id not in keys]
    if missing:
        made = await conn.fetchmany(ADD_KEY, [(person_id, NewKey(), utc_from_ms(now_ms)) for person_id in missing])
        keys |= {row["person_id"]: row["wrapped"] for row in made}
    if len(keys) < len(wanted):  # somebody else has made one since
        keys = {row["person_id"]: row["wrapped"] for row in await conn.fetch(WRAPPED_KEYS, wanted)}
    if None in keys.values():
        raise ErasedError
    return keys


async def person_key(conn: Connection, person_id: PersonId, *, now_ms: int) -> bytes:
    """Return one person's wrapped key; see `person_keys`."""
    return (await person_keys(conn, [person_id], now_ms=now_ms))[person_id]


def rewrapped(keys: WrappingKeys, wrapped: bytes) -> bytes:
    """Return a person's key, wrapped by the active key.

    Raises:
        CannotOpenError: the key that wraps it is not there.
    """
    return wrap(keys, unwrap(keys, wrapped), random=secrets.token_bytes)


class Sealing:
    """What a pool's connections are set up with: `asyncpg.create_pool(..., init=sealing.prepare)`."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def prepare(self, conn: asyncpg.Connection) -> None:
        """Teach a new connection the three types."""
        await conn.set_type_codec(
            "sealed_text", encoder=self._encode_text, decoder=self._decode_text, format="tuple", schema="public"
        )
        await conn.set_type_codec(
            "sealed_bytes", encoder=self._encode_bytes, decoder=self._decode_bytes, format="tuple", schema="public"
        )
        await conn.set_type_codec(
            "blind_index", encoder=self._encode_index, decoder=_decode_index, format="tuple", schema="public"
        )

    def _encode_text(self, value: Sealed) -> tuple[None, bytes | None, None]:
        content = value.content
        return None, self._sealed(value.wrapped, content.encode() if isinstance(content, str) else content), None

    def _encode_bytes(self, value: Sealed | NewKey) -> Composite:
        if isinstance(value, NewKey):
            keys = self._keyring.read_again()
            return wrap(keys, secrets.token_bytes(KEY_BYTES), random=secrets.token_bytes), None, None
        assert not isinstance(value.content, str), "text is a `sealed_text`"
        return None, self._sealed(value.wrapped, value.content), None

    def _encode_index(self, text: str) -> tuple[bytes]:
        return (blind_index(self._keyring.keys, text),)

    def _decode_text(self, value: tuple[bytes | None, bytes | None, str | None]) -> str | None:
        wrapped, sealed, plain = value
        if sealed is None:
            return plain
        if wrapped is None:
            return ERASED
        content = self._opened(wrapped, sealed)
        return UNREADABLE if content is None else content.decode()

    def _decode_bytes(self, value: Composite) -> bytes | None:
        """Return the content; of somebody who was erased, and of what cannot be opened, nothing."""
        wrapped, sealed, plain = value
        if sealed is None or wrapped is None:
            return plain
        return self._opened(wrapped, sealed)

    def _sealed(self, wrapped: bytes, content: bytes | None) -> bytes | None:
        if content is None:
            return None
        key = unwrap(self._keyring.holding(wrapped_by(wrapped)), wrapped)
        return seal(key, content, random=secrets.token_bytes)

    def _opened(self, wrapped: bytes, sealed: bytes) -> bytes | None:
        try:
            return open_envelope(unwrap(self._keyring.holding(wrapped_by(wrapped)), wrapped), sealed)
        except (CannotOpenError, OSError, ValueError) as error:
            log.error("envelope.unreadable", wrapped_by=wrapped_by(wrapped).hex(), reason=str(error))  # noqa: TRY400 - the reason is all there is
            return None


def _decode_index(value: tuple[bytes]) -> bytes:
    return value[0]

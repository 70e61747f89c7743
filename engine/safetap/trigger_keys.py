"""Trigger keys: what one device calls for help with for as long as it is not revoked. They create alarms, nothing else.

The secret is told once. It is also the seed of an Ed25519 pair, so that one key serves both who can only send a header
(a Shortcut, a hardware button: the secret itself) and who can sign (an app: the signature of the body). Stored are its
hash and the public half.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from config.limits import TRIGGER_KEYS_PER_PERSON_MAX
from engine.core.database import Connection
from engine.core.errors import NotFound
from engine.core.ids import OrgId, PersonId
from engine.core.units import utc_from_ms
from engine.people.audit import append_audit
from engine.people.refresh_tokens import token_hash

SECRET_BYTES: Final = 32

# The lock of the person's row keeps two at once from both being the last one kept.
LOCK_PERSON: Final = "SELECT 1 FROM person WHERE person_id = $1 FOR NO KEY UPDATE"
ADD: Final = """
INSERT INTO trigger_key (key_id, person_id, secret_hash, public_key, label, created_at) VALUES ($1, $2, $3, $4, $5, $6)
"""
END_OLDEST: Final = """
UPDATE trigger_key SET revoked_at = $3
 WHERE key_id IN (SELECT key_id FROM trigger_key
                   WHERE person_id = $1 AND revoked_at IS NULL
                   ORDER BY created_at DESC, key_id DESC OFFSET $2)
"""
LIST: Final = """
SELECT key_id, label, created_at, revoked_at FROM trigger_key
 WHERE person_id = $1 AND revoked_at IS NULL
 ORDER BY created_at DESC, key_id DESC
"""
REVOKE: Final = """
UPDATE trigger_key k SET revoked_at = coalesce(k.revoked_at, $4)
  FROM person p
 WHERE k.key_id = $1 AND p.person_id = k.person_id AND p.org_id = $2 AND k.person_id = coalesce($3, k.person_id)
RETURNING k.person_id
"""


@dataclass(frozen=True, slots=True)
class TriggerKey:
    """A key as its owner sees it."""

    key_id: UUID
    label: str
    created_at: datetime


def new_secret() -> str:
    """Return 32 random bytes in URL-safe base64 without padding."""
    return secrets.token_urlsafe(SECRET_BYTES)


def signing_key(secret: str) -> Ed25519PrivateKey:
    """Return the private half that a secret is the seed of.

    Raises:
        ValueError: it is none of ours.
    """
    return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(secret + "="))


async def add_trigger_key(
    conn: Connection, *, key_id: UUID, secret: str, org_id: OrgId, owner_id: PersonId, label: str, now_ms: int
) -> TriggerKey:
    """Let `secret` call for help for its owner; beyond `limits.TRIGGER_KEYS_PER_PERSON_MAX` the oldest ends.

    The caller holds a transaction.
    """
    at = utc_from_ms(now_ms)
    public_key = signing_key(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    await conn.execute(LOCK_PERSON, owner_id)
    await conn.execute(ADD, key_id, owner_id, token_hash(secret), public_key, label, at)
    await conn.execute(END_OLDEST, owner_id, TRIGGER_KEYS_PER_PERSON_MAX, at)
    await append_audit(
        conn,
        org_id=org_id,
        actor_id=owner_id,
        action="trigger_key.add",
        subject=f"trigger_key:{key_id}",
        detail={},
        now_ms=now_ms,
    )
    return TriggerKey(key_id, label, at)


async def list_trigger_keys(conn: Connection, owner_id: PersonId) -> list[TriggerKey]:
    """Return a person's live keys, the newest first: at most `limits.TRIGGER_KEYS_PER_PERSON_MAX`."""
    return [TriggerKey(row["key_id"], row["label"], row["created_at"]) for row in await conn.fetch(LIST, owner_id)]


async def revoke_trigger_key(
    conn: Connection, key_id: UUID, *, org_id: OrgId, owner_id: PersonId | None, actor_id: PersonId, now_ms: int
) -> None:
    """End a key of the organisation, or of `owner_id` alone; one that has ended stays so. In a transaction.

    Raises:
        NotFound: there is no such key, or it is not theirs.
    """
    person_id = await conn.fetchval(REVOKE, key_id, org_id, owner_id, utc_from_ms(now_ms))
    if person_id is None:
        raise NotFound
    await append_audit(
        conn,
        org_id=org_id,
        actor_id=actor_id,
        action="trigger_key.revoke",
        subject=f"trigger_key:{key_id}",
        detail={"person_id": str(person_id)},
        now_ms=now_ms,
    )

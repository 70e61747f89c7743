"""Browsers and apps that are told of alarms by a push. Each belongs to one person, who has a limited number of them."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from config.limits import PUSH_SUBSCRIPTIONS_PER_PERSON_MAX
from engine.core.database import Connection
from engine.core.ids import OrgId, PersonId
from engine.core.units import utc_from_ms

# Whoever signs in on a shared browser takes it over: its pushes are for who uses it now.
SUBSCRIBE: Final = """
INSERT INTO push_subscription (subscription_id, org_id, person_id, endpoint, endpoint_hash, p256dh, auth, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (endpoint_hash) DO UPDATE
   SET org_id = excluded.org_id, person_id = excluded.person_id, p256dh = excluded.p256dh, auth = excluded.auth,
       created_at = excluded.created_at
RETURNING subscription_id
"""
ADD_DEVICE: Final = """
INSERT INTO push_device (push_device_id, org_id, person_id, token, token_hash, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (token_hash) DO UPDATE
   SET org_id = excluded.org_id, person_id = excluded.person_id, created_at = excluded.created_at
RETURNING push_device_id
"""
END_OLDEST_SUBSCRIPTIONS: Final = """
DELETE FROM push_subscription WHERE subscription_id IN (
  SELECT subscription_id FROM push_subscription WHERE person_id = $1
   ORDER BY created_at DESC, subscription_id OFFSET $2)
"""
END_OLDEST_DEVICES: Final = """
DELETE FROM push_device WHERE push_device_id IN (
  SELECT push_device_id FROM push_device WHERE person_id = $1 ORDER BY created_at DESC, push_device_id OFFSET $2)
"""
UNSUBSCRIBE: Final = "DELETE FROM push_subscription WHERE subscription_id = $1 AND person_id = coalesce($2, person_id)"
REMOVE_DEVICE: Final = "DELETE FROM push_device WHERE push_device_id = $1 AND person_id = coalesce($2, person_id)"
SUBSCRIPTIONS_OF: Final = """
SELECT subscription_id, created_at FROM push_subscription WHERE person_id = $1
 ORDER BY created_at DESC, subscription_id
"""
SUBSCRIPTION: Final = "SELECT endpoint, p256dh, auth FROM push_subscription WHERE subscription_id = $1 AND org_id = $2"
REGISTRATION: Final = "SELECT token FROM push_device WHERE push_device_id = $1 AND org_id = $2"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A browser: where its push service listens, and its keys."""

    endpoint: str
    p256dh: bytes
    auth: bytes


async def subscribe(
    conn: Connection, *, new_id: UUID, org_id: OrgId, person_id: PersonId, subscription: Subscription, now_ms: int
) -> UUID:
    """Let a browser be told, and return its id: the same one for the same browser. In a transaction."""
    endpoint = subscription.endpoint
    subscription_id = await conn.fetchval(
        SUBSCRIBE, new_id, org_id, person_id, endpoint, digest(endpoint), subscription.p256dh, subscription.auth,
        utc_from_ms(now_ms),
    )  # fmt: skip
    await conn.execute(END_OLDEST_SUBSCRIPTIONS, person_id, PUSH_SUBSCRIPTIONS_PER_PERSON_MAX)
    assert isinstance(subscription_id, UUID)
    return subscription_id


async def add_device(
    conn: Connection, *, new_id: UUID, org_id: OrgId, person_id: PersonId, token: str, now_ms: int
) -> UUID:
    """Let an app be told, and return its id: the same one for the same token. In a transaction."""
    at = utc_from_ms(now_ms)
    device_id = await conn.fetchval(ADD_DEVICE, new_id, org_id, person_id, token, digest(token), at)
    await conn.execute(END_OLDEST_DEVICES, person_id, PUSH_SUBSCRIPTIONS_PER_PERSON_MAX)
    assert isinstance(device_id, UUID)
    return device_id


async def unsubscribe(conn: Connection, subscription_id: UUID, *, person_id: PersonId | None = None) -> bool:
    """End a browser's pushes, of this person alone where one is given; return whether there were any."""
    return await conn.execute(UNSUBSCRIBE, subscription_id, person_id) != "DELETE 0"


async def remove_device(conn: Connection, device_id: UUID, *, person_id: PersonId | None = None) -> bool:
    """End an app's pushes, of this person alone where one is given; return whether there were any."""
    return await conn.execute(REMOVE_DEVICE, device_id, person_id) != "DELETE 0"


async def list_subscriptions(conn: Connection, person_id: PersonId) -> list[tuple[UUID, datetime]]:
    """Return a person's browsers with when they subscribed, the newest first."""
    return [(row["subscription_id"], row["created_at"]) for row in await conn.fetch(SUBSCRIPTIONS_OF, person_id)]


async def load_subscription(conn: Connection, subscription_id: UUID, org_id: OrgId) -> Subscription | None:
    """Return a browser of the organisation."""
    row = await conn.fetchrow(SUBSCRIPTION, subscription_id, org_id)
    return None if row is None else Subscription(row["endpoint"], row["p256dh"], row["auth"])


async def load_device_token(conn: Connection, device_id: UUID, org_id: OrgId) -> str | None:
    """Return the token of an app of the organisation."""
    token: str | None = await conn.fetchval(REGISTRATION, device_id, org_id)
    return token


def digest(text: str) -> bytes:
    """Return the SHA-256 by which long texts are told apart."""
    return hashlib.sha256(text.encode()).digest()

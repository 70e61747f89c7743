"""Notices to browsers by Web Push (RFC 8030): encrypted for the browser, signed with the installation's key.

A subscription's endpoint is what a browser's owner says it is, so that it is trusted with our network no more than a
webhook's address: public addresses only, no redirects.
"""

import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from uuid import UUID

import aiohttp
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from config.limits import PUSH_TTL_S
from engine.core.database import Pool
from engine.safetap.channels.notifier import NoticeMessage, NotSent, Receipt
from engine.safetap.channels.over_http import OverHttp
from engine.safetap.channels.push_encryption import SALT_BYTES, PushKeys, encrypt, vapid_header
from engine.safetap.channels.push_text import push_fields
from engine.safetap.push_store import Subscription, load_subscription, unsubscribe

GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
"""The browser has unsubscribed, or was wiped (RFC 8030, 7.3)."""
FINAL: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})


class WebPushNotifier(OverHttp):
    """Sends each notice to one browser; enter it before use."""

    def __init__(
        self,
        *,
        pool: Pool,
        key: EllipticCurvePrivateKey | None,
        subject: str,
        is_private_allowed: bool = False,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(is_private_allowed=is_private_allowed)
        self._pool = pool
        self._key = key
        self._subject = subject
        self._random_bytes = random_bytes

    async def send(self, message: NoticeMessage) -> Receipt:
        """Hand the push to the browser's push service. A subscription that has ended is removed.

        Raises:
            NotSent: no key is configured, the subscription has ended, or the service did not take it.
        """
        if self._key is None:
            raise NotSent("no VAPID key is configured (CLENZY_VAPID_KEY_FILE)", is_final=True)
        subscription_id = UUID(message.address)
        async with self._pool.acquire() as conn:
            subscription = await load_subscription(conn, subscription_id, message.org_id)
        if subscription is None:
            raise NotSent("the browser is subscribed no more", is_final=True)
        status, reference = await self._post(subscription, message, self._key)
        if status in GONE:
            async with self._pool.acquire() as conn:
                await unsubscribe(conn, subscription_id)
            raise NotSent("the browser is subscribed no more", is_final=True)
        if status not in range(200, 300):
            raise NotSent(f"the push service answered {status}", is_final=status in FINAL)
        return Receipt(reference)

    async def _post(
        self, subscription: Subscription, message: NoticeMessage, key: EllipticCurvePrivateKey
    ) -> tuple[int, str | None]:
        url = self._called(subscription.endpoint, what="push")
        body = encrypt(
            orjson.dumps(push_fields(message)),
            PushKeys(subscription.p256dh, subscription.auth),
            ephemeral=generate_private_key(SECP256R1()),
            salt=self._random_bytes(SALT_BYTES),
        )
        headers = {
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(PUSH_TTL_S),
            "Urgency": "high",
            "Topic": message.incident_id.hex,  # a push that still waits is replaced, not doubled
            "Authorization": vapid_header(
                subscription.endpoint, key=key, subject=self._subject, now_ms=message.sent_at_ms
            ),
        }
        try:
            async with self._client.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status, answer.headers.get("Location")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotSent(f"push service: {type(error).__name__}") from error

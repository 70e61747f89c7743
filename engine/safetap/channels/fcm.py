"""Notices to apps through Firebase Cloud Messaging, HTTP v1.

Sources: https://firebase.google.com/docs/cloud-messaging/send/v1-api and, for the service account's token,
https://developers.google.com/identity/protocols/oauth2/service-account#httprest (RFC 7523).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import UUID

import aiohttp
import jwt
import orjson

from config.limits import PROVIDER_ANSWER_BYTES_MAX, PUSH_TTL_S
from engine.core.database import Pool
from engine.core.units import MS_PER_S
from engine.safetap.channels.answer import answer_fields
from engine.safetap.channels.notifier import NoticeMessage, NotSent, Receipt
from engine.safetap.channels.over_http import OverHttp
from engine.safetap.channels.push_text import push_fields
from engine.safetap.push_store import load_device_token, remove_device

SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_S: Final = 3_600
RENEW_BEFORE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who may send for a Firebase project, from the JSON file that its console hands out."""

    project_id: str
    client_email: str
    private_key: str
    token_url: str


def load_service_account(file: Path) -> ServiceAccount:
    """Return the account of a credentials file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not such a file.
    """
    try:
        fields = orjson.loads(file.read_bytes())
        return ServiceAccount(fields["project_id"], fields["client_email"], fields["private_key"], fields["token_uri"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError("CLENZY_FCM_CREDENTIALS_FILE is no service account's JSON file") from error


class FcmNotifier(OverHttp):
    """Sends each notice to one app; enter it before use."""

    def __init__(self, *, pool: Pool, account: ServiceAccount | None, api_url: str, now_ms: Callable[[], int]) -> None:
        super().__init__()
        self._pool = pool
        self._account = account
        self._api_url = api_url.rstrip("/")
        self._now_ms = now_ms
        self._token = ""
        self._token_until_ms = 0
        self._asking = asyncio.Lock()

    async def send(self, message: NoticeMessage) -> Receipt:
        """Hand the push to Firebase. A device that has gone is removed.

        Raises:
            NotSent: no account is configured, the device has gone, or Firebase did not take the push.
        """
        if self._account is None:
            raise NotSent("no Firebase account is configured (CLENZY_FCM_CREDENTIALS_FILE)", is_final=True)
        device_id = UUID(message.address)
        async with self._pool.acquire() as conn:
            device_token = await load_device_token(conn, device_id, message.org_id)
        if device_token is None:
            raise NotSent("the app is registered no more", is_final=True)
        status, body = await self._post_message(self._account, message, device_token)
        if status == HTTPStatus.OK:
            name = body.get("name")
            return Receipt(name if isinstance(name, str) else None)
        if _is_unregistered(status, body):
            async with self._pool.acquire() as conn:
                await remove_device(conn, device_id)
            raise NotSent("the app is registered no more", is_final=True)
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            self._token_until_ms = 0
        raise NotSent(f"Firebase answered {status}", is_final=status == HTTPStatus.BAD_REQUEST)

    async def _post_message(
        self, account: ServiceAccount, message: NoticeMessage, device_token: str
    ) -> tuple[int, dict[str, object]]:
        access_token = await self._access_token(account)
        payload = {
            "message": {
                "token": device_token,
                "data": push_fields(message),
                "android": {"priority": "HIGH", "ttl": f"{PUSH_TTL_S}s", "collapse_key": str(message.incident_id)},
                "apns": {"headers": {"apns-priority": "10", "apns-collapse-id": str(message.incident_id)}},
            }
        }
        url = f"{self._api_url}/v1/projects/{quote(account.project_id, safe='')}/messages:send"
        return await self._post(
            url, orjson.dumps(payload), {"Authorization": f"Bearer {access_token}", "Content-Type": "application/json"}
        )

    async def _access_token(self, account: ServiceAccount) -> str:
        """Return a token that is good for a while yet. Many senders at once ask for one together."""
        async with self._asking:
            now_ms = self._now_ms()
            if now_ms >= self._token_until_ms - RENEW_BEFORE_MS:
                self._token, good_s = await self._ask_for_token(account, now_ms // MS_PER_S)
                self._token_until_ms = now_ms + good_s * MS_PER_S
            return self._token

    async def _ask_for_token(self, account: ServiceAccount, now_s: int) -> tuple[str, int]:
        """Return a new token and for how many seconds it is good."""
        claims = {
            "iss": account.client_email,
            "scope": SCOPE,
            "aud": account.token_url,
            "iat": now_s,
            "exp": now_s + ASSERTION_S,
        }
        assertion = jwt.encode(claims, account.private_key, algorithm="RS256")
        form = aiohttp.FormData({"grant_type": GRANT, "assertion": assertion})
        status, body = await self._post(account.token_url, form, {})
        token, good_s = body.get("access_token"), body.get("expires_in")
        if status != HTTPStatus.OK or not isinstance(token, str) or not isinstance(good_s, int):
            raise NotSent(f"Firebase's token server answered {status}")
        return token, good_s

    async def _post(
        self, url: str, body: bytes | aiohttp.FormData, headers: dict[str, str]
    ) -> tuple[int, dict[str, object]]:
        try:
            async with self._client.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status, answer_fields(await answer.content.read(PROVIDER_ANSWER_BYTES_MAX))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotSent(f"Firebase: {type(error).__name__}") from error


def _is_unregistered(status: int, body: dict[str, object]) -> bool:
    """Return whether Firebase says that the device's token has ended."""
    error = body.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    codes = [one.get("errorCode") for one in details if isinstance(one, dict)] if isinstance(details, list) else []
    return status == HTTPStatus.NOT_FOUND or "UNREGISTERED" in codes

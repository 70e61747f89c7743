"""A provider of text messages and calls that speaks Twilio's REST: one request and what it means.

Sources: https://www.twilio.com/docs/messaging/api/message-resource, https://www.twilio.com/docs/voice/api/call-resource.
The provider promises no repetition-proof request; we send the notice's key all the same (compatible ones honour it),
and its receipts name the notice, so that one that was taken by a request whose answer got lost is not sent again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

import aiohttp

from config.limits import PROVIDER_ANSWER_BYTES_MAX
from engine.core.ids import NoticeId
from engine.safetap.channels.answer import answer_fields
from engine.safetap.channels.notifier import NotSent
from engine.safetap.channels.over_http import OverHttp

SMS_RECEIPT_PATH: Final = "/v1/safetap/receipts/sms"
VOICE_RECEIPT_PATH: Final = "/v1/safetap/receipts/voice"
VOICE_ANSWER_PATH: Final = "/v1/safetap/receipts/voice/answer"
"""Where the provider tells what became of a notice, on SafeTap's own port."""

SUCCESS: Final = range(200, 300)
FINAL: Final = frozenset({400, 404, 405, 410, 413, 422})
"""The request itself is wrong (a number that does not exist): the same one again would be refused again."""


@dataclass(frozen=True, slots=True)
class PhoneAccount:
    """An account with a provider. `sender`: a number in E.164, or a messaging service (`MG...`)."""

    url: str
    account: str
    secret: str
    sender: str


class PhoneApi(OverHttp):
    """One session with the provider; enter it before use. Without an account every notice fails and says why."""

    def __init__(self, account: PhoneAccount | None, *, public_url: str) -> None:
        super().__init__()
        self._account = account
        self._public_url = public_url.rstrip("/")

    @property
    def account(self) -> PhoneAccount:
        """The configured account.

        Raises:
            NotSent: none is.
        """
        if self._account is None:
            raise NotSent("no phone provider is configured (CLENZY_PHONE_ACCOUNT)", is_final=True)
        return self._account

    def callback(self, path: str, notice_id: NoticeId) -> str:
        """Return the address at which the provider tells about one notice; its signature covers the query too."""
        return f"{self._public_url}{path}?{urlencode({'notice': str(notice_id)})}"

    async def create(self, resource: str, fields: Sequence[tuple[str, str]], *, key: str) -> str | None:
        """Create a message (`Messages`) or a call (`Calls`); return the provider's name for it.

        Raises:
            NotSent: the provider did not take it; the text names its error, never the number.
        """
        account = self.account
        url = f"{account.url.rstrip('/')}/2010-04-01/Accounts/{quote(account.account, safe='')}/{resource}.json"
        try:
            async with self._client.post(
                url,
                data=aiohttp.FormData(fields),
                headers={
                    "Authorization": aiohttp.encode_basic_auth(account.account, account.secret),
                    "Idempotency-Key": key,
                    "User-Agent": "Clenzy-SafeTap/1",
                },
                allow_redirects=False,
            ) as answer:
                body = answer_fields(await answer.content.read(PROVIDER_ANSWER_BYTES_MAX))
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotSent(f"phone provider: {type(error).__name__}") from error
        if status not in SUCCESS:
            code = body.get("code")
            told = f" ({code})" if isinstance(code, int) else ""
            raise NotSent(f"the phone provider answered {status}{told}", is_final=status in FINAL)
        reference = body.get("sid")
        return reference if isinstance(reference, str) else None

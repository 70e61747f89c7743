"""Notices to a webhook, signed as Standard Webhooks says (https://www.standardwebhooks.com).

An address that an organisation writes down is not to be trusted with our network: no redirects, no proxy of the
environment, and only public addresses unless the installation allows others. The address that was checked is the one
that is connected to, so that a name cannot point elsewhere between the two.
"""

import base64
import hashlib
import hmac
from typing import Final

import aiohttp
import orjson
from standardwebhooks.webhooks import Webhook

from config.limits import LINE_CHARS_MAX, PROVIDER_ANSWER_BYTES_MAX
from engine.core.ids import OrgId
from engine.core.units import MS_PER_S, rfc3339, utc_from_ms
from engine.core.vocabulary import Delivery
from engine.safetap.channels.answer import answer_fields
from engine.safetap.channels.monitoring import MONITORING_TARGET, alarm_export
from engine.safetap.channels.notifier import NoticeMessage, NotSent, Receipt
from engine.safetap.channels.over_http import OverHttp

EVENT_TYPE: Final = "incident.escalated"
ALARM_TYPE: Final = "alarm.requested"
"""What a monitoring centre gets instead."""
RECEIPT_PATH: Final = "/v1/safetap/receipts/webhook"
"""Where a receiver may tell later what became of a notice, on SafeTap's own port, signed as the notice was."""
HTTP_GONE: Final = 410
HTTP_SUCCESS: Final = range(200, 300)


def org_secret(master: str, org_id: OrgId) -> str:
    """Return the signing secret of one organisation (`whsec_...`): nobody can sign for another one's receiver."""
    key = hmac.new(master.encode(), f"webhook:{org_id}".encode(), hashlib.sha256).digest()
    return "whsec_" + base64.b64encode(key).decode()


class WebhookNotifier(OverHttp):
    """Posts incidents to the address that the organisation's policy names; enter it before use."""

    def __init__(self, *, master_secret: str | None, is_private_allowed: bool = False) -> None:
        super().__init__(is_private_allowed=is_private_allowed)
        self._master_secret = master_secret

    async def send(self, message: NoticeMessage) -> Receipt:
        """Post the incident; any 2xx answer takes it, and `{"reference": text}` in it names it for the receiver.

        Raises:
            NotSent: no secret is configured, the address is not allowed, or the receiver did not answer 2xx.
        """
        if self._master_secret is None:
            raise NotSent("no webhook secret is configured (CLENZY_WEBHOOK_SECRET)", is_final=True)
        url = self._called(message.address)
        body = _body(message)
        headers = signed_headers(message, body, org_secret(self._master_secret, message.org_id))
        try:
            async with self._client.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
                reference = _reference(await answer.content.read(PROVIDER_ANSWER_BYTES_MAX))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotSent(f"webhook: {type(error).__name__}") from error
        if status not in HTTP_SUCCESS:
            raise NotSent(f"the receiver answered {status}", is_final=status == HTTP_GONE)
        return Receipt(reference, Delivery.DELIVERED)


def signed_headers(message: NoticeMessage, body: bytes, secret: str) -> dict[str, str]:
    """Return the headers of a Standard Webhooks request; the id is the same at every attempt."""
    moment = utc_from_ms(message.sent_at_ms)
    return {
        "Content-Type": "application/json",
        "User-Agent": "Clenzy-SafeTap/1",
        "webhook-id": str(message.notice_id),
        "webhook-timestamp": str(message.sent_at_ms // MS_PER_S),
        "webhook-signature": Webhook(secret).sign(str(message.notice_id), moment, body.decode()),
    }


def _body(message: NoticeMessage) -> bytes:
    event: dict[str, object] = {
        "type": EVENT_TYPE,
        "timestamp": rfc3339(utc_from_ms(message.sent_at_ms)),
        "data": {"notice_id": str(message.notice_id), "step": message.step, "incident": message.incident},
    }
    if message.target == MONITORING_TARGET:
        event |= {"type": ALARM_TYPE, "data": alarm_export(message)}
    return orjson.dumps(event)


def _reference(body: bytes) -> str | None:
    reference = answer_fields(body).get("reference")
    return reference[:LINE_CHARS_MAX] if isinstance(reference, str) else None

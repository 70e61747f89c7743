"""What became of a notice, as its provider or its receiver tells it later; and the key pressed during a call.

Sources: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status,
https://www.twilio.com/docs/voice/api/call-resource#statuscallbackevent.
"""

from collections.abc import Mapping
from typing import Final

import orjson
import structlog
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from config.limits import CALLBACK_BYTES_MAX, LINE_CHARS_MAX
from engine.core.database import Connection
from engine.core.errors import InvalidInput, NotAllowed, NotFound
from engine.core.ids import NoticeId, OrgId
from engine.core.vocabulary import Channel, Delivery
from engine.safetap.channels.phone_api import SMS_RECEIPT_PATH, VOICE_ANSWER_PATH, VOICE_RECEIPT_PATH
from engine.safetap.channels.phone_number import e164
from engine.safetap.channels.voice import TAKE_IT, spoken
from engine.safetap.channels.webhook import RECEIPT_PATH, org_secret
from engine.safetap.metrics import RECEIPTS, REPLIES
from engine.safetap.notice_record import Told, record_told
from engine.safetap.reply_codes import acknowledge_by_call
from safetap_door.provider_requests import PROVIDERS, ProviderServices, notice_of, signed_fields, xml

log = structlog.get_logger(__name__)

MESSAGE_DELIVERIES: Final[Mapping[str, Delivery]] = {
    "delivered": Delivery.DELIVERED,
    "read": Delivery.READ,
    "undelivered": Delivery.UNDELIVERED,
    "failed": Delivery.UNDELIVERED,
}
CALL_DELIVERIES: Final[Mapping[str, Delivery]] = {
    "completed": Delivery.DELIVERED,
    "busy": Delivery.UNDELIVERED,
    "no-answer": Delivery.UNDELIVERED,
    "failed": Delivery.UNDELIVERED,
    "canceled": Delivery.UNDELIVERED,
}
"""Any other status says that the provider has it, and no more."""
TAKEN: Final = "You have taken it. Open the desk now."

ADDRESSED_TO: Final = """
SELECT n.channel, ROW(k.wrapped, n.address_sealed, n.address)::sealed_text AS address
  FROM notice n JOIN incident i USING (incident_id) LEFT JOIN person_key k USING (person_id)
 WHERE n.notice_id = $1
"""
ORG_OF_WEBHOOK: Final = "SELECT org_id FROM notice WHERE notice_id = $1 AND channel = 'webhook'"


def add_receipt_routes(app: web.Application, services: ProviderServices) -> None:
    """Give `app` what providers and receivers call."""
    app[PROVIDERS] = services
    app.router.add_post(SMS_RECEIPT_PATH, take_message_receipt)
    app.router.add_post(VOICE_RECEIPT_PATH, take_call_receipt)
    app.router.add_post(VOICE_ANSWER_PATH, take_pressed_key)
    app.router.add_post(RECEIPT_PATH, take_webhook_receipt)


async def take_message_receipt(request: web.Request) -> web.Response:
    """Record what became of a text message."""
    fields = await signed_fields(request)
    status = fields.get("MessageStatus", "")
    told = Told(MESSAGE_DELIVERIES.get(status), fields.get("MessageSid"), _detail(status, fields.get("ErrorCode")))
    await _record(request, Channel.SMS, fields.get("To", ""), told)
    return web.Response(status=204)


async def take_call_receipt(request: web.Request) -> web.Response:
    """Record what became of a call."""
    fields = await signed_fields(request)
    status = fields.get("CallStatus", "")
    told = Told(CALL_DELIVERIES.get(status), fields.get("CallSid"), _detail(status, fields.get("AnsweredBy")))
    await _record(request, Channel.VOICE, fields.get("To", ""), told)
    return web.Response(status=204)


async def take_pressed_key(request: web.Request) -> web.Response:
    """Let whoever was called take responsibility; any other key ends the call without a word."""
    fields = await signed_fields(request)
    services = request.app[PROVIDERS]
    phone = e164(fields.get("To", ""))
    is_taken = False
    if fields.get("Digits") == TAKE_IT and phone is not None:
        async with services.pool.acquire() as conn:
            is_taken = await acknowledge_by_call(
                conn, notice_id=notice_of(request), phone=phone, now_ms=services.clock.now_ms()
            )
    REPLIES.labels(Channel.VOICE.value, "acknowledged" if is_taken else "wrong").inc()
    return xml(spoken(TAKEN if is_taken else None))


async def take_webhook_receipt(request: web.Request) -> web.Response:
    """Record what a receiver tells of a notice, signed with its own secret: `{"delivery", "reference"?, "detail"?}`."""
    services = request.app[PROVIDERS]
    if services.webhook_secret is None:
        raise NotFound
    body = await request.clone(client_max_size=CALLBACK_BYTES_MAX).read()
    notice_id = notice_of(request)
    async with services.pool.acquire() as conn, conn.transaction():
        org_id = await conn.fetchval(ORG_OF_WEBHOOK, notice_id)
        # A notice that is not there is answered as a forged request is, so that nobody finds out which exist.
        secret = org_secret(services.webhook_secret, OrgId(notice_id) if org_id is None else org_id)
        told = _told(_verified(secret, body, request.headers))
        await record_told(conn, notice_id, told, now_ms=services.clock.now_ms())
    RECEIPTS.labels(Channel.WEBHOOK.value, told.delivery.value if told.delivery else "taken").inc()
    return web.Response(status=204)


async def _record(request: web.Request, channel: Channel, to: str, told: Told) -> None:
    services = request.app[PROVIDERS]
    notice_id = notice_of(request)
    async with services.pool.acquire() as conn, conn.transaction():
        if await _is_addressed(conn, notice_id, channel, to):
            await record_told(conn, notice_id, told, now_ms=services.clock.now_ms())
    RECEIPTS.labels(channel.value, told.delivery.value if told.delivery else "taken").inc()


async def _is_addressed(conn: Connection, notice_id: NoticeId, channel: Channel, to: str) -> bool:
    notice = await conn.fetchrow(ADDRESSED_TO, notice_id)
    return notice is not None and notice["channel"] == channel and e164(notice["address"]) == e164(to)


def _detail(status: str, more: str | None) -> str:
    return f"{status} ({more})"[:LINE_CHARS_MAX] if more else status[:LINE_CHARS_MAX]


def _verified(secret: str, body: bytes, headers: Mapping[str, str]) -> object:
    try:
        Webhook(secret).verify(body, {name.lower(): value for name, value in headers.items()})
        return orjson.loads(body)
    except WebhookVerificationError:
        RECEIPTS.labels(Channel.WEBHOOK.value, "forged").inc()
        raise NotAllowed("The signature is not the receiver's.") from None
    except orjson.JSONDecodeError:
        raise InvalidInput("The body is a JSON object.") from None


def _told(fields: object) -> Told:
    if not isinstance(fields, dict) or fields.get("delivery") not in set(Delivery):
        raise InvalidInput(f"One of {', '.join(Delivery)}.", field="delivery")
    texts = {name: fields.get(name) for name in ("reference", "detail")}
    kept = {name: text[:LINE_CHARS_MAX] if isinstance(text, str) else None for name, text in texts.items()}
    return Told(Delivery(fields["delivery"]), kept["reference"], kept["detail"])

"""What a provider of text messages and calls sends us: read within bounds, taken only with its signature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

import structlog
from aiohttp import web

from config.limits import CALLBACK_BYTES_MAX, CALLBACK_FIELDS_MAX
from engine.core.clock import Clock
from engine.core.database import Pool
from engine.core.errors import InvalidInput, NotAllowed, NotFound
from engine.core.ids import NoticeId
from engine.safetap.channels.phone_signature import SIGNATURE_HEADER, is_signed
from engine.safetap.metrics import RECEIPTS

log = structlog.get_logger(__name__)

XML: Final = "text/xml"
NOTHING_TO_SAY: Final = "<Response />"


@dataclass(frozen=True, slots=True)
class ProviderServices:
    """What the handlers use. `phone_secret`: the account's; `webhook_secret`: the master of receivers' secrets."""

    clock: Clock
    pool: Pool
    public_url: str
    """Where this port is reached from outside: what signatures are made over."""
    phone_secret: str | None
    webhook_secret: str | None


PROVIDERS: Final = web.AppKey("providers", ProviderServices)


async def signed_fields(request: web.Request) -> Mapping[str, str]:
    """Return the form of a signed request.

    Raises:
        NotFound: no provider is configured.
        InvalidInput: it has more fields than any provider sends.
        NotAllowed: the signature is not the provider's.
        web.HTTPRequestEntityTooLarge: it is too large.
    """
    services = request.app[PROVIDERS]
    if services.phone_secret is None:
        raise NotFound
    body = await request.clone(client_max_size=CALLBACK_BYTES_MAX).read()
    try:
        fields = parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=CALLBACK_FIELDS_MAX)
    except ValueError as error:
        raise InvalidInput(f"At most {CALLBACK_FIELDS_MAX} fields.") from error
    url = services.public_url.rstrip("/") + request.raw_path
    if not is_signed(services.phone_secret, url, fields, request.headers.get(SIGNATURE_HEADER, "")):
        RECEIPTS.labels("phone", "forged").inc()
        log.warning("provider.forged", path=request.path)
        raise NotAllowed("The signature is not the provider's.")
    return dict(fields)


def notice_of(request: web.Request) -> NoticeId:
    """Return the notice that a request is about.

    Raises:
        NotFound: it names none.
    """
    try:
        return NoticeId(UUID(request.query.get("notice", "")))
    except ValueError:
        raise NotFound from None


def xml(text: str) -> web.Response:
    """Return an answer in the provider's language."""
    return web.Response(text=text, content_type=XML)

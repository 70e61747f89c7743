"""Waits for a request's body before anybody works on the request: who drips it holds a place, but not for ever."""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from config.limits import BODY_READ_MS, CALLBACK_BYTES_MAX
from engine.core.errors import BodyTooLarge, BodyTooSlow, InvalidInput
from engine.core.units import MS_PER_S


@web.middleware
async def whole_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Hand a request on once all of it is here; handlers hold it against limits of their own.

    Raises:
        BodyTooLarge: no request of this port is that large.
        InvalidInput: it is not HTTP's.
        BodyTooSlow: it did not arrive in time. (A body that says no length and outgrows the buffers ends here, too.)
    """
    if not request.content.is_eof():
        if (request.content_length or 0) > CALLBACK_BYTES_MAX:
            raise BodyTooLarge
        try:
            async with asyncio.timeout(BODY_READ_MS / MS_PER_S):
                await request.content.wait_eof()
        except TimeoutError:
            raise BodyTooSlow from None
        except web.RequestPayloadError:
            raise InvalidInput("The body did not arrive whole.") from None
    return await handler(request)

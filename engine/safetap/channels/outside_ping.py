"""A ping of a watchdog outside: a GET of its address, as healthchecks.io, Dead Man's Snitch and Cronitor take it.

The address is a secret: it stands in no log and no error.
"""

import aiohttp

from config.limits import OUTSIDE_TIMEOUT_MS
from engine.safetap.channels.notifier import NotSent
from engine.safetap.channels.over_http import OverHttp
from engine.safetap.channels.webhook import HTTP_SUCCESS


class OutsidePing(OverHttp):
    """Pings one address; enter it before use. The same rules as for webhooks: no redirects, only public addresses."""

    def __init__(self, url: str, *, is_private_allowed: bool = False) -> None:
        super().__init__(timeout_ms=OUTSIDE_TIMEOUT_MS, is_private_allowed=is_private_allowed)
        self._url = url

    async def send(self) -> None:
        """Ping once.

        Raises:
            NotSent: the address is not allowed, or did not answer 2xx.
        """
        url = self._called(self._url, what="watchdog")
        try:
            async with self._client.get(url, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotSent(f"watchdog: {type(error).__name__}") from error
        if status not in HTTP_SUCCESS:
            raise NotSent(f"the watchdog answered {status}")

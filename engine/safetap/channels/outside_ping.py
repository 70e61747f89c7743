"""A ping of a watchdog outside: a GET of its address, as healthchecks.io, Dead Man's Snitch and Cronitor take it.

The address is a secret: it stands in no log and no error.
"""

from types import TracebackType
from typing import Self

import aiohttp

from config.limits import OUTSIDE_TIMEOUT_MS
from engine.core.units import MS_PER_S
from engine.safetap.channels.notifier import NotSent
from engine.safetap.channels.public_address import PublicResolver, called_url
from engine.safetap.channels.webhook import HTTP_SUCCESS


class OutsidePing:
    """Pings one address; enter it before use. The same rules as for webhooks: no redirects, only public addresses."""

    def __init__(self, url: str, *, is_private_allowed: bool = False) -> None:
        self._url = url
        self._is_private_allowed = is_private_allowed
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=PublicResolver(is_private_allowed=self._is_private_allowed), force_close=True
            ),
            timeout=aiohttp.ClientTimeout(total=OUTSIDE_TIMEOUT_MS / MS_PER_S),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        assert self._session is not None
        await self._session.close()

    async def send(self) -> None:
        """Ping once.

        Raises:
            NotSent: the address is not allowed, or did not answer 2xx.
        """
        assert self._session is not None, "enter it before use"
        url = called_url(self._url, is_private_allowed=self._is_private_allowed, what="watchdog")
        try:
            async with self._session.get(url, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NotSent(f"watchdog: {type(error).__name__}") from error
        if status not in HTTP_SUCCESS:
            raise NotSent(f"the watchdog answered {status}")

"""The base of every channel that speaks HTTP to somebody else: one client from entering to leaving, one set of rules.

No proxy of the environment, no cookies, a deadline for each request, and no limit of connections: a receiver that hangs
must not queue the next notice.
"""

from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from config.limits import NOTICE_SEND_TIMEOUT_MS
from engine.core.units import MS_PER_S
from engine.safetap.channels.public_address import PublicResolver, called_url


class OverHttp:
    """Holds the client; enter it before use."""

    def __init__(self, *, timeout_ms: int = NOTICE_SEND_TIMEOUT_MS, is_private_allowed: bool | None = None) -> None:
        """Prepare; nothing is opened yet.

        `is_private_allowed` is for addresses on somebody else's word: unless true, only public ones are called, and the
        one that was looked up is the one that is connected to. `None`: the installation's own settings name them.
        """
        self._timeout_ms = timeout_ms
        self._is_private_allowed = is_private_allowed
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the client."""
        self._session = aiohttp.ClientSession(
            connector=self._connector(),
            timeout=aiohttp.ClientTimeout(total=self._timeout_ms / MS_PER_S),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self._client.close()

    def _called(self, url: str, *, what: str = "webhook") -> URL:
        """Return an address on somebody else's word as it may be called.

        Raises:
            NotSent: it may not.
        """
        return called_url(url, is_private_allowed=bool(self._is_private_allowed), what=what)

    @property
    def _client(self) -> aiohttp.ClientSession:
        assert self._session is not None, "enter it before use"
        return self._session

    def _connector(self) -> aiohttp.TCPConnector:
        if self._is_private_allowed is None:
            return aiohttp.TCPConnector(limit=0)
        # A connection that is kept would go on to an address that its name no longer has.
        resolver = PublicResolver(is_private_allowed=self._is_private_allowed)
        return aiohttp.TCPConnector(resolver=resolver, limit=0, force_close=True)

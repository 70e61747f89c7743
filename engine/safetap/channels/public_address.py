"""Which addresses we call on somebody's word: those of the public internet, over TLS, and nothing of our own network.

What is judged is the host as the client understands it, not as it was written: a name in full-width digits, for one, is
a name to one parser and 127.0.0.1 to another, and whoever is asked second decides where the request goes.
"""

import asyncio
import ipaddress
import socket
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from engine.safetap.channels.notifier import NotSent

PORTS_REFUSED: Final = frozenset({0})

# Forms of IPv6 that carry an IPv4 address to somebody who unpacks it, or that no registry gives to the public, although
# `is_global` says so: RFC 4291 2.5.5.1 and 2.5.7, RFC 6052, RFC 8215, RFC 3056, RFC 2765.
CARRIERS: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "fec0::/10")
)
PUBLIC_IPV6: Final = ipaddress.IPv6Network("2000::/3")
"""All that is handed out for use on the public internet so far (RFC 4291)."""


def called_url(text: str, *, is_private_allowed: bool, what: str = "webhook") -> URL:
    """Return what may be called, in the form that the client takes without reading it anew.

    A name is asked for later, by `PublicResolver`.

    Raises:
        NotSent: it is no address, not https, carries a sign-in, or is a literal in a private network.
    """
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError as error:
        raise NotSent(f"the {what}'s address is none", is_final=True) from error
    if host is None or port in PORTS_REFUSED:
        raise NotSent(f"the {what}'s address is none", is_final=True)
    if is_private_allowed:
        return url
    if url.scheme != "https":
        raise NotSent(f"a {what} goes to https", is_final=True)
    if url.user is not None or url.password is not None:
        raise NotSent(f"the {what}'s address carries a sign-in", is_final=True)
    # The client resolves nothing that looks like an address to it, so that the resolver never sees that.
    if _looks_literal(host) and not is_public(host):
        raise NotSent(f"the {what}'s address is in a private network", is_final=True)
    return url


def is_public(address: str) -> bool:
    """Return whether `address` is a literal IP address, in its usual form, of the public internet."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        elif parsed not in PUBLIC_IPV6 or any(parsed in network for network in CARRIERS):
            return False
    return parsed.is_global and not parsed.is_multicast


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only; the client connects to exactly what this returned."""

    def __init__(self, *, is_private_allowed: bool) -> None:
        self._is_private_allowed = is_private_allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`.

        Raises:
            OSError: there are none, or not all of them are public.
        """
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        if not self._is_private_allowed and not all(is_public(address) for address in addresses):
            raise OSError("the name points into a private network")
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=entry[0], proto=entry[2], flags=socket.AI_NUMERICHOST
            )
            for entry, address in zip(found, addresses, strict=True)
        ]

    async def close(self) -> None:
        """Hold nothing, close nothing."""


def _looks_literal(host: str) -> bool:
    """Return whether a client might take `host` for an address: by a colon, or by being nothing but numbers."""
    return ":" in host or host.replace(".", "").isdigit()

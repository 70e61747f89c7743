"""Free TCP ports."""

import errno
import secrets
import socket
from collections.abc import Collection, Iterator
from contextlib import suppress

from clenzy.child import CannotStartError

QUIET_PORTS = range(20_000, 32_000)
"""Below the range from which Linux takes the ports of outgoing connections: those come and go."""
PORTS_TRIED_MAX = 200
"""Ports after the preferred one that are tried before giving up."""


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a server could bind `port` now.

    Raises:
        CannotStartError: this machine may not bind there at all (no such address, no permission).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections only linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise CannotStartError(f"cannot use port {port} on {host}: {error.strerror}") from error
    return True


def next_free(preferred: int, *, host: str = "127.0.0.1", taken: Collection[int] = ()) -> int:
    """Return the first free port from `preferred` on that is not in `taken`.

    Raises:
        CannotStartError: none of the next `PORTS_TRIED_MAX` is free.
    """
    for port in _candidates(preferred):
        if port not in taken and is_free(port, host):
            return port
    raise CannotStartError(f"no free port on {host} from {preferred} to {preferred + PORTS_TRIED_MAX}")


def any_free(host: str = "127.0.0.1", *, together: int = 1) -> int:
    """Return the first of `together` free ports in a row, from where few programs look for one."""
    while True:
        port = secrets.choice(QUIET_PORTS)
        if all(is_free(port + offset, host) for offset in range(together)):
            return port


def answers(port: int, host: str = "127.0.0.1", timeout_s: float = 0.3) -> bool:
    """Return whether something accepts connections there."""
    with suppress(OSError), socket.create_connection((host, port), timeout_s):
        return True
    return False


def _candidates(preferred: int) -> Iterator[int]:
    yield from range(preferred, min(preferred + PORTS_TRIED_MAX, 65_536))

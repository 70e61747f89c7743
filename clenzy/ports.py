"""Free TCP ports."""

import errno
import fcntl
import os
import secrets
import socket
from contextlib import suppress

from clenzy.child import CannotStartError
from clenzy.temporary import own_temporary_folder

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


class Claims:
    """Free ports that are also nobody else's plan: two installations that start at once find the same ones free.

    A claim is a lock on a file; the system gives it free however we end.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        """`host` is where servers will bind."""
        self._host = host
        self._held: dict[int, int] = {}

    def take(self, port: int) -> bool:
        """Claim `port`; return whether it is free and unclaimed.

        Raises:
            CannotStartError: this machine may not bind there at all.
        """
        folder = own_temporary_folder(f"clenzy-ports-{os.geteuid()}")
        descriptor = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = is_free(port, self._host)
        except BlockingIOError:
            is_ours = False
        except BaseException:
            os.close(descriptor)
            raise
        if is_ours:
            self._held[port] = descriptor
        else:
            os.close(descriptor)
        return is_ours

    def next_free(self, preferred: int) -> int:
        """Claim and return the first possible port from `preferred` on.

        Raises:
            CannotStartError: none of the next `PORTS_TRIED_MAX` is free.
        """
        for port in range(preferred, min(preferred + PORTS_TRIED_MAX, 65_536)):
            if self.take(port):
                return port
        raise CannotStartError(f"no free port on {self._host} from {preferred} to {preferred + PORTS_TRIED_MAX}")

    def lost(self) -> list[int]:
        """Return which claimed ports cannot be bound: while nothing of ours runs, somebody else has them."""
        return [port for port in self._held if not is_free(port, self._host)]

    def release(self) -> None:
        """Give every claim up."""
        while self._held:
            _, descriptor = self._held.popitem()
            os.close(descriptor)

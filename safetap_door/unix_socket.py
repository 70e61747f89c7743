"""The Unix socket that the gateway and the API forward triggers through."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from config.limits import ACCEPT_BACKLOG

SOCKET_MODE: Final = 0o660
PROBE_TIMEOUT_S: Final = 1.0


@contextmanager
def listening_at(path: Path) -> Iterator[socket.socket]:
    """Listen at `path`, replacing a file that a killed process left, and remove it at the end.

    Raises:
        OSError: another process listens there, or the path cannot be used.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(SOCKET_MODE)
        inode = path.stat().st_ino
        listener.listen(ACCEPT_BACKLOG)
        listener.settimeout(0)
        yield listener
        with suppress(FileNotFoundError):
            if path.stat().st_ino == inode:  # else somebody has put theirs in its place
                path.unlink()
    finally:
        listener.close()


def _remove_stale(path: Path) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise OSError(f"another process listens at {path}")

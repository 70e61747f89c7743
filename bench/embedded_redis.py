"""The embedded Redis of `clenzy up`, in a folder of its own, for as long as a benchmark runs."""

import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from clenzy.child import store_account
from clenzy.ports import any_free
from clenzy.stores.home import store_home
from clenzy.stores.redis import Redis

START_S_MAX: Final = 15
STOP_S_MAX: Final = 10


@contextmanager
def embedded_redis() -> Iterator[str]:
    """Start a server on 127.0.0.1; the value is its URL.

    Raises:
        CannotStartError: it is not installed.
        RuntimeError: it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="clenzy-bench-", ignore_cleanup_errors=True) as folder:
        server = Redis(store_home(Path(folder), store_account()), password=secrets.token_urlsafe(16), port=any_free())
        server.prepare()
        command = server.command()
        process = subprocess.Popen(command.argv, stdout=subprocess.DEVNULL, **command.popen_arguments())  # noqa: S603 - a program of our own
        try:
            _wait(server, process)
            yield server.url
        finally:
            process.send_signal(command.stop_signal)
            process.wait(STOP_S_MAX)


def _wait(server: Redis, process: "subprocess.Popen[bytes]") -> None:
    until = time.perf_counter() + START_S_MAX
    while not server.answers():
        if process.poll() is not None or time.perf_counter() > until:
            raise RuntimeError("the embedded Redis does not answer")
        time.sleep(0.02)

"""Stores that outlived a supervisor which was killed: found by their pid file, stopped in good order."""

import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from clenzy.child import CannotStartError

STOP_S = 10
"""How long a leftover may take for each way of stopping it."""


def stop_leftover(pid_file: Path, mark: Path, ways: Sequence[signal.Signals]) -> None:
    """Stop the server that `pid_file` names, if it lives and has `mark` on its command line; remove the file.

    A stale file alone would do little harm, but its number may meanwhile belong to another process of the same
    account, and Postgres then refuses to start.

    Raises:
        CannotStartError: it does not stop.
    """
    process = _named_by(pid_file, mark)
    if process is not None and not _stop(process, ways):
        raise CannotStartError(f"an old server (pid {process.pid}) still runs on {mark} and does not stop")
    pid_file.unlink(missing_ok=True)


def _named_by(pid_file: Path, mark: Path) -> psutil.Process | None:
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        # Not its working folder: as root in a container that is hidden from us, the command line is not.
        if process.status() != psutil.STATUS_ZOMBIE and str(mark) in process.cmdline():
            return process
    return None


def _stop(process: psutil.Process, ways: Sequence[signal.Signals]) -> bool:
    for number in (*ways, signal.SIGKILL):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        with suppress(psutil.TimeoutExpired):
            process.wait(STOP_S)
            return True
    return False

"""How a child process is started: own session, own account, and never outliving whoever started it."""

import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec only async-signal-safe calls are allowed.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class CannotStartError(Exception):
    """Something that the installation needs cannot start; the message is the reason, for a person to read."""


@dataclass(frozen=True, slots=True)
class Account:
    """An operating system account that a child runs as."""

    uid: int
    gid: int


def store_account() -> Account | None:
    """Return whom the stores run as: `nobody` when we are root (Postgres refuses to run as root), else ourselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True, slots=True)
class Command:
    """One program to run."""

    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    """The whole environment; `None` hands on ours."""
    cwd: Path = Path("/")
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    """Asks it to end in good order."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when whoever started it is gone."""

    def popen_arguments(self) -> dict[str, Any]:
        """Return keyword arguments for `subprocess.Popen` and `asyncio.create_subprocess_exec`."""
        arguments: dict[str, Any] = {
            "cwd": self.cwd,
            "env": dict(self.env) if self.env is not None else None,
            "start_new_session": True,  # a Ctrl-C reaches the supervisor only, which then stops in order
            "preexec_fn": _die_with_parent(self.orphan_signal),
        }
        if self.account is not None:
            arguments |= {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        return arguments


def _die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Return a hook that runs in the child after its account has changed, which would clear the setting again."""
    parent = os.getpid()

    def arm() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, number.value, 0, 0, 0)
        if os.getppid() != parent:  # it died before the setting took hold
            os._exit(1)

    return arm

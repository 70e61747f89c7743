"""The shell around every composition root: settings, logs, event loop, signals, exit code."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
import uvloop
from pydantic import ValidationError

from config.limits import GC_OBJECTS
from config.settings import Settings
from ops.garbage import collect_seldom
from ops.logs import configure_logs
from ops.readiness import Readiness

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Process:
    """What a composition root starts from."""

    name: str
    settings: Settings
    readiness: Readiness = field(default_factory=Readiness)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a second signal: end at once, whatever is still to be done in good order."""

    async def until_stopped(self) -> None:
        """Wait for the end; call once everything is there that the process starts with."""
        collect_seldom(GC_OBJECTS)
        await self.stop.wait()


def run(name: str, root: Callable[[Process], Awaitable[None]]) -> None:
    """Run `root` until it ends or SIGINT/SIGTERM sets `process.stop`; exit 1 with the reason when it fails.

    A root opens what it needs, marks its readiness, waits for `process.stop` and closes in reverse order.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        print(f"{name}: settings: {error}", file=sys.stderr)  # noqa: T201 - logs are not configured yet
        sys.exit(1)
    configure_logs(name, settings)
    try:
        uvloop.run(_run(Process(name, settings), root))
    except Exception:
        log.exception("process.failed")
        sys.exit(1)


async def _run(process: Process, root: Callable[[Process], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    # Explicit handlers: a background job inherits an ignored SIGINT, and asyncio's own would raise inside any await.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _ask_to_stop, process)
    log.info("process.starting")
    await root(process)
    log.info("process.stopped")


def _ask_to_stop(process: Process) -> None:
    if process.stop.is_set():
        process.hurry.set()
    process.stop.set()

"""Runs an installation in the foreground: start, wait for the wish to stop, stop in good order, exit code."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from clenzy.child import CannotStartError, Command
from clenzy.installation import Installation, Plan
from clenzy.programs import ROOT
from clenzy.screen import Screen

ATTACHED_STOP_S: Final = 15
"""How long a program with our terminal may take to end, for instance to write its report."""

Stop = asyncio.Event
WhenUp = Callable[[Installation, Stop], Awaitable[int]]
"""What to do once everything is ready; returns the exit code. It should return soon after the event is set."""


async def run(plan: Plan, screen: Screen, when_up: WhenUp) -> int:
    """Start `plan`, do `when_up`, stop everything; return the exit code.

    SIGINT, SIGTERM and SIGHUP ask it to stop; a second one ends everything at once. The handlers are installed
    explicitly: a background job of a shell inherits an ignored SIGINT.
    """
    installation = Installation(plan, screen)
    stop = Stop()
    _on_signals(installation, stop)
    work = asyncio.create_task(_start_and_do(installation, stop, when_up))
    wish = asyncio.create_task(stop.wait())
    code = 0
    try:
        await asyncio.wait({work, wish}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            screen.say("Stopping ...")
        code = work.result() if work.done() else await _wind_up(work)
    except CannotStartError as error:
        installation.log.say("installation.failed", level="error", reason=str(error))
        screen.fail(str(error))
        code = 1
    finally:
        wish.cancel()
        await installation.stop()
    return code


async def until_stopped(_installation: Installation, stop: Stop) -> int:
    """Do nothing more until asked to stop."""
    await stop.wait()
    return 0


async def run_attached(argv: Sequence[str], stop: Stop, given: Mapping[str, str]) -> int:
    """Run `python -m argv` with our terminal; return its exit code. Asked to stop, it may end in good order."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **given}
    command = Command((sys.executable, "-m", *argv), env=env, cwd=Path.cwd())
    process = await asyncio.create_subprocess_exec(*command.argv, **command.popen_arguments())
    ended, asked = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            process.terminate()
            await asyncio.wait({ended}, timeout=ATTACHED_STOP_S)
        return await asyncio.wait_for(ended, 0) if ended.done() else 1
    finally:
        asked.cancel()
        if process.returncode is None:
            process.kill()


async def run_alone(argv: Sequence[str]) -> int:
    """Run `python -m argv` with our terminal and nothing beside it; return its exit code."""
    stop = Stop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await run_attached(argv, stop, {})


async def _start_and_do(installation: Installation, stop: Stop, when_up: WhenUp) -> int:
    await installation.start()
    installation.log.say("installation.ready")
    return await when_up(installation, stop)


async def _wind_up(work: "asyncio.Task[int]") -> int:
    """Give the work a moment to see the wish for itself; a start that is under way is broken off."""
    await asyncio.wait({work}, timeout=0.2)
    work.cancel()
    with suppress(asyncio.CancelledError):
        return await work
    return 0


def _on_signals(installation: Installation, stop: Stop) -> None:
    def asked() -> None:
        if stop.is_set():
            installation.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, asked)

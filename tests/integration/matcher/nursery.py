"""Starts the product's processes quickly: it has imported and compiled everything once, and forks for each.

`python -m tests.integration.matcher.nursery` reads one JSON object a line: what to start is answered with
`{"pid"}`, `{"pid"}` with `{"status"}`: how that process has ended, null while it runs. A child is the real program with
its own settings, policy file, crash point, event loop and sockets; nothing of the nursery runs in it but the fork.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Self

import api_rest.__main__
import engine.run_matcher
from engine.core import crash_point
from engine.geo import mirror
from engine.matcher import decision as deciding
from engine.matcher import rematcher
from engine.matcher.assignment import sparse
from engine.matcher.policy_watch import PolicyWatch
from ops.process import Process, run

ROOTS: dict[str, Callable[[Process], Awaitable[None]]] = {
    "matcher": engine.run_matcher.root,
    "api": api_rest.__main__.root,
}


def main() -> None:
    """Answer requests until the line ends."""
    for warm_up in (deciding.warm_up, mirror.warm_up, sparse.warm_up):
        warm_up()
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201 - the answer
    for line in sys.stdin:
        asked = json.loads(line)
        if "program" in asked:
            said = {"pid": _fork(asked)}
        else:
            pid, status = os.waitpid(asked["pid"], os.WNOHANG)
            said = {"status": os.waitstatus_to_exitcode(status) if pid else None}
        print(json.dumps(said), flush=True)  # noqa: T201 - the answer


def _fork(asked: dict) -> int:
    pid = os.fork()
    if pid:
        return pid
    log = os.open(asked["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(0)
    os.environ.update(asked["env"])
    wish = os.environ.get(crash_point.VARIABLE, "")
    rematcher.REMATCH_POLL_MS = 250  # nothing but time is saved
    # The file is no setting: an installation changes the shipped one.
    engine.run_matcher.PolicyWatch = partial(PolicyWatch, Path(asked["policy"]))
    crash_point._points = crash_point.CrashPoints(wish) if wish else None  # what importing it does in a new process
    run(asked["program"], ROOTS[asked["program"]])
    os._exit(0)


class Nursery:
    """The test's end of the line. Children die with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: set[int] = set()
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert (await self._answer())["ready"]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for pid in self._children:
            os.kill(pid, 9)
        self._process.kill()
        await self._process.wait()

    async def start(self, program: str, env: dict[str, str]) -> int:
        """Start a program and return its process id."""
        log, policy = self._folder / f"{program}.log", self._folder / "policy.toml"
        said = await self._ask({"program": program, "env": env, "log": str(log), "policy": str(policy)})
        self._children.add(said["pid"])
        return said["pid"]

    async def ends(self, pid: int) -> int | None:
        """Return how a process has ended, or None while it runs."""
        status = (await self._ask({"pid": pid}))["status"]
        if status is not None:
            self._children.discard(pid)
        return status

    async def _ask(self, request: dict) -> dict:
        async with self._turn:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            return await self._answer()

    async def _answer(self) -> dict:
        assert self._process.stdout is not None
        return json.loads(await self._process.stdout.readline())


if __name__ == "__main__":
    main()

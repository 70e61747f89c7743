"""The whole product as a newcomer starts it, in a process of its own, for tests that drive or harm it from outside."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

START_TIMEOUT_S = 200
"""The first start of a checkout compiles the kernels."""
STOP_TIMEOUT_S = 30
MODULES = {
    "gateway_ws": "gateway_ws",
    "api_rest": "api_rest",
    "safetap_door": "safetap_door",
    "matcher": "engine.run_matcher",
    "notify": "engine.run_notify",
    "zones": "engine.run_zones",
    "keeper": "engine.run_keeper",
}
STORES = {"redis": "redis-server", "postgres": "postgres"}


@dataclass
class Stack:
    """A running `clenzy demo`."""

    state_dir: Path
    process: "subprocess.Popen[bytes]"
    output: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the supervisor told the API: addresses of ports and stores."""
        return psutil.Process(self.pid("api_rest")).environ()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.environment['CLENZY_API_PORT']}"

    def pid(self, name: str) -> int:
        """Return the process id of a child by its name in `MODULES` or `STORES`.

        Raises:
            LookupError: it does not run right now.
        """
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if child.status() != psutil.STATUS_ZOMBIE and _is(name, child.cmdline()):
                    return child.pid
        raise LookupError(name)

    def password(self, email: str) -> str:
        passwords: dict[str, str] = json.loads((self.state_dir / "secrets" / "demo_passwords.json").read_text())
        return passwords[email]

    def kill(self, name: str) -> int:
        """End a child at once; return the process id that it had."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self) -> int:
        """Interrupt as Ctrl-C does; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_TIMEOUT_S)


@contextmanager
def state_folder() -> Iterator[Path]:
    """A folder that the stores' account can enter, so that they live in it and go with it."""
    folder = Path(tempfile.mkdtemp(prefix="clenzy-acceptance-"))
    folder.chmod(0o711)
    try:
        yield folder / "state"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(state_dir: Path, *options: str) -> Stack:
    """Start the demo without a simulator; return at once."""
    output = state_dir.with_suffix(".log")
    with output.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "clenzy", "demo", "--no-open", "--no-sim", "--state-dir", str(state_dir), *options],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    return Stack(state_dir, process, output)


async def wait_ready(stack: Stack, *, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait until every process says that it can work."""
    deadline = time.monotonic() + timeout_s
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
        while not await _is_ready(stack, http):
            assert stack.process.poll() is None, f"the demo ended: {stack.output.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"not ready in {timeout_s} s: {stack.output.read_text()[-3000:]}"
            await _pause()


async def wait_for(is_so: Callable[[], bool], *, what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Poll something of the outside world that sends no event."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        await _pause()


async def _pause() -> None:
    await asyncio.sleep(0.1)


async def _is_ready(stack: Stack, http: aiohttp.ClientSession) -> bool:
    try:
        for name in MODULES:
            environment = psutil.Process(stack.pid(name)).environ()
            port = environment[_port_variable(name)]
            async with http.get(f"http://127.0.0.1:{port}/readyz") as response:
                if response.status != 200:
                    return False
    except (LookupError, KeyError, psutil.Error, aiohttp.ClientError, OSError, TimeoutError):
        return False
    return True


def _port_variable(name: str) -> str:
    own = {"api_rest": "CLENZY_API_PORT", "gateway_ws": "CLENZY_GATEWAY_PORT", "safetap_door": "CLENZY_SAFETAP_PORT"}
    return own.get(name, "CLENZY_OPS_PORT")


def _is(name: str, command: list[str]) -> bool:
    if name in MODULES:
        return MODULES[name] in command
    # Postgres' children carry their duty in their title; the server itself its path and options.
    return bool(command) and command[0].endswith(f"/{STORES[name]}") and len(command) > 1

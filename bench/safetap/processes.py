"""SafeTap's door and the floods as processes of their own, each kept on one core."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import orjson

from bench.safetap.alarms import Calls
from bench.stream.product import Product
from bench.stream.rig import Rig, pin
from bench.stream.servers import ROOT
from clenzy.ports import any_free

READY_S_MAX: Final = 60
STOP_S_MAX: Final = 15
UNACKNOWLEDGED_PER_S: Final = 60_000
"""About what the gateway takes."""


@contextmanager
def door(under_test: Product, cpu: int, *, name: str = "door") -> Iterator[int]:
    """Run SafeTap's door of the installation; the value is its port."""
    port = any_free()
    environment = {
        **under_test.environment,
        "CLENZY_SAFETAP_PORT": str(port),
        "CLENZY_SAFETAP_SOCKET": f"{under_test.environment['CLENZY_STATE_DIR']}/{name}.sock",
        "CLENZY_LOG_LEVEL": "ERROR",
    }
    process = subprocess.Popen((sys.executable, "-m", "safetap_door"), env=environment, cwd=ROOT)
    try:
        until = time.perf_counter() + READY_S_MAX
        while not _is_ready(port):
            if process.poll() is not None or time.perf_counter() > until:
                raise RuntimeError("SafeTap's door is not ready")
            time.sleep(0.1)
        pin([process.pid], cpu)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def flooded(
    rig: Rig, port: int, tokens: Sequence[str], *, from_ms: int, folder: Path, seconds: float
) -> Iterator[None]:
    """Flood a server with pings from its own core, so that this core does nothing else."""
    arguments = ["--port", str(port), "--from-ms", str(from_ms), "--seconds", str(seconds)]
    if not tokens:  # a server that acknowledges nothing
        arguments += ["--per-s", str(UNACKNOWLEDGED_PER_S)]
    else:
        file = folder / "tokens"
        file.write_text("\n".join(tokens))
        arguments += ["--tokens", str(file)]
    with _running("bench.safetap.flood", arguments, rig.server_cpu):
        yield


@contextmanager
def forging(rig: Rig, port: int, *, per_s: float, connections: int, seconds: float) -> Iterator[list[float]]:
    """Send forged alarms; after the block the list holds how many were sent, and answered, a second."""
    arguments = ["--port", str(port), "--per-s", str(per_s), "--connections", str(connections)]
    answered: list[float] = []
    with _running("bench.safetap.forge", [*arguments, "--seconds", str(seconds)], rig.server_cpu) as process:
        yield answered
        assert process.stdout is not None
        answered.extend(map(float, process.stdout.readline().split()))


def called_in_between(rig: Rig, under_test: Product, tokens: Sequence[str], *, folder: Path) -> Calls:
    """Let workers flood their own sockets and call through them; return what became of the calls."""
    file = folder / "callers"
    file.write_text("\n".join(tokens))
    arguments = ["--port", str(under_test.port), "--from-ms", str(under_test.fix_now_ms()), "--tokens", str(file)]
    calls = Calls()
    with _running("bench.safetap.own_socket", [*arguments, "--seconds", str(rig.seconds)], rig.server_cpu) as process:
        assert process.stdout is not None
        told = orjson.loads(process.stdout.readline())
    calls.delays_ms = told["delays_ms"]
    calls.kept = {UUID(one) for one in told["committed"]}
    calls.states.update(committed=len(calls.kept), lost=told["unanswered"])
    return calls


@contextmanager
def _running(module: str, arguments: Sequence[str], cpu: int) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(  # noqa: S603 - a program of our own
        (sys.executable, "-m", module, *arguments), stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "running":
            raise RuntimeError(f"{module} does not run")
        pin([process.pid], cpu)
        yield process
    finally:
        process.kill()
        process.wait(STOP_S_MAX)
        if process.stdout is not None:
            process.stdout.close()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False

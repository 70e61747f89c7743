"""A Chromium to drive: an installed one, else one that can be installed here, else a plain reason why not."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

VARIABLES = ("CLENZY_CHROMIUM", "CHROME_PATH", "CHROMIUM_PATH", "CHROME_BIN")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
INSTALL_TIMEOUT_S = 240

FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
)
"""Headless as root, and quiet: a browser that phones home would hide whether our pages do. Its microphone beeps."""


class NoChromiumError(Exception):
    """There is none, and none could be installed."""


@cache
def find_chromium() -> str:
    """Return the path of a Chromium, installing one where that is possible.

    Raises:
        NoChromiumError: with everything that was tried.
    """
    if path := _named() or _on_path() or _of_playwright():
        return path
    tried = [f"none in {', '.join(VARIABLES)} or on PATH"]
    for name, install in (("playwright's download", _download), ("apt-get", _apt)):
        reason = install()
        if reason is None and (path := _on_path() or _of_playwright()):
            return path
        tried.append(f"{name}: {reason or 'brought none'}")
    raise NoChromiumError("; ".join(tried))


def needed_chromium() -> str:
    """Return the path of a Chromium; without one the test is skipped, or fails where every test must run."""
    try:
        return find_chromium()
    except NoChromiumError as error:
        reason = f"no Chromium for the browser tests: {error}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def _named() -> str | None:
    paths = (os.environ.get(variable) for variable in VARIABLES)
    return next((path for path in paths if path and Path(path).exists()), None)


def _on_path() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def _of_playwright() -> str | None:
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def _download() -> str | None:
    return _run(sys.executable, "-m", "playwright", "install", "chromium")


def _apt() -> str | None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "needs apt and root"
    return _run("apt-get", "update", "-qq") or _run("apt-get", "install", "-y", "-qq", "chromium")


def _run(*command: str) -> str | None:
    """Run a program; return why it failed, or None."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    said = [line.strip() for line in done.stderr.splitlines() if "error" in line.lower()]
    return next(iter(said), f"exit code {done.returncode}")

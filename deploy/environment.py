"""Make `.venv` hold exactly what a lock file names: `python3 deploy/environment.py runtime|dev`.

Runs on a bare Python 3.11 or 3.12 with pip, so it imports the standard library only. uv comes from pip into a folder of
its own, because syncing removes what the lock does not name. Does nothing when the lock has not changed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
UV_FOLDER = ROOT / ".venv-uv"
UV_LOCK = ROOT / "requirements-uv.lock"
LOCKS = {"runtime": ROOT / "requirements.lock", "dev": ROOT / "requirements-dev.lock"}
STAMP = VENV / "clenzy-locks.json"
UV_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}
"""pip's settings that decide where packages come from, and the variables by which uv takes them."""


def main(wanted: str) -> None:
    """Bring the environment to the lock called `wanted`."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        sys.exit(f"Clenzy needs Python 3.11 or 3.12; this is {sys.version.split()[0]}. Name another: make PYTHON=...")
    if _is_current(wanted):
        return
    print(f"Installing locked packages ({wanted}) into .venv ...", flush=True)
    uv = _uv()
    python = _python()
    command = [uv, "pip", "sync", "--python", str(python), "--require-hashes", "--compile-bytecode", str(LOCKS[wanted])]
    # As pip does, look at every index for the best match; the hashes say what may be installed.
    settings = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_PYTHON_DOWNLOADS": "never", "UV_HTTP_TIMEOUT": "120"}
    _run(command, env={**_uv_environment(), **settings})
    _put_project_on_path(python)
    STAMP.write_text(json.dumps({"wanted": wanted, "stamp": _stamp(wanted)}))


def _stamp(wanted: str) -> str:
    parts = (Path(__file__).read_bytes(), LOCKS[wanted].read_bytes(), str(ROOT).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _is_current(wanted: str) -> bool:
    try:
        found = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    # What is there for developers has all that the product needs: no going back and forth between the two.
    enough = {"runtime": ("runtime", "dev"), "dev": ("dev",)}[wanted]
    return found["wanted"] in enough and found["stamp"] == _stamp(found["wanted"])


def _uv() -> str:
    """Return uv's path; installed by pip, at the version and hash that the repository names."""
    program = UV_FOLDER / "bin" / "uv"
    mark = UV_FOLDER / hashlib.sha256(UV_LOCK.read_bytes()).hexdigest()[:16]
    if not (program.exists() and mark.exists()):
        shutil.rmtree(UV_FOLDER, ignore_errors=True)
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:", "--require-hashes"]
        _run([sys.executable, "-m", "pip", "install", *options, "--target", str(UV_FOLDER), "-r", str(UV_LOCK)])
        mark.touch()
    return str(program)


def _python() -> Path:
    """Return the environment's Python; an environment whose Python is gone or unfit is replaced."""
    python = VENV / "bin" / "python"
    if _site_packages(python) is None:
        shutil.rmtree(VENV, ignore_errors=True)
        # Without pip: Debian ships `venv` but not always `ensurepip`, and uv does the installing.
        _run([sys.executable, "-m", "venv", "--without-pip", str(VENV)])
    return python


def _site_packages(python: Path) -> Path | None:
    """Return where this Python keeps its packages; `None` when it does not run or has the wrong version."""
    code = "import sys, sysconfig\n(3, 11) <= sys.version_info[:2] <= (3, 12) and print(sysconfig.get_path('purelib'))"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return Path(done.stdout.strip()) if done.stdout.strip() else None


def _uv_environment() -> dict[str, str]:
    """Return our environment with pip's configuration in uv's words; what is already set for uv wins."""
    environment = dict(os.environ)
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        key, _, value = line.partition("=")
        variable = UV_SETTINGS.get(key.rpartition(".")[2])
        if variable is not None and key.partition(".")[0] in {"global", "install", ":env:"}:
            words = value.strip("'\"").replace("\\n", " ").split()
            environment.setdefault(variable, ("," if variable == "UV_FIND_LINKS" else " ").join(words))
    return environment


def _put_project_on_path(python: Path) -> None:
    """Make the checkout importable and give it its `clenzy` command; nothing is built, so no build tool is needed."""
    site = _site_packages(python)
    assert site is not None, f"{python} does not run"
    (site / "clenzy-checkout.pth").write_text(f"{ROOT}\n")
    command = VENV / "bin" / "clenzy"
    command.write_text(f'#!/bin/sh\nexec "{python}" -m clenzy "$@"\n')
    command.chmod(0o755)


def _run(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, check=False, env=env)
    if done.returncode != 0:
        sys.exit(f"failed ({done.returncode}): {' '.join(command)}")


if __name__ == "__main__":
    main(sys.argv[1])

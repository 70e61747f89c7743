"""The state folder of one installation: who holds it, its secrets, its keys."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from clenzy.child import CannotStartError

DEMO_ACCOUNTS = (
    "admin@demo.clenzy.test",
    "dispatcher@demo.clenzy.test",
    "dispatcher2@demo.clenzy.test",
    "customer@demo.clenzy.test",
    "worker@demo.clenzy.test",
)


class StateInUseError(CannotStartError):
    """Another installation runs in this folder."""


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Make `folder` ours while the block runs; the system gives it free however we end.

    Raises:
        StateInUseError: another process holds it.
        CannotStartError: the folder cannot be made.
    """
    lock_file = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CannotStartError(f"cannot use {folder} as state folder: {error.strerror}") from error
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = lock.read().strip() or "unknown"
            raise StateInUseError(
                f"another Clenzy (pid {holder}) runs in {folder}: stop it, or choose another folder with --state-dir"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield folder


def note_running(folder: Path, facts: dict[str, object]) -> None:
    """Write down how the installation in `folder` runs, for other commands."""
    write_private(folder / "secrets" / "running.json", json.dumps(facts))


def running(folder: Path) -> dict[str, object] | None:
    """Return what `note_running` wrote if the installation in `folder` runs now."""
    try:
        with held(folder):
            return None
    except StateInUseError:
        path = folder / "secrets" / "running.json"
        facts: dict[str, object] | None = json.loads(path.read_text()) if path.exists() else None
        return facts


def secret(folder: Path, name: str) -> str:
    """Return the secret called `name`; made up at first use, then kept."""
    path = folder / "secrets" / name
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text()


def demo_passwords(folder: Path, accounts: Sequence[str] = DEMO_ACCOUNTS) -> Path:
    """Return the file of the demo's random passwords: JSON, password by e-mail address."""
    path = folder / "secrets" / "demo_passwords.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    wanted = {account: found.get(account) or secrets.token_urlsafe(9) for account in accounts}
    if wanted != found:
        write_private(path, json.dumps(wanted, indent=2))
    return path


def ensure_keys(folder: Path) -> tuple[Path, Path]:
    """Return the files of the key pair that signs access tokens (Ed25519, PEM): private, public."""
    private, public = folder / "keys" / "jwt_private.pem", folder / "keys" / "jwt_public.pem"
    if not private.exists():
        key = Ed25519PrivateKey.generate()
        public_pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_private(public, public_pem.decode())
        # The private half last: a kill in between leaves nothing that looks like a pair.
        write_private(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    return private, public


def ensure_vapid_key(folder: Path) -> Path:
    """Return the file of the key that signs Web Push (P-256, PEM)."""
    file = folder / "keys" / "vapid_private.pem"
    if not file.exists():
        key = generate_private_key(SECP256R1())
        write_private(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    return file


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    building = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    descriptor = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    building.replace(path)

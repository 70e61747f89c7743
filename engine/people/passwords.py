"""Password hashing with Argon2id. Slow on purpose, so `Passwords` runs it on threads of its own, off the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from config.limits import PASSWORD_THREADS

# OWASP's first choice for Argon2id (Password Storage Cheat Sheet, 2024): 19 MiB, 2 passes, 1 lane; about 20 ms here.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)

_NOBODYS_HASH: Final = _HASHER.hash("nobody's password", salt=bytes(16))
"""Checked where there is no account, so that an unknown e-mail takes as long as a wrong password."""


def hash_password(password: str) -> str:
    """Return the encoded Argon2id hash of `password` with a random salt. Blocks for about 20 ms."""
    return _HASHER.hash(password)


def verify_password(password_hash: str | None, password: str) -> bool:
    """Return whether `password` made `password_hash`; without a hash it takes as long and is never right."""
    try:
        _HASHER.verify(_NOBODYS_HASH if password_hash is None else password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def needs_rehash(password_hash: str) -> bool:
    """Return whether the hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(password_hash)


class Passwords:
    """The functions above on threads of their own (`limits.PASSWORD_THREADS`); more callers wait their turn."""

    def __init__(self, threads: int = PASSWORD_THREADS) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")

    def close(self) -> None:
        """Let the threads end; who still waits is cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return the hash of a new password."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, hash_password, password)

    async def hash_all(self, passwords: list[str | None]) -> list[str | None]:
        """Return the hashes of many, `None` where there is no password."""
        return list(await asyncio.gather(*(_none() if word is None else self.hash(word) for word in passwords)))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Return whether the password is right."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, verify_password, password_hash, password)


async def _none() -> None:
    return None

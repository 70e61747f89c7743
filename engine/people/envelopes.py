"""Envelopes: what is personal is sealed with a key of its person, and that key is wrapped by the installation's.

Pure: knows no store and no file; randomness is handed in. AES-256-GCM throughout (NIST SP 800-38D), so that what was
changed does not open. Destroying a person's wrapped key erases everything that was sealed with it, in every copy.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
KEY_NAME_BYTES: Final = 8
"""A wrapped key begins with the name of what wraps it."""
OVERHEAD_BYTES: Final = 1 + NONCE_BYTES + 16
"""By how much an envelope is longer than its content: form, nonce, tag."""
FORM: Final = b"\x01"
"""The first byte of every envelope: another way to seal would get another."""
WRAP_CONTEXT: Final = b"clenzy person key"

RandomBytes = Callable[[int], bytes]


class CannotOpenError(Exception):
    """An envelope or a wrapped key was made with another key, or was changed."""


@dataclass(frozen=True, slots=True)
class WrappingKeys:
    """The installation's keys by name (`KEY_NAME_BYTES` bytes), the one that wraps from now on, and the index's."""

    active: bytes
    by_name: Mapping[bytes, bytes]
    index_key: bytes

    def __post_init__(self) -> None:
        """Refuse a ring that could not open what it wraps."""
        if self.active not in self.by_name:
            raise ValueError("the active key is not among the keys")
        if any(len(name) != KEY_NAME_BYTES for name in self.by_name):
            raise ValueError(f"a key's name has {KEY_NAME_BYTES} bytes")
        if any(len(key) != KEY_BYTES for key in (*self.by_name.values(), self.index_key)):
            raise ValueError(f"a key has {KEY_BYTES} bytes")


def seal(key: bytes, content: bytes, *, random: RandomBytes) -> bytes:
    """Return `content` in an envelope that only `key` opens."""
    nonce = random(NONCE_BYTES)
    return FORM + nonce + AESGCM(key).encrypt(nonce, content, FORM)


def open_envelope(key: bytes, sealed: bytes) -> bytes:
    """Return what is in an envelope.

    Raises:
        CannotOpenError: it was sealed with another key, or changed.
    """
    form, nonce, rest = sealed[:1], sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    if form != FORM:
        raise CannotOpenError("nobody knows this form of envelope")
    try:
        return AESGCM(key).decrypt(nonce, rest, FORM)
    except (InvalidTag, ValueError):
        raise CannotOpenError("it was sealed with another key, or changed") from None


def wrap(keys: WrappingKeys, data_key: bytes, *, random: RandomBytes) -> bytes:
    """Return a person's key, wrapped by the active key."""
    nonce = random(NONCE_BYTES)
    wrapped = AESGCM(keys.by_name[keys.active]).encrypt(nonce, data_key, WRAP_CONTEXT + keys.active)
    return keys.active + nonce + wrapped


def wrapped_by(wrapped: bytes) -> bytes:
    """Return the name of the key that a person's key is wrapped by."""
    return wrapped[:KEY_NAME_BYTES]


def unwrap(keys: WrappingKeys, wrapped: bytes) -> bytes:
    """Return a person's key.

    Raises:
        CannotOpenError: the key that wraps it is not there, or it was changed.
    """
    name, rest = wrapped_by(wrapped), wrapped[KEY_NAME_BYTES:]
    key = keys.by_name.get(name)
    if key is None:
        raise CannotOpenError(f"there is no wrapping key {name.hex()}")
    try:
        return AESGCM(key).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], WRAP_CONTEXT + name)
    except (InvalidTag, ValueError):
        raise CannotOpenError(f"what {name.hex()} wraps was changed") from None


def blind_index(keys: WrappingKeys, text: str) -> bytes:
    """Return a keyed hash by which an address is found again without being kept."""
    return hmac.new(keys.index_key, text.encode(), hashlib.sha256).digest()

"""The file of the wrapping keys: JSON, readable by its owner alone, made at first use where none is named.

`{"active": NAME, "keys": {NAME: KEY}, "index": KEY}`; names in hex, keys in base64. It never goes into a database or
into the same backup as one. Whoever wraps reads it again, so that a rotation counts at once and in every process.
"""

import base64
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from config.settings import Settings
from engine.people.envelopes import KEY_BYTES, KEY_NAME_BYTES, WrappingKeys

FILE_NAME: Final = "person_keys.json"


class Keyring:
    """The wrapping keys as they stand in their file."""

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            ValueError: it does not hold such keys.
            OSError: it cannot be read.
        """
        self._file = file
        self._keys = read_keys(file)

    @property
    def keys(self) -> WrappingKeys:
        """The keys as they were read last."""
        return self._keys

    def read_again(self) -> WrappingKeys:
        """Return the keys as they stand in the file now."""
        self._keys = read_keys(self._file)
        return self._keys

    def holding(self, name: bytes) -> WrappingKeys:
        """Return the keys, read again if the one called `name` is not known yet."""
        return self._keys if name in self._keys.by_name else self.read_again()


def person_keys_file(settings: Settings) -> Path:
    """Return the file of an installation's wrapping keys; its own is made if it is not there yet.

    Raises:
        FileNotFoundError: the file that is named is not there; that one is never made up.
    """
    if settings.person_keys_file is None:
        return ensure_keyring(settings.state_dir / "keys" / FILE_NAME)
    if not settings.person_keys_file.exists():
        raise FileNotFoundError(f"CLENZY_PERSON_KEYS_FILE: there is no {settings.person_keys_file}")
    return settings.person_keys_file


def open_keyring(settings: Settings) -> Keyring:
    """Return an installation's wrapping keys.

    Raises:
        ValueError, OSError: their file cannot be read.
    """
    return Keyring(person_keys_file(settings))


def ensure_keyring(file: Path) -> Path:
    """Make the file unless it is there; of several processes that make it at once, one wins and all read the same."""
    if file.exists():
        return file
    name = secrets.token_bytes(KEY_NAME_BYTES)
    keys = WrappingKeys(name, {name: secrets.token_bytes(KEY_BYTES)}, secrets.token_bytes(KEY_BYTES))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    building = _written(file, keys)
    try:
        file.hardlink_to(building)
    except FileExistsError:
        return file
    finally:
        building.unlink()
    return file


def read_keys(file: Path) -> WrappingKeys:
    """Return what a file holds.

    Raises:
        ValueError: it does not hold such keys; the message names no key.
        OSError: it cannot be read.
    """
    try:
        fields = json.loads(file.read_text())
        keys = {bytes.fromhex(name): base64.b64decode(key) for name, key in fields["keys"].items()}
        return WrappingKeys(bytes.fromhex(fields["active"]), keys, base64.b64decode(fields["index"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{file} holds no wrapping keys: {type(error).__name__}") from None


def add_key(file: Path) -> bytes:
    """Add a key that wraps from now on, and return its name; the others still open what they wrapped."""
    old = read_keys(file)
    name = secrets.token_bytes(KEY_NAME_BYTES)
    _replace(file, WrappingKeys(name, {**old.by_name, name: secrets.token_bytes(KEY_BYTES)}, old.index_key))
    return name


def destroy_old_keys(file: Path) -> int:
    """Take every key but the active one out of the file; return how many. What they wrapped is lost everywhere."""
    old = read_keys(file)
    kept: Mapping[bytes, bytes] = {old.active: old.by_name[old.active]}
    _replace(file, WrappingKeys(old.active, kept, old.index_key))
    return len(old.by_name) - 1


def _replace(file: Path, keys: WrappingKeys) -> None:
    _written(file, keys).replace(file)


def _written(file: Path, keys: WrappingKeys) -> Path:
    """Return a file beside `file` that holds `keys`, flushed to the disk."""
    text = json.dumps(
        {
            "active": keys.active.hex(),
            "keys": {name.hex(): base64.b64encode(key).decode() for name, key in keys.by_name.items()},
            "index": base64.b64encode(keys.index_key).decode(),
        },
        indent=2,
    )
    building = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    return building

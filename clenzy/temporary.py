"""Folders of our own under the system's temporary one, where anybody may create anything."""

import os
import stat
import tempfile
from pathlib import Path

from clenzy.child import CannotStartError


def own_temporary_folder(name: str, *, mode: int = 0o700) -> Path:
    """Return the folder called `name` there; the same at every call.

    Raises:
        CannotStartError: somebody else made it, so it cannot be trusted.
    """
    folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(mode=mode, exist_ok=True)
    entry = folder.lstat()
    if not stat.S_ISDIR(entry.st_mode) or entry.st_uid != os.geteuid():
        raise CannotStartError(f"{folder} belongs to somebody else: remove it, or set TMPDIR to another folder")
    folder.chmod(mode)
    return folder

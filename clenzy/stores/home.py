"""Where the embedded stores live, so that the account they run as can reach both its data and its programs."""

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from clenzy.child import Account, CannotStartError
from clenzy.temporary import own_temporary_folder


@dataclass(frozen=True, slots=True)
class StoreHome:
    """A folder for both stores and the account that they run as (`None`: ours)."""

    folder: Path
    account: Account | None
    moved_because: str = ""
    """Why it is not in the state folder, for a person to read."""

    def data_folder(self, name: str) -> Path:
        """Create `folder/name`, for the store's account alone, and return it."""
        folder = self.folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        self.give(folder)
        return folder

    def give(self, path: Path) -> None:
        """Make the store's account the owner of `path`."""
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def programs(self, package: str, program: str) -> Path:
        """Return the path of `program` (relative, inside an installed `package`) where the account can run it.

        As root the package often sits where `nobody` cannot look (`/root/...`): then it is copied here once.

        Raises:
            CannotStartError: the package is not installed.
        """
        root = _package_folder(package)
        if self.account is None or may_reach(root / program, self.account):
            return root / program
        return self._copied(root) / program

    def _copied(self, package: Path) -> Path:
        stamp = hashlib.sha256(f"{package}:{package.stat().st_mtime_ns}".encode()).hexdigest()[:12]
        target = self.folder / f"programs-{stamp}"
        if not (target / package.name).exists():
            building = Path(tempfile.mkdtemp(prefix="building-", dir=self.folder))
            for part in (package, package.with_name(f"{package.name}.libs")):  # wheels keep their libraries beside them
                if part.exists():
                    shutil.copytree(part, building / part.name, symlinks=True)
            _open_to_all(building)
            target.mkdir(mode=0o755, exist_ok=True)
            target.chmod(0o755)
            for part in building.iterdir():
                part.rename(target / part.name)
            building.rmdir()
        return target / package.name


def store_home(state_dir: Path, account: Account | None) -> StoreHome:
    """Return where the stores of the installation in `state_dir` live; both folders exist afterwards.

    Raises:
        CannotStartError: the fallback under the system's temporary folder belongs to somebody else.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    state_dir.chmod(0o711 if account else 0o700)
    folder = state_dir.resolve() / "stores"
    if account is None:
        folder.mkdir(mode=0o700, exist_ok=True)
        return StoreHome(folder, None)
    if may_reach(state_dir.resolve(), account):
        folder.mkdir(mode=0o711, exist_ok=True)
        folder.chmod(0o711)
        return StoreHome(folder, account)
    return StoreHome(
        own_temporary_folder(f"clenzy-{_name_kept_in(state_dir)}", mode=0o711),
        account,
        moved_because=f"the stores run as 'nobody', who cannot reach {state_dir.resolve()}",
    )


def may_reach(path: Path, account: Account) -> bool:
    """Return whether `account` may enter every folder on the way to `path` and read (a folder: enter) it."""
    path = path.resolve()
    if not all(_may(parent, account, stat.S_IXOTH) for parent in path.parents):
        return False
    return _may(path, account, stat.S_IXOTH if path.is_dir() else stat.S_IROTH)


def _may(path: Path, account: Account, other_bit: int) -> bool:
    entry = path.stat()
    if entry.st_uid == account.uid:
        return bool(entry.st_mode & (other_bit << 6))
    if entry.st_gid == account.gid:
        return bool(entry.st_mode & (other_bit << 3))
    return bool(entry.st_mode & other_bit)


def _name_kept_in(state_dir: Path) -> str:
    """Return the name of the folder elsewhere: made up once, so that a state folder made anew gets stores made anew.

    Their passwords are in the state folder: without it nobody could open the old ones.
    """
    kept = state_dir / "stores-name"
    if not kept.exists():
        kept.write_text(secrets.token_hex(6))
    return kept.read_text()


def _package_folder(package: str) -> Path:
    spec = find_spec(package)  # finds the files without running the package
    if spec is None or spec.origin is None:
        raise CannotStartError(
            f"no DATABASE_URL / REDIS_URL is set and the embedded stores are not installed (no package '{package}'): "
            "install clenzy[embedded], or set both"
        )
    return Path(spec.origin).parent


def _open_to_all(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)

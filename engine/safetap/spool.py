"""Where triggers wait while Postgres is away: one append-only file a process, on this machine's disk.

An append returns only after `fdatasync`, so what it returned for survives the process, and the machine unless its disk
dies. Each record is framed `length u32, crc32 u32, payload` (little-endian): a kill in mid-write leaves a torn tail,
which was never acknowledged and is not read. The file is locked while its process lives; the next process takes over
whatever nobody holds. Delivery is at least once: who delivers must be idempotent. Of one key there is one record.
A record, or a file, that is stuck for a reason of its own holds up no other.
"""

import asyncio
import fcntl
import os
import struct
import zlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from uuid import UUID

import structlog

from config.limits import SPOOL_BYTES_MAX, SPOOL_REPLAY_BATCH, SPOOLED_PER_PERSON_MAX, TRIGGER_BYTES_MAX
from engine.core.crash_point import crash_point

log = structlog.get_logger(__name__)
T = TypeVar("T")

FRAME: Final = struct.Struct("<II")
RECORD_BYTES_MAX: Final = 4 * TRIGGER_BYTES_MAX
"""A length beyond this is no record of ours: the tail begins there."""
SUFFIX: Final = ".spool"
REFUSED: Final = "refused"
"""Extension of the file that keeps what Postgres will never take, for a human to look at. Never replayed."""


@dataclass(frozen=True, slots=True)
class _Append:
    key: Hashable
    owner: Hashable
    record: bytes
    written: "asyncio.Future[None]"


class Delivery(Enum):
    """What became of one record."""

    DONE = auto()
    AWAY = auto()
    """Not now: this record and those after it stay."""
    STUCK = auto()
    """Not this one, for a reason of its own: it stays, those after it are offered."""
    REFUSED = auto()
    """Never: kept aside, the next one is tried."""


Deliver = Callable[[Sequence[bytes]], Awaitable[Sequence[Delivery]]]
"""Takes records in their order and says what became of each; those behind one that is `AWAY` are offered again."""


@dataclass(frozen=True, slots=True)
class _Offered:
    """What became of a file's records: how many bytes of it, from its beginning on, are done with."""

    done_bytes: int
    read_bytes: int
    """Where its readable records end, unless the offering ended before."""
    is_away: bool
    """The store takes nothing now: no other file is offered either."""


class SpoolFull(OSError):  # noqa: N818 - named as the state, as the errors of the core are
    """The spool has reached `limits.SPOOL_BYTES_MAX`, or whose record it is has their share of it."""


def frame(payload: bytes) -> bytes:
    """Return `payload` as it stands in the file."""
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def read_frames(data: bytes) -> Iterator[bytes]:
    """Yield the whole records of a spool file and stop at its torn tail."""
    at = 0
    while at + FRAME.size <= len(data):
        length, checksum = FRAME.unpack_from(data, at)
        payload = data[at + FRAME.size : at + FRAME.size + length]
        if length > RECORD_BYTES_MAX or len(payload) < length or zlib.crc32(payload) != checksum:
            return
        yield payload
        at += FRAME.size + length


class Spool:
    """The spool of this process; enter it before use. File work runs on one thread of its own, in order."""

    def __init__(
        self, folder: Path, *, name: UUID, bytes_max: int = SPOOL_BYTES_MAX, share_max: int = SPOOLED_PER_PERSON_MAX
    ) -> None:
        self._folder = folder
        self._path = folder / f"{name}{SUFFIX}"
        self._bytes_max = bytes_max
        self._share_max = share_max
        self._fd = -1
        self._size = 0
        self._delivered = 0
        self._waiting: list[_Append] = []
        """Records that the next write takes, all with one sync."""
        self._under_way: dict[Hashable, asyncio.Future[None]] = {}
        self._keys: deque[tuple[Hashable, Hashable, int]] = deque()
        """Key, owner and bytes of each record in this process's own file that is not delivered yet, in its order."""
        self._shares: Counter[Hashable] = Counter()
        """How many of those, and of what waits to be written, are one owner's."""
        self._held: set[Hashable] = set()
        self._aside: set[bytes] = set()
        """What this process has kept aside: a file that must wait for its other records is offered again whole."""
        self._is_writing = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")

    async def __aenter__(self) -> Self:
        """Create this process's file."""
        await self._in_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, and remove it when nothing waits in it."""
        await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    @property
    def waiting_bytes(self) -> int:
        """How much of this process's own file is not delivered yet."""
        return self._size - self._delivered

    async def append(self, payload: bytes, key: Hashable) -> None:
        """Put a record on disk, or find one of this key there; return when it is there.

        Raises:
            SpoolFull: there is no room.
            OSError: the disk refuses; the record may or may not be found later.
        """
        await asyncio.shield(self.put(payload, key))

    def put(self, payload: bytes, key: Hashable, *, owner: Hashable = None) -> "asyncio.Future[None]":
        """Begin to put a record on disk; what is returned is done when it is there, and fails as `append` does.

        A phone sends again until Postgres has its alarm: an outage must not fill the disk with what is there already,
        nor with what one `owner` sends. `None`: nobody's, which has no share.
        """
        assert len(payload) <= RECORD_BYTES_MAX
        written = self._under_way.get(key)
        if written is None:
            written = asyncio.get_running_loop().create_future()
            if key in self._held:
                written.set_result(None)
                return written
            if owner is not None and self._shares[owner] >= self._share_max:
                written.set_exception(SpoolFull(f"{self._share_max} records of one owner wait"))
                written.exception()  # who asked may have left
                return written
            self._shares[owner] += 1
            self._under_way[key] = written
            written.add_done_callback(lambda _: self._under_way.pop(key, None))
            self._waiting.append(_Append(key, owner, frame(payload), written))
            self._write_waiting()
        return written

    async def replay(self, deliver: Deliver) -> bool:
        """Offer what waits to `deliver`, also what killed processes left; return whether nothing waits any more."""
        is_empty = True
        adoptions = [partial(self._adopt, path) for path in await self._others()]
        files: list[Callable[[Deliver], Awaitable[_Offered]]] = [self._deliver_own, *adoptions]
        for deliver_file in files:
            try:
                offered = await deliver_file(deliver)
            except OSError:
                log.exception("spool.unreadable")
                is_empty = False
                continue
            if offered.is_away:
                return False
            is_empty &= offered.done_bytes == offered.read_bytes
        return is_empty

    def _write_waiting(self) -> None:
        if self._is_writing or not self._waiting:
            return
        self._is_writing = True
        batch, self._waiting = self._waiting, []
        records = [one.record for one in batch]
        work = asyncio.get_running_loop().run_in_executor(self._thread, self._append, records)
        work.add_done_callback(partial(self._wrote, batch))

    def _wrote(self, batch: "list[_Append]", work: "asyncio.Future[list[OSError | None]]") -> None:
        self._is_writing = False
        for one, error in zip(batch, work.result(), strict=True):
            if error is None:
                self._keys.append((one.key, one.owner, len(one.record)))
                self._held.add(one.key)
                one.written.set_result(None)
            else:
                self._return_share(one.owner)
                one.written.set_exception(error)
                one.written.exception()  # who waited may have left
        self._write_waiting()

    def _let_go(self, size: int) -> None:
        """Count so many bytes as delivered, and forget whose they were."""
        self._delivered += size
        while size > 0:
            key, owner, record_size = self._keys.popleft()
            self._held.discard(key)
            self._return_share(owner)
            size -= record_size

    def _return_share(self, owner: Hashable) -> None:
        self._shares[owner] -= 1
        if not self._shares[owner]:
            del self._shares[owner]

    async def _deliver_own(self, deliver: Deliver) -> _Offered:
        data = await self._in_thread(self._read_own)
        offered = await self._offer(data, deliver)
        self._let_go(offered.done_bytes)
        if offered.is_away or offered.done_bytes < offered.read_bytes:
            return offered
        if rest := data[offered.read_bytes :]:  # no torn tail here, every record was synced
            log.error("spool.unreadable", file=self._path.name, bytes=len(rest))
            await self._in_thread(self._keep_aside, rest)
            self._let_go(len(rest))
        await self._in_thread(self._truncate_if_delivered)
        return offered

    async def _adopt(self, path: Path, deliver: Deliver) -> _Offered:
        """Deliver the file of a process that no longer lives, then remove it."""
        fd = await self._in_thread(_lock_orphan, path)
        if fd is None:
            return _Offered(0, 0, is_away=False)
        try:
            data = await self._in_thread(_read_whole, fd)
            offered = await self._offer(data, deliver)
            if offered.is_away or offered.done_bytes < offered.read_bytes:
                return offered
            if rest := data[offered.read_bytes :]:
                await self._keep_rest_aside(path, rest)
            await self._in_thread(path.unlink)
            log.info("spool.adopted", file=path.name, bytes=len(data))
        finally:
            os.close(fd)
        return offered

    async def _keep_rest_aside(self, path: Path, rest: bytes) -> None:
        """Keep what cannot be read: a torn tail is nobody's, what stands behind a broken record was acknowledged."""
        told = log.info if _is_torn(rest) else log.error
        told("spool.unreadable", file=path.name, bytes=len(rest))
        await self._in_thread(self._keep_aside, rest)

    async def _offer(self, data: bytes, deliver: Deliver) -> _Offered:
        done = read = 0
        is_stuck = False
        for payloads in _batches(read_frames(data)):
            deliveries = await deliver(payloads)
            for payload, delivery in zip(payloads, deliveries, strict=True):
                if delivery is Delivery.AWAY:
                    return _Offered(done, read, is_away=True)
                if delivery is Delivery.REFUSED and payload not in self._aside:
                    await self._in_thread(self._keep_aside, payload)
                    self._aside.add(payload)
                read += FRAME.size + len(payload)
                is_stuck |= delivery is Delivery.STUCK
                done = done if is_stuck else read
            if len(payloads) == SPOOL_REPLAY_BATCH and set(deliveries) == {Delivery.STUCK}:
                # Nobody gets through: that is no record's own reason, and to try all of them would be a flood.
                return _Offered(done, read, is_away=True)
        return _Offered(done, read, is_away=False)

    async def _others(self) -> list[Path]:
        files = await self._in_thread(lambda: sorted(self._folder.glob(f"*{SUFFIX}")))
        return [path for path in files if path != self._path]

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    # ------------------------------------------------------------ on the thread
    def _open(self) -> None:
        """Create the file under its lock before anybody can see it by its name, and make the name durable."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unseen = self._path.with_suffix(".new")
        self._fd = os.open(unseen, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        unseen.rename(self._path)
        _sync_folder(self._folder)
        self._size = self._delivered = 0

    def _append(self, records: Sequence[bytes]) -> list[OSError | None]:
        """Write records with one sync; return for each why it is not there, or `None`."""
        errors: list[OSError | None] = []
        fitting, size = [], self._size
        for record in records:
            is_full = size + len(record) > self._bytes_max
            errors.append(SpoolFull(f"the spool holds {size} bytes") if is_full else None)
            if not is_full:
                fitting.append(record)
                size += len(record)
        try:
            if fitting:
                _write_whole(self._fd, b"".join(fitting))
                crash_point("after_spool_sync")
        except OSError as error:
            self._cut_back()
            return [earlier or error for earlier in errors]
        self._size = size
        return errors

    def _cut_back(self) -> None:
        """Take a failed write back, so that the next record does not stand behind a torn one.

        After a failed fdatasync the kernel may call lost pages clean (PostgreSQL's fsyncgate), but nothing was
        acknowledged from them, and truncating makes the next sync start from what was known to be there.
        """
        with suppress(OSError):
            os.ftruncate(self._fd, self._size)

    def _read_own(self) -> bytes:
        if self._size == self._delivered:
            return b""
        return os.pread(self._fd, self._size - self._delivered, self._delivered)

    def _truncate_if_delivered(self) -> None:
        if self._size and self._size == self._delivered:
            crash_point("before_spool_cut")
            os.ftruncate(self._fd, 0)
            self._size = self._delivered = 0

    def _keep_aside(self, payload: bytes) -> None:
        fd = os.open(self._path.with_suffix(f".{REFUSED}"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            _write_whole(fd, frame(payload))
        finally:
            os.close(fd)

    def _close(self) -> None:
        """Leave no empty file behind; one that still holds records stays for the next process."""
        if self._size == self._delivered:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)


def _batches(payloads: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(payloads, SPOOL_REPLAY_BATCH)):
        yield batch


def _write_whole(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    if written < len(data):
        raise OSError(f"wrote {written} of {len(data)} bytes")
    crash_point("before_spool_sync")
    os.fdatasync(fd)


def _lock_orphan(path: Path) -> int | None:
    """Return a descriptor that holds the lock of a file whose process is gone, or `None` when it lives."""
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    if os.fstat(fd).st_nlink == 0:  # somebody else adopted and removed it between our open and our lock
        os.close(fd)
        return None
    return fd


def _is_torn(rest: bytes) -> bool:
    """Return whether what is left of a file is the beginning of one record."""
    if len(rest) < FRAME.size:
        return True
    length: int = FRAME.unpack_from(rest)[0]
    return FRAME.size + length > len(rest) and length <= RECORD_BYTES_MAX


def _read_whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""The spool on a real disk: what was appended survives, what was torn is not read."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.limits import SPOOL_REPLAY_BATCH
from engine.safetap.spool import Delivery, Spool, SpoolFull, frame, read_frames


class Store:
    """Takes records; refuses or is away as told."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.is_away = False
        self.poison: bytes | None = None
        self.stuck: bytes | None = None

    async def deliver(self, records: Sequence[bytes]) -> list[Delivery]:
        return [self.take(record) for record in records]

    def take(self, record: bytes) -> Delivery:
        if record == self.poison:
            return Delivery.REFUSED
        if self.is_away:
            return Delivery.AWAY
        if record == self.stuck:
            return Delivery.STUCK
        self.records.append(record)
        return Delivery.DONE


def spool_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def kept_aside(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob("*.refused")]


@given(st.lists(st.binary(max_size=50), max_size=5), st.data())
def test_a_torn_tail_costs_the_torn_record_only(payloads: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(map(frame, payloads))
    cut = data.draw(st.integers(0, len(whole)))
    ends = [len(b"".join(map(frame, payloads[: n + 1]))) for n in range(len(payloads))]
    assert list(read_frames(whole[:cut])) == payloads[: sum(end <= cut for end in ends)]


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=2, max_size=4), st.data())
def test_a_flipped_bit_is_noticed(payloads: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(map(frame, payloads)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    read = list(read_frames(bytes(whole)))
    assert len(read) < len(payloads)
    assert read == payloads[: len(read)]


@given(st.binary(max_size=100))
def test_foreign_bytes_are_no_records(data: bytes) -> None:
    assert all(frame(payload) in data for payload in read_frames(data))


async def test_what_was_appended_is_delivered_once_and_in_order(tmp_path: Path) -> None:
    store = Store()
    async with Spool(tmp_path, name=uuid4()) as spool:
        for payload in (b"one", b"two", b"three"):
            await spool.append(payload, payload)
        assert spool.waiting_bytes > 0
        assert await spool.replay(store.deliver)
        assert await spool.replay(store.deliver)
        assert spool.waiting_bytes == 0
        assert spool_files(tmp_path)[0].stat().st_size == 0
    assert store.records == [b"one", b"two", b"three"]
    assert spool_files(tmp_path) == []


async def test_what_cannot_be_delivered_stays_for_the_next_process(tmp_path: Path) -> None:
    store = Store()
    store.is_away = True
    async with Spool(tmp_path, name=uuid4()) as spool:
        await spool.append(b"one", b"one")
        assert not await spool.replay(store.deliver)
    store.is_away = False
    async with Spool(tmp_path, name=uuid4()) as successor:
        assert await successor.replay(store.deliver)
        assert len(spool_files(tmp_path)) == 1
    assert store.records == [b"one"]


async def test_delivery_goes_on_where_it_stopped(tmp_path: Path) -> None:
    store = Store()

    async def one_then_away(records: Sequence[bytes]) -> list[Delivery]:
        deliveries = []
        for record in records:
            deliveries.append(store.take(record))
            store.is_away = True
        return deliveries

    async with Spool(tmp_path, name=uuid4()) as spool:
        await spool.append(b"one", b"one")
        await spool.append(b"two", b"two")
        assert not await spool.replay(one_then_away)
        await spool.append(b"three", b"three")
        store.is_away = False
        assert await spool.replay(store.deliver)
    assert store.records == [b"one", b"two", b"three"]


async def test_the_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    store = Store()
    async with Spool(tmp_path, name=uuid4()) as mine, Spool(tmp_path, name=uuid4()) as theirs:
        await theirs.append(b"theirs", b"theirs")
        assert await mine.replay(store.deliver)
        assert store.records == []
        assert await theirs.replay(store.deliver)
    assert store.records == [b"theirs"]


async def test_the_file_of_a_killed_process_is_adopted(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, signal, sys, uuid
from pathlib import Path
from config.limits import SPOOL_REPLAY_BATCH
from engine.safetap.spool import Spool
async def main():
    async with Spool(Path({str(tmp_path)!r}), name=uuid.uuid4()) as spool:
        await spool.append(b"kept", b"kept")
        os.write(spool._fd, b"\\x30\\x00\\x00\\x00torn")
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path.cwd(), check=False)  # noqa: ASYNC221
    assert killed.returncode == -9
    assert len(spool_files(tmp_path)) == 1
    store = Store()
    async with Spool(tmp_path, name=uuid4()) as spool:
        assert await spool.replay(store.deliver)
    assert store.records == [b"kept"]
    assert spool_files(tmp_path) == []


async def test_a_record_that_is_refused_is_kept_aside_and_holds_up_nobody(tmp_path: Path) -> None:
    store = Store()
    store.poison = b"poison"
    async with Spool(tmp_path, name=uuid4()) as spool:
        for payload in (b"one", b"poison", b"two"):
            await spool.append(payload, payload)
        assert await spool.replay(store.deliver)
    assert store.records == [b"one", b"two"]
    assert [list(read_frames(data)) for data in kept_aside(tmp_path)] == [[b"poison"]]


async def test_a_full_spool_refuses_and_takes_again_once_drained(tmp_path: Path) -> None:
    store = Store()
    async with Spool(tmp_path, name=uuid4(), bytes_max=64) as spool:
        await spool.append(b"x" * 50, b"x" * 50)
        with pytest.raises(SpoolFull):
            await spool.append(b"y" * 50, b"y" * 50)
        assert await spool.replay(store.deliver)
        await spool.append(b"y" * 50, b"y" * 50)
        assert await spool.replay(store.deliver)
    assert store.records == [b"x" * 50, b"y" * 50]


async def test_a_disk_that_fails_leaves_no_torn_record_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    real_write = os.write

    def half(fd: int, data: bytes) -> int:
        return real_write(fd, data[: len(data) // 2])

    async with Spool(tmp_path, name=uuid4()) as spool:
        await spool.append(b"before", b"before")
        with monkeypatch.context() as disk:
            disk.setattr(os, "write", half)
            with pytest.raises(OSError, match="wrote"):
                await spool.append(b"during", b"during")
        await spool.append(b"after", b"after")
        assert await spool.replay(store.deliver)
    assert store.records == [b"before", b"after"]


async def test_appends_at_once_share_a_sync_and_each_hears_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = 0
    real_sync = os.fdatasync

    def counted(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        real_sync(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    store = Store()
    async with Spool(tmp_path, name=uuid4(), bytes_max=20 * len(frame(b"00"))) as spool:
        outcomes = await asyncio.gather(
            *(spool.append(b"%02d" % number, b"%02d" % number) for number in range(25)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [type(None)] * 20 + [SpoolFull] * 5
        assert syncs < 10
        assert await spool.replay(store.deliver)
    assert store.records == [b"%02d" % number for number in range(20)]


async def test_files_are_private_to_their_owner(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    async with Spool(folder, name=uuid4()):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert spool_files(folder)[0].stat().st_mode & 0o777 == 0o600


async def test_who_sends_again_finds_their_record_and_adds_none(tmp_path: Path) -> None:
    store = Store()
    async with Spool(tmp_path, name=uuid4()) as spool:
        await asyncio.gather(*(spool.append(b"alarm", "id") for _ in range(20)))
        size = spool.waiting_bytes
        for _ in range(20):
            await spool.append(b"alarm, later", "id")
        assert spool.waiting_bytes == size == len(frame(b"alarm"))
        await spool.append(b"another", "other")
        store.is_away = True
        assert not await spool.replay(store.deliver)
        await spool.append(b"alarm, still", "id")
        store.is_away = False
        assert await spool.replay(store.deliver)
        assert store.records == [b"alarm", b"another"]
        await spool.append(b"alarm, anew", "id")  # what was delivered is not on disk any more
        assert await spool.replay(store.deliver)
    assert store.records == [b"alarm", b"another", b"alarm, anew"]


async def test_a_record_that_the_disk_refused_is_tried_again(tmp_path: Path) -> None:
    async with Spool(tmp_path, name=uuid4(), bytes_max=40) as spool:
        await spool.append(b"x" * 20, "first")
        with pytest.raises(SpoolFull):
            await spool.append(b"y" * 20, "second")
        assert await spool.replay(Store().deliver)
        await spool.append(b"y" * 20, "second")
        assert spool.waiting_bytes == len(frame(b"y" * 20))


async def test_who_leaves_while_it_is_written_takes_nothing_with_them(tmp_path: Path) -> None:
    store = Store()
    async with Spool(tmp_path, name=uuid4()) as spool:
        first = asyncio.ensure_future(spool.append(b"alarm", "id"))
        second = asyncio.ensure_future(spool.append(b"alarm", "id"))
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert await spool.replay(store.deliver)
    assert store.records == [b"alarm"]


async def test_who_is_stuck_holds_up_nobody_and_stays(tmp_path: Path) -> None:
    store = Store()
    store.stuck = b"stuck"
    numbers = [b"%d" % number for number in range(2 * SPOOL_REPLAY_BATCH)]
    for is_adopted in (False, True):
        async with Spool(tmp_path, name=uuid4()) as spool:
            for payload in (b"stuck", *numbers) if not is_adopted else ():
                await spool.append(payload, payload)
            store.records.clear()
            assert not await spool.replay(store.deliver)
            assert store.records[: len(numbers)] == numbers
            await spool.append(b"later", b"later")
            assert not await spool.replay(store.deliver)
            assert b"later" in store.records
    store.stuck = None
    async with Spool(tmp_path, name=uuid4()) as spool:
        assert await spool.replay(store.deliver)
    assert b"stuck" in store.records
    assert spool_files(tmp_path) == []


async def test_where_nobody_gets_through_not_everybody_is_tried(tmp_path: Path) -> None:
    tried = 0

    async def stuck(records: Sequence[bytes]) -> list[Delivery]:
        nonlocal tried
        tried += len(records)
        return [Delivery.STUCK] * len(records)

    async with Spool(tmp_path, name=uuid4()) as spool:
        for number in range(2 * SPOOL_REPLAY_BATCH):
            await spool.append(b"%d" % number, number)
        assert not await spool.replay(stuck)
    assert tried == SPOOL_REPLAY_BATCH


async def test_what_stands_behind_a_broken_record_of_a_killed_process_is_kept_aside(tmp_path: Path) -> None:
    """It was acknowledged: a disk that gave back something else must not make it vanish."""
    broken = bytearray(frame(b"broken"))
    broken[-1] ^= 1
    whole = frame(b"one") + bytes(broken) + frame(b"two")
    (tmp_path / f"{uuid4()}.spool").write_bytes(whole)
    store = Store()
    async with Spool(tmp_path, name=uuid4()) as spool:
        assert await spool.replay(store.deliver)
    assert store.records == [b"one"]
    assert [list(read_frames(data)) for data in kept_aside(tmp_path)] == [[bytes(broken) + frame(b"two")]]
    assert spool_files(tmp_path) == []


async def test_a_file_that_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    (tmp_path / "00000000.spool").mkdir()
    (tmp_path / "11111111.spool").write_bytes(frame(b"kept"))
    store = Store()
    async with Spool(tmp_path, name=uuid4()) as spool:
        assert not await spool.replay(store.deliver)
    assert store.records == [b"kept"]


async def test_what_is_refused_is_kept_aside_once_while_postgres_is_away(tmp_path: Path) -> None:
    store = Store()
    store.poison, store.is_away = b"poison", True
    (tmp_path / f"{uuid4()}.spool").write_bytes(frame(b"poison") + frame(b"one"))
    async with Spool(tmp_path, name=uuid4()) as spool:
        for _ in range(3):
            assert not await spool.replay(store.deliver)
    assert [list(read_frames(data)) for data in kept_aside(tmp_path)] == [[b"poison"]]


async def test_an_owner_has_a_share_and_has_it_again_once_delivered(tmp_path: Path) -> None:
    store = Store()
    async with Spool(tmp_path, name=uuid4(), share_max=2) as spool:
        for _ in range(2):
            for number in range(2):
                await spool.put(b"%d" % number, number, owner="one")
                await spool.put(b"%d" % number, number, owner="one")
            with pytest.raises(SpoolFull):
                await spool.put(b"2", 2, owner="one")
            await spool.put(b"3", 3, owner="other")
            assert await spool.replay(store.deliver)
    assert store.records == [b"0", b"1", b"3"] * 2

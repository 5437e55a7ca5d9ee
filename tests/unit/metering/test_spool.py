"""One spool file: durable before it says so, locked while its process lives, empty when nothing waits."""

import asyncio
import errno
import fcntl
import os
from pathlib import Path
from uuid import UUID

import pytest

from taximeter.kernel.clock import ManualClock
from taximeter.ledger import Kind, Operation
from taximeter.metering.spool import Spool, adopt, spool_files, spool_folder, survey
from taximeter.metering.spool_format import decode
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

PROCESS = UUID(int=1)


def settlement(number: int) -> Operation:
    return Operation(id=UUID(int=number), kind=Kind.SETTLE, lane=0, amount_utok=number, fact="{}")


def make(home: Path) -> tuple[Path, Spool]:
    folder = spool_folder(home)
    return folder, Spool(folder, PROCESS, ManualClock())


async def test_no_file_before_something_is_kept(tmp_path: Path) -> None:
    folder, spool = make(tmp_path)
    await spool.close()
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


async def test_what_is_kept_is_synced_before_keep_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, spool = make(tmp_path)
    synced: list[tuple[int, int]] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        synced.append((os.fstat(fd).st_ino, os.fstat(fd).st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    await spool.keep(settlement(1))
    (path,) = spool_files(folder)
    # First the name, then the whole content.
    assert [inode for inode, _ in synced] == [folder.stat().st_ino, path.stat().st_ino]
    assert synced[1][1] == path.stat().st_size
    assert [entry.operation() for entry in decode(path.read_bytes()).entries.values()] == [settlement(1)]
    await spool.close()


async def test_many_at_once_share_their_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, spool = make(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    await asyncio.gather(*(spool.keep(settlement(number)) for number in range(200)))
    assert len(synced) < 10
    assert survey(folder) == (200, 1_760_000_000_000)
    await spool.close()


async def test_the_file_is_emptied_when_everything_is_posted(tmp_path: Path) -> None:
    folder, spool = make(tmp_path)
    numbers = [await spool.keep(settlement(number)) for number in (1, 2)]
    (path,) = spool_files(folder)
    spool.posted(numbers[0])
    await until(lambda: len(decode(path.read_bytes()).entries) == 1)
    assert spool.entries == 1
    spool.posted(numbers[1])
    await until(lambda: path.stat().st_size == 0)
    await spool.keep(settlement(3))
    assert [entry.operation().id.int for entry in decode(path.read_bytes()).entries.values()] == [3]
    spool.posted(3)
    await spool.close()
    assert list(folder.iterdir()) == []


async def test_the_spool_of_a_living_process_cannot_be_adopted(tmp_path: Path) -> None:
    folder, spool = make(tmp_path)
    await spool.keep(settlement(1))
    (path,) = spool_files(folder)
    assert adopt(path) is None
    await spool.close()
    orphan = adopt(path)
    assert orphan is not None
    assert [entry.operation() for entry in orphan.contents.entries.values()] == [settlement(1)]
    assert adopt(path) is None
    orphan.put_away()
    orphan.release()
    assert adopt(path) is None
    assert list(folder.iterdir()) == []


async def test_a_disk_that_takes_half_a_record_is_an_error_and_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, spool = make(tmp_path)
    await spool.keep(settlement(1))
    real = os.write
    written: list[int] = []

    def write(fd: int, data: bytes) -> int:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(real(fd, data[:20]))
        return written[0]

    with monkeypatch.context() as full:
        full.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space"):
            await spool.keep(settlement(2))
    assert written == [20]
    assert spool.entries == 1
    await spool.keep(settlement(3))
    (path,) = spool_files(folder)
    contents = decode(path.read_bytes())
    assert [entry.operation().id.int for entry in contents.entries.values()] == [1, 3]
    assert (contents.torn, contents.damaged) == (False, 0)
    await spool.close()


async def test_a_file_that_was_removed_before_it_was_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, spool = make(tmp_path)
    real = fcntl.flock
    removed: list[Path] = []

    def flock(fd: int, operation: int) -> None:
        if not removed:
            removed.extend(spool_files(folder))
            removed[0].unlink()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    await spool.keep(settlement(1))
    assert len(removed) == 1
    assert survey(folder)[0] == 1
    await spool.close()

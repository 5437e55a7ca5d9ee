"""The spool of one process: operations that the database could not take yet, on the local disk.

``keep`` returns when the operation is on the disk (written, fsynced, and its name in the folder fsynced too).  The file is
locked as long as its process lives; one whose lock is free belongs to a process that died, and anybody may adopt it.
"""

import asyncio
import fcntl
import logging
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from taximeter.kernel.clock import Clock
from taximeter.kernel.errors import SetupError
from taximeter.kernel.faults import reach
from taximeter.ledger import Operation
from taximeter.metering.spool_format import Contents, Entry, Posted, decode, encode

log = logging.getLogger(__name__)

SUFFIX = ".log"
DAMAGED_SUFFIX = ".damaged"
REJECTED_SUFFIX = ".rejected"


def spool_folder(home: Path) -> Path:
    """The folder of the spools in ``home``, made when missing.  Raises SetupError."""
    folder = home / "spool"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make the folder {folder} ({error}); settlements are kept there while the database is away"
        raise SetupError(message) from error
    return folder


@dataclass(slots=True)
class _Write:
    record: Entry | Posted
    kept: asyncio.Future[None]


class Spool:
    """One append-only file, made when the first operation is kept, emptied when the last one is posted."""

    def __init__(self, folder: Path, process_id: UUID, clock: Clock) -> None:
        self._path = folder / f"{process_id}{SUFFIX}"
        self._clock = clock
        self._fd = -1
        self._size = 0
        self._number = 0
        self._open: set[int] = set()
        self._writes: list[_Write] = []
        self._writer: asyncio.Task[None] | None = None

    @property
    def entries(self) -> int:
        """How many operations are kept and not posted."""
        return len(self._open)

    async def keep(self, operation: Operation) -> int:
        """Put an operation on the disk; returns its number.  Raises OSError when it cannot be written."""
        self._number += 1
        entry = Entry.of(self._number, self._clock.now_ms(), operation)
        await asyncio.shield(self._write(entry))
        return entry.number

    def posted(self, number: int) -> None:
        """An entry is in the books.  Written in the background, and not fsynced: posting it again does no harm."""
        self._write(Posted(number)).add_done_callback(_look)

    async def close(self) -> None:
        """Write what is left and give the lock back.  An empty file is removed."""
        while self._writer is not None:
            await self._writer
        if self._fd >= 0:
            if not self._open:
                self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1

    def _write(self, record: Entry | Posted) -> asyncio.Future[None]:
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writes.append(_Write(record, kept))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all(), name="spool")
        return kept

    async def _write_all(self) -> None:
        """Whatever arrives while a batch is being written is the next batch: one fsync for all of them."""
        try:
            while self._writes:
                batch, self._writes = self._writes, []
                error: OSError | None = None
                try:
                    await asyncio.to_thread(self._append, [write.record for write in batch])
                except OSError as failure:
                    error = failure
                for write in batch:
                    self._answer(write, error)
                if not self._open and self._size:
                    await asyncio.to_thread(self._empty)
        finally:
            self._writer = None

    def _answer(self, write: _Write, error: OSError | None) -> None:
        if isinstance(write.record, Posted):
            self._open.discard(write.record.number)
        elif error is None:
            self._open.add(write.record.number)
        if write.kept.cancelled():
            return  # Its caller is gone with the event loop.
        if error is None:
            write.kept.set_result(None)
        else:
            write.kept.set_exception(error)

    def _append(self, records: list[Entry | Posted]) -> None:
        if self._fd < 0:
            self._fd = _create(self._path)
        data = b"".join(encode(record) for record in records)
        try:
            written = 0
            while written < len(data):
                written += os.write(self._fd, data[written:])
            if any(isinstance(record, Entry) for record in records):
                reach("metering.spool.written")
                os.fsync(self._fd)
                reach("metering.spool.synced")
        except OSError:
            # Nobody is told that these are kept; half of them must not stand before those that come next.
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def _empty(self) -> None:
        try:
            os.ftruncate(self._fd, 0)
        except OSError:
            log.exception("the spool %s cannot be emptied; what is in it has been posted", self._path)
        else:
            self._size = 0


def _look(write: asyncio.Future[None]) -> None:
    error = None if write.cancelled() else write.exception()
    if error is not None:
        log.warning("the spool was not told that an operation is posted; it may be posted again, which does no harm: %s", error)


def _create(path: Path) -> int:
    """A new file, locked, with its name safe on the disk.  Somebody who looks for orphans may remove it before it is locked."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with ExitStack() as unless_kept:
            unless_kept.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, path):
                sync_folder(path.parent)
                unless_kept.pop_all()
                return fd


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder safe.  Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Orphan:
    """The spool of a process that died, locked by us until ``release``."""

    path: Path
    contents: Contents
    fd: int

    def put_away(self, suffix: str = "") -> None:
        """Remove the file; with a suffix, keep it under another name, where nobody replays it.  Raises OSError."""
        if suffix:
            self.path.rename(self.path.with_suffix(suffix))
        else:
            self.path.unlink()
        sync_folder(self.path.parent)

    def release(self) -> None:
        """Give the lock back."""
        os.close(self.fd)


def adopt(path: Path) -> Orphan | None:
    """Lock and read a spool file; None when its process lives, or when somebody else was first.  Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with ExitStack() as unless_kept, suppress(BlockingIOError):
        unless_kept.callback(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(fd, path):
            orphan = Orphan(path, decode(path.read_bytes()), fd)
            unless_kept.pop_all()
            return orphan
    return None


def spool_files(folder: Path) -> list[Path]:
    """The spools of all processes, living and dead."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def survey(folder: Path) -> tuple[int, int | None]:
    """How many entries wait in all spools, and since when (Unix milliseconds) the oldest does."""
    moments: list[int] = []
    for path in spool_files(folder):
        with suppress(FileNotFoundError):
            moments += [entry.kept_at_ms for entry in decode(path.read_bytes()).entries.values()]
    return len(moments), min(moments, default=None)

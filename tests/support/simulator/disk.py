"""A disk that remembers what was fsynced, for the spool: its files, its locks, and what a power cut leaves."""

import errno
import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.simulator.dice import Dice
from tests.support.simulator.loop import PROCESS, Death, Process


@dataclass(eq=False)
class Inode:
    """A file: what processes read, and what has reached the platter."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    locked_by: int | None = None


@dataclass(frozen=True)
class Room:
    f_bavail: int
    f_frsize: int = 1


class Disk:
    """All files of one machine; also stands in for the modules ``os`` and ``fcntl`` of the spool."""

    O_RDONLY, O_RDWR, O_CREAT, O_APPEND, O_CLOEXEC, O_DIRECTORY = os.O_RDONLY, os.O_RDWR, os.O_CREAT, os.O_APPEND, os.O_CLOEXEC, os.O_DIRECTORY
    LOCK_EX, LOCK_NB = fcntl.LOCK_EX, fcntl.LOCK_NB

    def __init__(self, dice: Dice, on_death: Callable[[Process], None]) -> None:
        self.names: dict[str, Inode] = {}
        self.full = False
        self._durable: dict[str, Inode] = {}
        self._open: dict[int, tuple[Inode | None, Process | None]] = {}
        self._next_fd = 3
        self._dice = dice
        self._on_death = on_death
        self.path = self

    # What the spool uses of ``os``.

    def open(self, path: "SimPath", flags: int, _mode: int = 0) -> int:
        inode: Inode | None = None
        if not flags & self.O_DIRECTORY:
            inode = self.names.get(str(path))
            if inode is None:
                if not flags & self.O_CREAT:
                    raise FileNotFoundError(str(path))
                inode = self.names[str(path)] = Inode()
        self._next_fd += 1
        self._open[self._next_fd] = (inode, PROCESS.get())
        return self._next_fd

    def write(self, fd: int, data: bytes) -> int:
        inode = self._file(fd)
        rng = self._dice.rng
        process = PROCESS.get()
        if process is not None:
            process.writes += 1
            if process.writes == process.dies_at_write:
                # Some of it, all of it, or nothing.
                inode.data += data[: rng.randrange(len(data) + 1)]
                self._dice.happens("killed while writing")
                self._on_death(process)
                raise Death
        if self.full:
            some = rng.randrange(len(data))
            if some and rng.random() < 0.5:
                inode.data += data[:some]
                return some
            self._dice.happens("disk full")
            raise OSError(errno.ENOSPC, "No space left on device")
        inode.data += data
        return len(data)

    def fsync(self, fd: int) -> None:
        inode, _ = self._open[fd]
        if inode is None:
            self._durable = dict(self.names)
            return
        if self._dice.strikes("fsync failed", 0.02):
            raise OSError(errno.EIO, "Input/output error")
        inode.synced = bytes(inode.data)

    def ftruncate(self, fd: int, size: int) -> None:
        del self._file(fd).data[size:]

    def close(self, fd: int) -> None:
        inode, _ = self._open.pop(fd, (None, None))
        if inode is not None and inode.locked_by == fd:
            inode.locked_by = None

    def fstat(self, fd: int) -> Inode:
        return self._file(fd)

    def samestat(self, one: Inode, other: Inode) -> bool:
        return one is other

    # What it uses of ``fcntl``.

    def flock(self, fd: int, how: int) -> None:
        inode = self._file(fd)
        if inode.locked_by is not None:
            if how & self.LOCK_NB:
                raise BlockingIOError
            message = "a process would wait for the lock of its own spool"
            raise AssertionError(message)
        inode.locked_by = fd

    # What the world does to it.

    def room(self, _folder: Any) -> Room:  # noqa: ANN401 - the signature of os.statvfs
        return Room(0 if self.full else 1 << 40)

    def release(self, process: Process) -> None:
        """A process died: the system closes its files.  What it wrote is in the page cache and stays."""
        for fd in [fd for fd, (_, owner) in self._open.items() if owner is process]:
            self.close(fd)

    def lose_power(self) -> None:
        """Only what was fsynced is sure to be there; of the rest, any part may be."""
        rng = self._dice.rng
        kept = dict(self._durable)
        for name, inode in self.names.items():
            if rng.random() < 0.5:
                kept.setdefault(name, inode)
        for name in [name for name in self._durable if name not in self.names]:
            if rng.random() < 0.5:
                del kept[name]
        self.names = kept
        for inode in kept.values():
            if bytes(inode.data[: len(inode.synced)]) == inode.synced:
                del inode.data[rng.randint(len(inode.synced), len(inode.data)) :]
            elif rng.random() < 0.5:
                inode.data = bytearray(inode.synced)
            inode.synced = bytes(inode.data)
        self._durable = dict(kept)

    def _file(self, fd: int) -> Inode:
        inode, _ = self._open[fd]
        assert inode is not None
        return inode


class SimPath:
    """As much of ``pathlib.Path`` as the spool uses."""

    def __init__(self, disk: Disk, text: str) -> None:
        self._disk = disk
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __truediv__(self, name: str) -> "SimPath":
        return SimPath(self._disk, f"{self._text}/{name}")

    def __lt__(self, other: "SimPath") -> bool:
        return self._text < other._text

    @property
    def name(self) -> str:
        return self._text.rpartition("/")[2]

    @property
    def parent(self) -> "SimPath":
        return SimPath(self._disk, self._text.rpartition("/")[0])

    def mkdir(self, **_options: Any) -> None:  # noqa: ANN401
        return

    def with_suffix(self, suffix: str) -> "SimPath":
        return SimPath(self._disk, self._text.rpartition(".")[0] + suffix)

    def glob(self, pattern: str) -> list["SimPath"]:
        return [SimPath(self._disk, name) for name in self._disk.names if name.startswith(f"{self._text}/") and name.endswith(pattern.lstrip("*"))]

    def stat(self) -> Inode:
        if self._text not in self._disk.names:
            raise FileNotFoundError(self._text)
        return self._disk.names[self._text]

    def read_bytes(self) -> bytes:
        return bytes(self.stat().data)

    def unlink(self, *, missing_ok: bool = False) -> None:
        if self._disk.names.pop(self._text, None) is None and not missing_ok:
            raise FileNotFoundError(self._text)

    def rename(self, other: "SimPath") -> None:
        self._disk.names[str(other)] = self._disk.names.pop(self._text)

"""One process per folder: a lock that the kernel releases when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from taximeter.kernel.errors import SetupError


class FolderLock:
    """An exclusive lock on a file; the file holds the process id of the holder.

    Args:
        path: the lock file; its folder exists.
        what: what is running when the lock is taken, for the message.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._fd = -1

    def acquire(self) -> None:
        """Take the lock.  Raises SetupError naming the holder when another process has it."""
        assert self._fd < 0
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            message = f"{self._what} is already running (pid {holder}) in {self._path.parent}; stop it or choose another folder with TAXIMETER_HOME"
            raise SetupError(message) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def is_held(self) -> bool:
        """Whether another process holds it now."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held.

        The file stays: removing it would let two processes lock two files of one name.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

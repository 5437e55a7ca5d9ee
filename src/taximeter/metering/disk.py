"""Whether the disk has room for what a request may have to leave there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from taximeter.kernel.clock import Clock
from taximeter.metering.errors import DiskFull

LOOK_EVERY_S = 1.0


class Room(Protocol):
    """What ``os.statvfs`` tells about a file system, as far as it is needed here."""

    @property
    def f_bavail(self) -> int:
        """Free blocks for ordinary users."""
        ...

    @property
    def f_frsize(self) -> int:
        """Bytes of a block."""
        ...


class Disk:
    """The file system of a folder, looked at once a second at most."""

    def __init__(self, folder: Path, free_min_bytes: int, clock: Clock, look: Callable[[Path], Room] = os.statvfs) -> None:
        self._folder = folder
        self._free_min_bytes = free_min_bytes
        self._clock = clock
        self._look = look
        self._seen_at_s: float | None = None
        self._trouble: str | None = None

    def check(self) -> None:
        """Raises DiskFull when there is less room than settlements may need while the database is away."""
        now_s = self._clock.monotonic_s()
        if self._seen_at_s is None or now_s - self._seen_at_s >= LOOK_EVERY_S:
            self._seen_at_s = now_s
            self._trouble = self._find_trouble()
        if self._trouble is not None:
            raise DiskFull(self._trouble, headers={"retry-after": "30"})

    def _find_trouble(self) -> str | None:
        end = "nothing was run or charged; try again later, or tell the operator"
        try:
            room = self._look(self._folder)
        except OSError:
            return f"the gateway's disk cannot be read; {end}"
        if room.f_bavail * room.f_frsize < self._free_min_bytes:
            return f"the gateway's disk is full; {end}"
        return None

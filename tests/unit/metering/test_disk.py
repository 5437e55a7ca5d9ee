"""A full disk is told before a request is accepted."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from taximeter.kernel.clock import ManualClock
from taximeter.metering.disk import Disk, Room
from taximeter.metering.errors import DiskFull

HERE = Path()


@dataclass
class Blocks:
    f_bavail: int
    f_frsize: int = 1024


def test_a_disk_with_room_is_fine_and_one_without_is_refused() -> None:
    Disk(HERE, 10 * 1024, ManualClock(), lambda _path: Blocks(10)).check()
    with pytest.raises(DiskFull) as refusal:
        Disk(HERE, 10 * 1024, ManualClock(), lambda _path: Blocks(9)).check()
    assert (refusal.value.status, refusal.value.code) == (503, "disk_full")
    assert refusal.value.headers["retry-after"] == "30"


def test_it_looks_once_a_second() -> None:
    clock = ManualClock()
    looks: list[Path] = []

    def look(path: Path) -> Room:
        looks.append(path)
        return Blocks(0 if len(looks) == 1 else 1)

    disk = Disk(HERE, 1, clock, look)
    for _ in range(3):
        with pytest.raises(DiskFull):
            disk.check()
    assert len(looks) == 1
    clock.advance(1)
    disk.check()
    assert len(looks) == 2


def test_a_disk_that_cannot_be_read_is_refused_too() -> None:
    def look(_path: Path) -> Room:
        raise OSError(5, "Input/output error")

    with pytest.raises(DiskFull, match="cannot be read"):
        Disk(HERE, 1, ManualClock(), look).check()


def test_it_reads_the_real_disk(tmp_path: Path) -> None:
    Disk(tmp_path, 1, ManualClock()).check()
    with pytest.raises(DiskFull):
        Disk(tmp_path, 2**62, ManualClock()).check()

"""Fault points: nothing in production, SIGKILL or SIGSTOP where a crash test wants it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import taximeter
from taximeter.kernel import faults
from taximeter.kernel.errors import SetupError

SOURCE = Path(taximeter.__file__).parent
POINT = "metering.held"
PROGRAM = """
import sys
from taximeter.kernel import faults
faults.arm(sys.argv[1])
for number in range(4):
    faults.reach("metering.held")
    print(number, flush=True)
"""


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    faults.arm("")


def start(spec: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, spec], env=environ, stdout=subprocess.PIPE, text=True)


def test_each_point_stands_once_in_the_source() -> None:
    texts = [path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py") if path.name != "faults.py"]
    found = [name for text in texts for name in re.findall(r"\breach\(\"([a-z.]+)\"\)", text)]
    assert sorted(found) == sorted(faults.POINTS)


def test_a_process_that_is_not_armed_passes_every_point() -> None:
    for point in faults.POINTS:
        faults.reach(point)
    faults.arm(f"{POINT}:2")
    faults.reach(POINT)
    faults.reach("metering.ride.ended")


def test_a_process_kills_itself_where_it_is_told_to() -> None:
    with start(f"{POINT}:3") as process:
        printed, _ = process.communicate(timeout=20)
    assert (process.returncode, printed) == (-signal.SIGKILL, "0\n1\n")


def test_a_process_that_freezes_goes_on_when_it_is_let_to() -> None:
    with start(f"{POINT}:2:freeze") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == "1\n2\n3\n"
    assert process.returncode == 0


@pytest.mark.parametrize("text", ["metering.hold", "metering.held:0", "metering.held:x", "metering.held:1:stop", ":1"])
def test_a_point_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(SetupError, match="TAXIMETER_FAULT_POINT"):
        faults.arm(text)

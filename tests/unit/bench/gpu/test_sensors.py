"""What the device says about itself: by NVML, by nvidia-smi, or not at all."""

import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.gpu.sensors import NoSensors, Nvml, Reading, Smi, Watch, open_sensors, parsed, reasons


class Refused(Exception):
    """What the library raises for what this device does not tell."""


class Library(ModuleType):
    """NVML as its Python face shows it: energy grows by 3 J with each look."""

    NVMLError = Refused
    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.looks = 0

    def nvmlInit(self) -> None:  # noqa: N802 - the library's own name
        """Nothing to do."""

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> str:  # noqa: N802
        if uuid != b"GPU-1":
            raise Refused
        return "by name"

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"number {index}"

    def nvmlDeviceGetPowerUsage(self, _device: str) -> int:  # noqa: N802
        return 650_000

    def nvmlDeviceGetClockInfo(self, _device: str, _kind: int) -> int:  # noqa: N802
        return 1755

    def nvmlDeviceGetTemperature(self, _device: str, _kind: int) -> int:  # noqa: N802
        raise Refused

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, _device: str) -> int:  # noqa: N802
        return 0x4 | 0x40

    def nvmlDeviceGetTotalEnergyConsumption(self, _device: str) -> int:  # noqa: N802
        self.looks += 1
        return self.looks * 3000


def test_a_look_by_nvml_has_what_the_device_tells_and_none_for_the_rest() -> None:
    reading = Nvml(Library(), "GPU-1").read()
    assert reading == Reading(1755, None, 650.0, 3000, frozenset({"power cap", "hardware thermal"}))


@pytest.mark.parametrize(("uuid", "device"), [("GPU-1", "by name"), ("GPU-unknown", "number 0")])
def test_the_gpu_is_found_by_the_name_that_cuda_knows_or_else_is_the_first(uuid: str, device: str) -> None:
    sensors: Any = Nvml(Library(), uuid)
    assert sensors._device == device


def test_a_watch_tells_the_energy_between_its_first_and_last_look() -> None:
    with Watch(Nvml(Library(), "GPU-1"), period_s=60) as watch:
        pass
    facts = watch.facts()
    assert (facts["looks"], facts["energy_j"]) == (2, 3.0)
    assert facts["sm_mhz"] == {"least": 1755, "median": 1755, "most": 1755}
    assert facts["temperature_c"] is None
    assert facts["reasons"] == ["hardware thermal", "power cap"]


def test_a_line_of_nvidia_smi_is_read_field_by_field() -> None:
    line = "GPU-1, 1980, 41, 118.25, 0x0000000000000005\n"
    assert parsed(line, "GPU-1") == Reading(1980, 41, 118.25, None, frozenset({"idle", "power cap"}))
    assert parsed("GPU-1, [N/A], 41, [N/A], [N/A]\n", "GPU-1") == Reading(None, 41, None, None, frozenset())
    assert parsed("", "GPU-1") == Reading()


def test_of_several_gpus_nvidia_smi_is_read_for_the_one_that_cuda_names() -> None:
    lines = "GPU-1, 345, 30, 70.00, 0x0000000000000001\nGPU-2, 1980, 64, 690.10, 0x0000000000000004\n"
    assert parsed(lines, "GPU-2") == Reading(1980, 64, 690.1, None, frozenset({"power cap"}))
    assert parsed(lines, "GPU-unknown") == Reading()
    alone, _ = lines.splitlines()
    assert parsed(alone, "GPU-unknown").sm_mhz == 345


def test_nvidia_smi_is_looked_at_while_something_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that tells of two devices, of which the second slows down in its third look only."""
    calls = tmp_path / "calls"
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        f'echo look >> "{calls}"\n'
        "echo 'GPU-1, 345, 30, 70.00, 0x0000000000000001'\n"
        f'[ "$(wc -l < "{calls}")" -eq 3 ] && echo "GPU-2, 900, 91, 300.00, 0x0000000000000040" && exit\n'
        "echo 'GPU-2, 1980, 64, 690.10, 0x0000000000000004'\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    sensors = Smi("GPU-2")
    assert sensors.period_s == 1.0
    with Watch(sensors, period_s=0.01) as watch:
        while not calls.exists() or len(calls.read_text(encoding="utf-8").split()) < 5:
            time.sleep(0.01)
    facts = watch.facts()
    assert facts["looks"] >= 5
    assert facts["sm_mhz"] == {"least": 900, "median": 1980, "most": 1980}
    assert facts["reasons"] == ["hardware thermal", "power cap"]
    assert facts["energy_j"] is None


def test_a_processor_tells_nothing() -> None:
    sensors = open_sensors(None)
    assert isinstance(sensors, NoSensors)
    with Watch(sensors) as watch:
        pass
    assert (watch.facts()["energy_j"], watch.facts()["reasons"]) == (None, [])
    assert reasons(0) == frozenset()

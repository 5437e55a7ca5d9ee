"""What the device says about itself: by NVML, by nvidia-smi, or not at all."""

from types import ModuleType
from typing import Any

import pytest

from bench.gpu.sensors import NoSensors, Nvml, Reading, Watch, open_sensors, parsed, reasons


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
    assert parsed("1980, 41, 118.25, 0x0000000000000005\n") == Reading(1980, 41, 118.25, None, frozenset({"idle", "power cap"}))
    assert parsed("[N/A], 41, [N/A], [N/A]\n") == Reading(None, 41, None, None, frozenset())
    assert parsed("") == Reading()


def test_a_processor_tells_nothing() -> None:
    sensors = open_sensors(None)
    assert isinstance(sensors, NoSensors)
    with Watch(sensors) as watch:
        pass
    assert (watch.facts()["energy_j"], watch.facts()["reasons"]) == (None, [])
    assert reasons(0) == frozenset()

"""Clock, reasons of throttling, temperature, power and energy of the GPU: from NVML, or else from nvidia-smi; nothing on a processor."""

import importlib
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol, Self

# How long a look may wait for the next: NVML answers at once, the program has to be started.
NVML_PERIOD_S = 0.2
SMI_PERIOD_S = 1.0
# Bits of the reasons why a clock is not higher, as NVML numbers them.
REASONS: Mapping[int, str] = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "power brake",
    0x100: "display clocks",
}
# Those that make a time worthless for a calibration that is meant to hold at the usual clock.
SLOWDOWNS = frozenset({"hardware slowdown", "software thermal", "hardware thermal", "power brake"})


@dataclass(frozen=True)
class Reading:
    """One look at the device; what it cannot tell is None."""

    sm_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    energy_mj: int | None = None
    reasons: frozenset[str] = field(default_factory=frozenset)


class Sensors(Protocol):
    """Something that can look at the device; ``period_s`` is how often while something runs, None for never."""

    name: str
    period_s: float | None

    def read(self) -> Reading:
        """Look now."""


class NoSensors:
    """A processor tells nothing."""

    name = "none"
    period_s: float | None = None

    def read(self) -> Reading:
        """Nothing."""
        return Reading()


class Nvml:
    """NVIDIA's management library."""

    name = "nvml"
    period_s: float | None = NVML_PERIOD_S

    def __init__(self, library: ModuleType, uuid: str) -> None:
        self._library: Any = library
        library.nvmlInit()
        try:
            self._device = library.nvmlDeviceGetHandleByUUID(uuid.encode())
        except library.NVMLError:
            self._device = library.nvmlDeviceGetHandleByIndex(0)

    def read(self) -> Reading:
        """Each figure by itself: a virtual machine may withhold some."""
        library, device = self._library, self._device

        def ask(function: str, *more: int) -> int | None:
            try:
                return int(getattr(library, function)(device, *more))
            except (AttributeError, library.NVMLError):
                return None

        power_mw = ask("nvmlDeviceGetPowerUsage")
        # The newer name of the same question.
        bits = ask("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:
            bits = ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        return Reading(
            sm_mhz=ask("nvmlDeviceGetClockInfo", library.NVML_CLOCK_SM),
            temperature_c=ask("nvmlDeviceGetTemperature", library.NVML_TEMPERATURE_GPU),
            power_w=None if power_mw is None else power_mw / 1000,
            energy_mj=ask("nvmlDeviceGetTotalEnergyConsumption"),
            reasons=reasons(bits),
        )


class Smi:
    """The program nvidia-smi, which knows no counter of energy."""

    name = "nvidia-smi"
    period_s: float | None = SMI_PERIOD_S
    _FIELDS = "uuid,clocks.sm,temperature.gpu,power.draw,clocks_throttle_reasons.active"

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid

    def read(self) -> Reading:
        """One call of the program; nothing when it does not show the device, as other devices' figures would mislead."""
        command = ["nvidia-smi", f"--query-gpu={self._FIELDS}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603 - our own command
        except (OSError, subprocess.TimeoutExpired):
            return Reading()
        return parsed(done.stdout, self._uuid) if done.returncode == 0 else Reading()


def reasons(bits: int) -> frozenset[str]:
    """The names of the bits that are set."""
    return frozenset(name for bit, name in REASONS.items() if bits & bit)


def parsed(lines: str, uuid: str) -> Reading:
    """The device's line of those of nvidia-smi, or the only one; a field that is not a number is one the device does not tell."""
    devices = {name.strip(): told for name, _, told in (line.partition(",") for line in lines.splitlines() if line.strip())}
    mine = devices.get(uuid, next(iter(devices.values())) if len(devices) == 1 else "")
    clock, temperature, power, active = ([part.strip() for part in mine.split(",")] + [""] * 4)[:4]
    return Reading(
        sm_mhz=int(clock) if clock.isdigit() else None,
        temperature_c=int(temperature) if temperature.isdigit() else None,
        power_w=float(power) if power.replace(".", "", 1).isdigit() else None,
        reasons=reasons(int(active, 16)) if active.startswith("0x") else frozenset(),
    )


def open_sensors(uuid: str | None) -> Sensors:
    """The best that this machine has for the GPU of this name; None when there is no GPU."""
    if uuid is None:
        return NoSensors()
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        return Smi(uuid)
    try:
        return Nvml(library, uuid)
    except library.NVMLError:
        return Smi(uuid)


class Watch:
    """Looks at the device from time to time while the block lasts."""

    def __init__(self, sensors: Sensors, period_s: float | None = None) -> None:
        self._sensors, self._period_s = sensors, sensors.period_s if period_s is None else period_s
        self._ended = threading.Event()
        self._readings: list[Reading] = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._began_s = self._ended_s = 0.0

    def __enter__(self) -> Self:
        """Look for the first time."""
        self._began_s = time.perf_counter()
        self._readings.append(self._sensors.read())
        if self._period_s is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look for the last time."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._readings.append(self._sensors.read())
        self._ended_s = time.perf_counter()

    def _look(self) -> None:
        while not self._ended.wait(self._period_s):
            self._readings.append(self._sensors.read())

    def facts(self) -> dict[str, Any]:
        """What was seen: spans of clock, temperature and power, all reasons, and the energy between first and last look."""
        first, last = self._readings[0], self._readings[-1]
        facts: dict[str, Any] = {"looks": len(self._readings), "window_s": self._ended_s - self._began_s}
        for name in ("sm_mhz", "temperature_c", "power_w"):
            known = sorted(value for reading in self._readings if (value := getattr(reading, name)) is not None)
            facts[name] = None if not known else {"least": known[0], "median": known[len(known) // 2], "most": known[-1]}
        facts["reasons"] = sorted(set().union(*(reading.reasons for reading in self._readings)))
        counted = first.energy_mj is not None and last.energy_mj is not None
        facts["energy_j"] = ((last.energy_mj or 0) - (first.energy_mj or 0)) / 1000 if counted else None
        return facts

"""The journal of a GPU that was never there: times made of known rates, entered in the order of a real run."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.gpu.drivers import drivers
from bench.gpu.journal import Journal
from bench.gpu.plan import FAMILIES, Cell, cells
from bench.gpu.registration import register
from bench.gpu.scales import Scale

RATES: Mapping[str, Mapping[str, float]] = {
    "video": {
        "blocks": 2e-4,
        "linear_tflop": 1 / 480,
        "attention_tflop": 1 / 620,
        "vae_fp32_tflop": 1 / 90,
        "vae_bf16_tflop": 1 / 160,
        "encoder_tflop": 1 / 500,
    },
    "speech": {"stretches": 1e-4, "steps": 9e-3, "evaluations": 1.8e-3},
    "text/prefill": {"prompts": 3e-4, "linear_tflop": 1 / 550, "attention_tflop": 1 / 300},
    "text/decode": {"steps": 4e-3, "tokens": 1e-5, "kv_gnumbers": 5e-4},
}
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
DERATE = 1.04


class Pretended:
    """A journal that fills itself cell by cell.

    Attributes:
        wrong: by what factor the times of unseen cells differ from what the rates say.
    """

    def __init__(self, folder: Path, scale: Scale, device: str = "NVIDIA H200", wrong: float = 1.0) -> None:
        self.scale, self.wrong = scale, wrong
        self.plan = cells(scale)
        self.journal = Journal(folder)
        self._chance = np.random.default_rng(4)
        self._now = START
        machine = {"cpus": 16, "commit": "0000000"}
        told = {"device": device, "torch": "2.11.0", "settings": {"cudnn.allow_tf32": True}, "machine": machine, "sensors": "nvml"}
        self.journal.append({"what": "session", "at": self._time(), "scale": scale.name, **told})

    def _time(self) -> str:
        self._now += timedelta(seconds=1)
        return self._now.isoformat(timespec="microseconds")

    def run(self, *, only: str = "") -> "Pretended":
        """All cells, each family's predictions before its first unseen one."""
        for cell in self.plan:
            if cell.id.startswith(only) and cell.id not in self.journal.cells():
                if cell.is_predicted and cell.family not in self.journal.registrations():
                    assert cell.family in FAMILIES
                    register(cell.family, self.plan, self.scale, self.journal, self._time())
                self.journal.append(self.record(cell))
        return self

    def record(self, cell: Cell) -> dict[str, Any]:
        """What the bench would have written."""
        record: dict[str, Any] = {"what": "cell", "cell": cell.id, "role": cell.role, "family": cell.family, "model": cell.model, "kind": cell.kind}
        record["started"] = self._time()
        if cell.is_predicted:
            record["registered"] = self.journal.registrations()[cell.family]["sha256"]
        seconds = self._seconds(cell)
        samples = list(seconds * self._chance.lognormal(0, 0.01, max(1, cell.reps)))
        spread = {"least": 1700, "median": 1800, "most": 1980}
        device = {
            "looks": 9,
            "window_s": 5.0,
            "sm_mhz": spread,
            "temperature_c": spread,
            "power_w": spread,
            "reasons": ["power cap"],
            "energy_j": 3000.0,
        }
        window = device | {"runs": 10, "j_per_run": 300.0}
        middle = float(np.median(samples))
        record |= {"status": "done", "samples_s": samples, "device": device, "energy_window": window, "median_s": middle, "iqr_s": 0.01 * middle}
        record |= {"flop": 1, "moved_bytes": 0, "counted_flop": 1, "closed_flop": 1, "attention": [], "dtype": "bfloat16", "peak_bytes": 10**9}
        if cell.role == "soak":
            record["settled_s"] = middle * DERATE
        return record | {"ended": self._time()}

    def _seconds(self, cell: Cell) -> float:
        if cell.role == "ceiling":
            return 0.01
        rates = RATES["video"] if cell.kind == "soak" else RATES[cell.model] if cell.model in RATES else RATES["speech"]
        usual = sum(rates[name] * amount for name, amount in drivers(cell, self.scale).items())
        return usual * (self.wrong if cell.is_predicted else 1.0) * (DERATE if cell.derated else 1.0)

"""The loop: cell after cell within a budget of time, each into the journal, predictions before what they predict."""

import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from bench.gpu import hardware, timing
from bench.gpu.counting import Counts, witnessed
from bench.gpu.journal import Journal, Record
from bench.gpu.loads import Load, NotHere, Shelf, build
from bench.gpu.place import SEED, Place, default_dtype, prepare
from bench.gpu.plan import CAUTION, FAMILIES, Cell, cells
from bench.gpu.registration import NotFitted, register
from bench.gpu.scales import Scale
from bench.gpu.sensors import Sensors, Watch, open_sensors

# A soak's clock has settled in its last third.
SETTLED_SHARE = 3


@dataclass
class Bench:
    """A run on one device.

    Attributes:
        say: prints a line of progress.
        retry: runs cells again that failed or were skipped, once in each call.
    """

    scale: Scale
    device: torch.device
    journal: Journal
    say: Callable[[str], None]
    retry: bool = False

    def __post_init__(self) -> None:
        """Count, look and keep for the whole run."""
        prepare(self.device)
        self.plan = cells(self.scale)
        self.place = Place(self.device, default_dtype(self.device))
        self.sensors: Sensors = open_sensors(hardware.uuid_of(self.device))
        self.shelf = Shelf()
        self.counts = Counts(self.scale)

    def remaining(self, only: Sequence[str] = ()) -> list[Cell]:
        """Cells of which nothing is known yet, in their order; with ``retry`` also those that failed or were skipped."""
        done = {name for name, record in self.journal.cells().items() if record["status"] == "done" or not self.retry}
        return [cell for cell in self.plan if cell.id not in done and (not only or any(cell.id.startswith(part) for part in only))]

    def go(self, budget_s: float, only: Sequence[str] = ()) -> int:
        """Run what remains and fits into the budget; how many cells remain then that it has not tried."""
        began = time.monotonic()
        tried: set[str] = set()
        waiting: set[str] = set()
        if self.remaining(only):
            self.journal.append({"what": "session", "at": now(), "scale": self.scale.name, **hardware.describe(self.device, self.sensors.name)})
        planned = spent = 0.0
        # Looked up anew for each: a fit cell that is measured again opens what was predicted without it.
        while todo := [cell for cell in self.remaining(only) if cell.id not in tried | waiting]:
            cell = todo[0]
            # Once something ran, its pace on this device says more than the plan.
            pace = min(3.0, max(0.3, spent / planned)) if planned > 30 else 1.0
            left_s = sum(other.estimate_s for other in todo) * pace
            elapsed_s = time.monotonic() - began
            if elapsed_s + cell.estimate_s * pace * CAUTION > budget_s:
                spent_text = f"{elapsed_s:.0f} of {budget_s:.0f} s are spent"
                self.say(f"stopped before {cell.id}: {spent_text}; call again to go on (about {left_s / 60:.1f} min left)")
                break
            missing = self._unfitted(cell)
            if missing:
                self.say(f"{cell.id} waits: nothing of its family is predicted before {', '.join(missing)} have run")
                waiting.add(cell.id)
                continue
            reopened = self._opened_by(cell)
            began_cell = time.monotonic()
            record = self.one(cell)
            self.journal.append(record)
            tried.add(cell.id)
            planned, spent = planned + cell.estimate_s, spent + time.monotonic() - began_cell
            after_s = left_s - cell.estimate_s * pace
            self.say(f"[{len(tried)}/{len(tried) - 1 + len(todo)}] {cell.id}: {outcome(record)}; about {after_s / 60:.1f} min left")
            if reopened and record["status"] == "done":
                self.say(f"the predictions for {cell.family} were made without it: new ones follow, then {', '.join(reopened)} once more")
        self.shelf.clear()
        return len([cell for cell in self.remaining(only) if cell.id not in tried])

    def one(self, cell: Cell) -> Record:
        """Measure one cell; whatever goes wrong with it becomes its record."""
        record: Record = {"what": "cell", "cell": cell.id, "role": cell.role, "family": cell.family, "model": cell.model, "kind": cell.kind}
        record["started"] = now()
        try:
            if cell.is_predicted:
                record["registered"] = self._registered(cell.family)["sha256"]
                record["started"] = now()
            record |= self._measure(cell)
            record["status"] = "done"
        except (NotHere, NotFitted) as reason:
            record |= {"status": "skipped", "reason": str(reason)}
        except Exception as error:  # noqa: BLE001 - out of memory, a kernel that is missing: the rest goes on
            record |= {"status": "failed", "reason": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:500]}
            self.say(traceback.format_exc(limit=3))
        if record["status"] != "done":
            # What was half built must not stand in the way of the next.
            self.shelf.clear()
        record["ended"] = now()
        return record

    def _opened_by(self, cell: Cell) -> list[str]:
        """Cells that were measured under predictions which no longer count once this one is measured."""
        if cell.role not in ("fit", "soak") or cell.family not in self.journal.registrations():
            return []
        done = self.journal.cells()
        return [other.id for other in self.plan if other.family == cell.family and other.is_predicted and other.id in done]

    def _unfitted(self, cell: Cell) -> list[str]:
        """Cells of the fit set that must run before this one."""
        if not cell.is_predicted or cell.family in self.journal.registrations():
            return []
        done = self.journal.cells()
        return [other.id for other in self.plan if other.family == cell.family and other.role in ("fit", "soak") and other.id not in done]

    def _registered(self, family: str) -> Record:
        """The family's predictions, which are written now if they have not been.  Raises NotFitted."""
        known = self.journal.registrations().get(family)
        if known is not None:
            return known
        assert family in FAMILIES
        record = register(family, self.plan, self.scale, self.journal, now())
        self.say(f"predictions for {family} written: sha256 {record['sha256']}")
        return record

    def _measure(self, cell: Cell) -> dict[str, Any]:
        if cell.kind == "idle":
            with Watch(self.sensors) as watch:
                time.sleep(self.scale.repeats.idle_s)
            return {"samples_s": [], "device": watch.facts()}
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        torch.manual_seed(SEED)
        counted = self.counts.of(cell)
        with torch.no_grad():
            load = build(cell, self.scale, self.place, self.shelf)
            result, kernels = witnessed(load.glance or load.run)
            if result is not None and not bool(torch.isfinite(result).all()):
                message = "the result holds infinities or NaN, so the run was not one of usual numbers"
                raise ArithmeticError(message)
            facts = self._soak(load) if cell.role == "soak" else self._time(cell, load)
        first, middle, third = timing.quartiles(facts["samples_s"])
        facts |= {"median_s": middle, "iqr_s": third - first, "flop": load.flop, "moved_bytes": load.moved_bytes}
        facts |= {"counted_flop": counted.counted, "closed_flop": counted.closed, "attention": kernels, "dtype": self._dtype(cell)}
        facts["peak_bytes"] = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None
        return facts

    def _time(self, cell: Cell, load: Load) -> dict[str, Any]:
        # A glance that is the whole run has warmed it up once.
        warm = max(0, cell.warm - (load.glance is None))
        with Watch(self.sensors) as watch:
            samples = timing.samples_s(load.run, warm, cell.reps, self.device)
        facts: dict[str, Any] = {"samples_s": samples, "device": watch.facts()}
        window_s = self.scale.repeats.energy_s
        if cell.energy and window_s and self.device.type == "cuda":
            facts["energy_window"] = self._energy(load, window_s, timing.quartiles(samples)[1])
        return facts

    def _energy(self, load: Load, window_s: float, each_s: float) -> dict[str, Any]:
        """Energy of many repetitions: the counter moves in steps too wide for a few."""
        times = max(1, math.ceil(window_s / each_s))
        with Watch(self.sensors) as watch:
            for number in range(times):
                load.run()
                if number % 64 == 63:
                    timing.synchronize(self.device)
            timing.synchronize(self.device)
        facts = watch.facts()
        return facts | {"runs": times, "j_per_run": None if facts["energy_j"] is None else facts["energy_j"] / times}

    def _soak(self, load: Load) -> dict[str, Any]:
        load.run()
        timing.synchronize(self.device)
        with Watch(self.sensors) as watch:
            samples = timing.soak_s(load.run, self.scale.repeats.soak_s, self.device)
        settled = timing.quartiles(samples[-max(1, len(samples) // SETTLED_SHARE) :])[1]
        return {"samples_s": samples, "settled_s": settled, "device": watch.facts()}

    def _dtype(self, cell: Cell) -> str:
        return str(cell.args.get("precision") or str(self.place.dtype).removeprefix("torch."))


def outcome(record: Record) -> str:
    """``12.3 ms (IQR 0.1), 512 TFLOP/s``, or why there is no time."""
    if record["status"] != "done":
        return f"{record['status']}: {record['reason']}"
    if not record["samples_s"]:
        power = record["device"]["power_w"]
        return "no power is told" if power is None else f"{power['median']:.0f} W"
    median_s = record["median_s"]
    rate = f", {record['flop'] / median_s / 1e12:.4g} TFLOP/s" if record["flop"] else ""
    moved = f", {record['moved_bytes'] / median_s / 1e9:.4g} GB/s" if record["moved_bytes"] else ""
    return f"{median_s * 1000:.4g} ms (IQR {record['iqr_s'] * 1000:.2g}){rate}{moved}"


def now() -> str:
    """The time of day, exact enough to tell what came first."""
    return datetime.now(tz=UTC).isoformat(timespec="microseconds")

"""Predictions of what has not been run, written to a file and hashed before it is run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.gpu import estimator
from bench.gpu.drivers import drivers, founding
from bench.gpu.journal import Journal, Record, write_whole
from bench.gpu.plan import Cell
from bench.gpu.scales import Scale
from bench.gpu.sensors import SLOWDOWNS

FORMAT = 1


class NotFitted(Exception):
    """The fit set has too few cells that ran; the message says which are missing."""


@dataclass(frozen=True)
class Sample:
    """Timed runs of one cell of the fit set."""

    cell: Cell
    times_s: Sequence[float]


def path_of(folder: Path, family: str, number: int = 1) -> Path:
    """Where a family's predictions lie; those that were written later lie beside the first."""
    return folder / (f"predictions-{family}.json" if number == 1 else f"predictions-{family}-{number}.json")


def register(family: str, plan: Sequence[Cell], scale: Scale, journal: Journal, now: str) -> Record:
    """Fit the family's models, write down what they say about its hold-out set, and enter the file's hash into the journal.

    Raises NotFitted.
    """
    done = journal.cells()
    derate = derate_of(plan, done)
    models = sorted({cell.model for cell in plan if cell.family == family and cell.is_predicted})
    content: dict[str, Any] = {"format": FORMAT, "family": family, "written": now, "derate": derate, "models": {}, "predictions": {}}
    unfitted = []
    for model in models:
        samples = [sample for cell in plan if cell.model == model and cell.role == "fit" and (sample := usable(cell, done))]
        wanted = [cell for cell in plan if cell.model == model and cell.is_predicted]
        try:
            fitted, predictions = _fit(samples, wanted, scale, derate)
        except NotFitted as reason:
            unfitted.append(f"{model}: {reason}")
            continue
        content["models"][model] = fitted
        content["predictions"] |= predictions
    content["unfitted"] = unfitted
    if not content["models"]:
        message = "; ".join(unfitted)
        raise NotFitted(message)
    path = path_of(journal.folder, family, journal.registered(family) + 1)
    sha256 = write_whole(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
    record = {"what": "registration", "family": family, "sha256": sha256, "at": now, "file": path.name}
    journal.append(record)
    return record


def usable(cell: Cell, done: Mapping[str, Record]) -> Sample | None:
    """The cell's timed runs, unless it failed or the device was slowed down by heat or its supply."""
    record = done.get(cell.id)
    if record is None or record["status"] != "done" or SLOWDOWNS & set(record["device"]["reasons"]):
        return None
    return Sample(cell, record["samples_s"])


def derate_of(plan: Sequence[Cell], done: Mapping[str, Record]) -> float:
    """How much longer a block takes once clock and heat have settled than in the short burst that is fitted; 1 when unknown."""
    soak = next((cell for cell in plan if cell.role == "soak"), None)
    record = None if soak is None else done.get(soak.id)
    if record is None or record["status"] != "done":
        return 1.0
    assert soak is not None
    burst = next((cell for cell in plan if cell.kind == "block" and cell.role == "fit" and cell.args == soak.args), None)
    if burst is None or done.get(burst.id, {}).get("status") != "done":
        return 1.0
    return float(record["settled_s"]) / float(done[burst.id]["median_s"])


def _fit(samples: Sequence[Sample], wanted: Sequence[Cell], scale: Scale, derate: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rates of one model, and its predictions: of the calibrated model and of the founding formula."""
    names = sorted({name for cell in [*wanted, *(sample.cell for sample in samples)] for name in drivers(cell, scale)})
    missing = [name for name in names if not any(name in drivers(sample.cell, scale) for sample in samples)]
    if missing or len(samples) < 3:
        message = f"{len(samples)} cells of the fit set ran" + (f", none of them says what {', '.join(missing)} cost" if missing else "")
        raise NotFitted(message)

    def row(cell: Cell) -> list[float]:
        amounts = drivers(cell, scale)
        return [amounts.get(name, 0.0) for name in names]

    matrix = np.array([row(sample.cell) for sample in samples for _ in sample.times_s])
    times = np.array([time_s for sample in samples for time_s in sample.times_s])
    shapes = np.array([number for number, sample in enumerate(samples) for _ in sample.times_s], dtype=np.int64)
    fit = estimator.relative_huber(matrix, times)
    targets = np.array([row(cell) for cell in wanted])
    # The interval is of the same time as the prediction, so it is stretched like it.
    stretch = np.array([derate if cell.derated else 1.0 for cell in wanted])
    bounds = estimator.bootstrap(matrix, times, shapes, targets, scale.repeats.resamples) * stretch
    linear = _founding_rate(samples, scale)
    predictions = {
        cell.id: {
            "seconds": float(targets[number] @ fit.rates * stretch[number]),
            "seconds_before_derate": float(targets[number] @ fit.rates),
            "interval_s": [float(bounds[0, number]), float(bounds[1, number])],
            "founding_s": linear * founding(cell, scale),
        }
        for number, cell in enumerate(wanted)
    }
    units = [founding(sample.cell, scale) for sample in samples if founding(sample.cell, scale)]
    fitted = {
        "rates_s": dict(zip(names, (float(rate) for rate in fit.rates), strict=True)),
        "scale": fit.scale,
        "rounds": fit.rounds,
        "samples": len(times),
        "cells": len(samples),
        "span": max(units) / min(units),
        "founding_s_per_unit": linear,
    }
    return fitted, predictions


def _founding_rate(samples: Sequence[Sample], scale: Scale) -> float:
    """The founding formula at its best: its one rate fitted to the same times, by the same estimator."""
    pairs = [(founding(sample.cell, scale), time_s) for sample in samples for time_s in sample.times_s if founding(sample.cell, scale)]
    units, times = (np.array(side) for side in zip(*pairs, strict=True))
    return float(estimator.relative_huber(units[:, None], times).rates[0])

"""Predicted against measured: errors, acceptance by rules that were there before the run, and what may be claimed."""

import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.gpu.drivers import drivers, founding
from bench.gpu.journal import Journal, Record, is_fitted, is_predicted
from bench.gpu.plan import FAMILIES, Cell, cells
from bench.gpu.scales import SCALES, Scale

# Costs are called calibrated only within these; they are those of the published plan.
MAPE_MAX = 0.05
APE_MAX = 0.10
REQUEST_APE_MAX = 0.05
SAMPLES_MIN = 30
SHAPES_MIN = 5
SPAN_MIN = 4.0
INTERVAL_MAX = 0.05

CLAIMS = (
    "May be claimed: the cost model of this implementation on one such device predicts shapes it has not seen within the errors above.",
    "May not be claimed: quality, the speed of other implementations or kernels, serving many tenants, cold starts, other devices.",
    "Not measured: the audio decoder and the reading of the prompt of the speech models, image input, quantised or distilled variants.",
)


@dataclass(frozen=True)
class Errors:
    """Relative errors of predictions: their mean and greatest size, and the mean of ln(measured / predicted)."""

    cells: int
    mape: float
    max_ape: float
    bias: float


@dataclass(frozen=True)
class Rule:
    """One condition of acceptance; ``about`` says what it failed for, when it is known."""

    name: str
    value: float
    limit: str
    met: bool
    about: str = ""


def errors(pairs: Sequence[tuple[float, float]]) -> Errors | None:
    """Of (predicted, measured); None without any."""
    if not pairs:
        return None
    sizes = [abs(predicted - measured) / measured for predicted, measured in pairs]
    bias = statistics.fmean(math.log(measured / predicted) if predicted > 0 else math.inf for predicted, measured in pairs)
    return Errors(len(pairs), statistics.fmean(sizes), max(sizes), bias)


def judge(journal: Journal) -> dict[str, Any]:
    """The report as JSON.  Raises ValueError when nothing has run."""
    sessions = journal.sessions()
    if not sessions:
        message = "nothing has run yet"
        raise ValueError(message)
    scale = SCALES[sessions[0]["scale"]]
    plan, done = cells(scale), journal.cells()
    predictions = {family: _predictions(journal, family) for family in FAMILIES}
    rows = [_row(cell, done[cell.id], predictions.get(cell.family), scale) for cell in plan if cell.id in done]
    return {
        "format": 1,
        "scale": scale.name,
        "device": sessions[0]["device"],
        "sessions": sessions,
        "remaining": [cell.id for cell in plan if cell.id not in done],
        "families": {family: _family(family, plan, journal, predictions[family], rows) for family in FAMILIES},
        "cells": rows,
        "claims": list(CLAIMS),
    }


def _predictions(journal: Journal, family: str) -> Mapping[str, Any] | None:
    registration = journal.registrations().get(family)
    path = None if registration is None else journal.folder / registration["file"]
    if path is None or not path.exists():
        return None
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _row(cell: Cell, record: Record, predictions: Mapping[str, Any] | None, scale: Scale) -> dict[str, Any]:
    kept = ("status", "reason", "started", "ended", "median_s", "iqr_s", "flop", "counted_flop", "closed_flop", "moved_bytes", "attention", "dtype")
    row: dict[str, Any] = {"cell": cell.id, "role": cell.role, "family": cell.family, "model": cell.model}
    row |= {name: record.get(name) for name in (*kept, "peak_bytes", "device", "energy_window", "settled_s")}
    row["samples"] = len(record.get("samples_s", ()))
    if predictions is None or record["status"] != "done" or cell.role not in ("fit", "holdout", "check"):
        return row
    measured = record["median_s"]
    predicted = predictions["predictions"].get(cell.id)
    if predicted is not None:
        row |= {"predicted_s": predicted["seconds"], "interval_s": predicted["interval_s"], "founding_s": predicted["founding_s"]}
    elif cell.model in predictions["models"] and cell.role == "fit":
        model = predictions["models"][cell.model]
        row["predicted_s"] = fitted_s(cell, model["rates_s"], scale)
        row["founding_s"] = model["founding_s_per_unit"] * founding(cell, scale)
    if "predicted_s" in row:
        row["error"] = row["predicted_s"] / measured - 1
    return row


def fitted_s(cell: Cell, rates_s: Mapping[str, float], scale: Scale) -> float:
    """What the rates say about a cell."""
    return sum(rates_s[name] * amount for name, amount in drivers(cell, scale).items())


def _family(
    family: str, plan: Sequence[Cell], journal: Journal, predictions: Mapping[str, Any] | None, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Registration, errors and verdict of what is predicted together."""
    if predictions is None:
        again = journal.registered(family) and family not in journal.registrations()
        why = "its fit set was measured again after the predictions, and no new ones are registered" if again else "no predictions are registered"
        return {"accepted": False, "why": [why], "rules": []}
    registration = journal.registrations()[family]
    mine = [row for row in rows if row["family"] == family and "predicted_s" in row]
    seen = [row for row in mine if row["role"] == "holdout"]
    wanted = [cell.id for cell in plan if cell.family == family and cell.role == "holdout"]
    facts: dict[str, Any] = {
        "registered": journal.registered(family),
        "registration": registration | {"file_matches": _sha256(journal.folder / registration["file"]) == registration["sha256"]},
        "first_holdout": min((row["started"] for row in rows if row["family"] == family and row["role"] in ("holdout", "check")), default=None),
        "derate": predictions["derate"],
        "models": predictions["models"],
        "unfitted": predictions["unfitted"],
        "missing": sorted(set(wanted) - {row["cell"] for row in seen}),
    }
    for name, role, key in (
        ("holdout", "holdout", "predicted_s"),
        ("check", "check", "predicted_s"),
        ("fit", "fit", "predicted_s"),
        ("founding", "holdout", "founding_s"),
    ):
        found = errors([(row[key], row["median_s"]) for row in mine if row["role"] == role])
        facts[name] = None if found is None else asdict(found)
    facts["in_order"] = _is_ordered(family, journal)
    rules = _rules(facts, seen, family)
    facts["rules"] = [asdict(rule) for rule in rules]
    facts["accepted"] = bool(rules) and all(rule.met for rule in rules)
    facts["why"] = [f"{rule.name} is {rule.value:.4g}, the rule is {rule.limit}{rule.about}" for rule in rules if not rule.met]
    facts["why"] = facts["why"] if rules else ["no cell of the hold-out set was measured"]
    return facts


def _is_ordered(family: str, journal: Journal) -> bool:
    """Whether the journal has all of the fit set, then the registration, then what was predicted, by line and by time; and under its hash.

    A fit set that is measured again begins anew: what was predicted before no longer counts, and must be registered and measured again.
    """
    valid: Record | None = None
    for record in journal.records:
        if record["what"] == "session" or record["family"] != family:
            continue
        if record["what"] == "registration":
            if valid is not None:
                return False
            valid = record
        elif is_fitted(record):
            valid = None
        elif is_predicted(record) and record["status"] == "done" and not _follows(record, valid):
            return False
    return valid is not None


def _follows(record: Record, registration: Record | None) -> bool:
    return registration is not None and record["registered"] == registration["sha256"] and record["started"] >= registration["at"]


def _missing(facts: Mapping[str, Any]) -> str:
    if not facts["missing"]:
        return ""
    return f": {', '.join(facts['missing'])}" + "".join(f"; not fitted: {reason}" for reason in facts["unfitted"])


def _rules(facts: Mapping[str, Any], seen: Sequence[Mapping[str, Any]], family: str) -> list[Rule]:
    holdout, formula = facts["holdout"], facts["founding"]
    if holdout is None:
        return []
    models = facts["models"].values()

    def at_most(name: str, value: float, limit: float) -> Rule:
        return Rule(name, value, f"<= {limit:g}", value <= limit)

    def at_least(name: str, value: float, limit: float) -> Rule:
        return Rule(name, value, f">= {limit:g}", value >= limit)

    width = max((row["interval_s"][1] - row["interval_s"][0]) / 2 / row["predicted_s"] if row["predicted_s"] else math.inf for row in seen)
    rules = [
        at_most("hold-out MAPE", holdout["mape"], MAPE_MAX),
        at_most("hold-out greatest error", holdout["max_ape"], APE_MAX),
        at_most("half width of the 90 % interval", width, INTERVAL_MAX),
        at_least("samples of the smallest fit", min(model["samples"] for model in models), SAMPLES_MIN),
        at_least("shapes of the smallest fit", min(model["cells"] for model in models), SHAPES_MIN),
        at_least("span of the shapes", min(model["span"] for model in models), SPAN_MIN),
        Rule("cells of the hold-out set that are missing", len(facts["missing"]), "<= 0", not facts["missing"], _missing(facts)),
        at_least("predictions before measurements, file as hashed", int(facts["in_order"] and facts["registration"]["file_matches"]), 1),
    ]
    whole = [abs(row["error"]) for row in seen if row["cell"].startswith("B1/")]
    if family == "video":
        # Of speech at one count of solver steps the founding formula is right, and so is the model: nothing to beat.
        rules.append(
            Rule("hold-out MAPE against the founding formula's", holdout["mape"], f"< {formula['mape']:.4g}", holdout["mape"] < formula["mape"])
        )
        rules.append(at_most("error of the whole request B1 after the derate", whole[0] if whole else math.inf, REQUEST_APE_MAX))
    return rules


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""

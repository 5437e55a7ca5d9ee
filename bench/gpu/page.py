"""The report for people: verdicts, the picture, every cell, the machine, and what may be claimed."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import Table

PICTURE = "predicted.svg"
Facts = Mapping[str, Any]


def page(report: Facts) -> str:
    """The whole page."""
    parts = [f"# Measured on {report['device']}, scale {report['scale']}\n", _lead(report), f"![Predicted against measured]({PICTURE})\n"]
    parts += [_family(name, facts) for name, facts in report["families"].items()]
    parts += [_table("Fitted and predicted", [row for row in report["cells"] if "predicted_s" in row]).markdown()]
    parts += [_ceilings(report["cells"]).markdown(), _device(report["cells"]).markdown()]
    missed = [row for row in report["cells"] if row["status"] != "done"]
    if missed:
        table = Table("Not measured", ("cell", "status", "reason"), [(row["cell"], row["status"], row["reason"]) for row in missed])
        parts.append(table.markdown())
    parts.append("## What may be claimed\n\n" + "\n".join(f"- {claim}" for claim in report["claims"]) + "\n")
    parts += [_machine(report["sessions"])]
    return "\n".join(parts)


def _lead(report: Facts) -> str:
    lines = []
    if report["scale"] != "full":
        lines.append("Tiny dimensions: this page shows that the bench works and says nothing about the speed or the price of anything.")
    if report["remaining"]:
        lines.append(f"Unfinished: {len(report['remaining'])} cells remain.")
    for name, facts in report["families"].items():
        found = facts.get("holdout")
        size = "" if found is None else f": hold-out MAPE {found['mape']:.1%}, greatest error {found['max_ape']:.1%}"
        lines.append(f"**{name}** {'is accepted' if facts['accepted'] else 'is not accepted'}{size}.")
    return "  \n".join(lines) + "\n"


def _family(name: str, facts: Facts) -> str:
    if "registration" not in facts:
        return f"## {name}\n\n{'; '.join(facts['why'])}\n"
    registration = facts["registration"]
    order = "Fit set, predictions and predicted cells follow each other in the journal."
    lines = [
        f"## {name}\n",
        f"Predictions written {registration['at']} to {registration['file']}, SHA-256 `{registration['sha256']}`.",
        "" if facts["registered"] == 1 else f"They are number {facts['registered']}: the fit set was measured again after those before.",
        "" if registration["file_matches"] else "**The file no longer has this hash.**",
        f"The first cell they speak of began {facts['first_holdout']}. {order if facts['in_order'] else '**The order in the journal is wrong.**'}",
        f"Settled clock against short burst: {facts['derate']:.4f}." if name == "video" else "",
    ]
    table = Table(f"Errors of {name}", ("set", "cells", "MAPE", "greatest", "bias"))
    titles = (("holdout", "hold-out"), ("check", "known shapes, unseen whole"), ("fit", "fit set"), ("founding", "founding formula on the hold-out"))
    for key, title in titles:
        found = facts[key]
        if found is not None:
            table.rows.append((title, str(found["cells"]), f"{found['mape']:.2%}", f"{found['max_ape']:.2%}", f"{found['bias']:+.4f}"))
    rules = Table(f"Acceptance of {name}", ("rule", "value", "limit", "met"))
    rules.rows = [(rule["name"], f"{rule['value']:.4g}", rule["limit"], "yes" if rule["met"] else "no") for rule in facts["rules"]]
    rates = Table(f"Rates of {name}", ("model", "driver", "seconds each", "each a second"))
    for model, fitted in facts["models"].items():
        for driver, rate in fitted["rates_s"].items():
            rates.rows.append((model, driver, f"{rate:.5g}", f"{1 / rate:.5g}" if rate else "-"))
    more = "\n".join([*(f"Not fitted: {reason}." for reason in facts["unfitted"]), *(f"Missing: {cell}." for cell in facts["missing"]), ""])
    return "\n".join([*filter(None, lines), "", table.markdown(), rules.markdown(), rates.markdown(), more])


def _table(title: str, rows: Sequence[Facts]) -> Table:
    table = Table(title, ("cell", "role", "measured ms", "IQR ms", "predicted ms", "error", "founding formula", "TFLOP/s", "samples"))
    for row in rows:
        founding = row.get("founding_s")
        table.rows.append(
            (
                row["cell"],
                row["role"],
                _ms(row["median_s"]),
                _ms(row["iqr_s"]),
                _ms(row["predicted_s"]),
                f"{row['error']:+.2%}",
                f"{founding / row['median_s'] - 1:+.0%}" if founding else "-",
                f"{row['flop'] / row['median_s'] / 1e12:.4g}",
                str(row["samples"]),
            )
        )
    return table


def _ceilings(rows: Sequence[Facts]) -> Table:
    table = Table("Ceilings and the soak", ("cell", "measured ms", "IQR ms", "TFLOP/s", "GB/s", "samples"))
    for row in rows:
        if row["role"] in ("ceiling", "soak") and row["status"] == "done" and row["median_s"] is not None:
            rate = f"{row['flop'] / row['median_s'] / 1e12:.4g}" if row["flop"] else "-"
            moved = f"{row['moved_bytes'] / row['median_s'] / 1e9:.4g}" if row["moved_bytes"] else "-"
            table.rows.append((row["cell"], _ms(row["median_s"]), _ms(row["iqr_s"]), rate, moved, str(row["samples"])))
    return table


def _device(rows: Sequence[Facts]) -> Table:
    columns = (
        "cell",
        "SM MHz",
        "temperature C",
        "power W",
        "energy J a run",
        "peak GB",
        "reasons",
        "attention",
        "numbers",
        "FLOP counted = closed form",
    )
    table = Table("What the device said", columns)
    for row in rows:
        if row["status"] != "done":
            continue
        window = row["energy_window"] or {}
        joules = window.get("j_per_run")
        table.rows.append(
            (
                row["cell"],
                *(_span(row["device"][name]) for name in ("sm_mhz", "temperature_c", "power_w")),
                "-" if joules is None else f"{joules:.4g}",
                "-" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e9:.1f}",
                ", ".join(row["device"]["reasons"]) or "-",
                ", ".join(row["attention"] or ()) or "-",
                row["dtype"] or "-",
                f"{row['counted_flop']:,}" if row["counted_flop"] else "-",
            )
        )
    return table


def _machine(sessions: Sequence[Facts]) -> str:
    lines = ["## Machine\n"]
    for session in sessions:
        facts = {**session, **session["machine"], **session["settings"]}
        told = ", ".join(
            f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if name not in ("machine", "settings", "what", "at", "when")
        )
        lines.append(f"- {session['at']}: {told}")
    return "\n".join(lines) + "\n"


def _ms(value_s: float) -> str:
    return f"{value_s * 1000:,.4g}" if value_s < 10 else f"{value_s * 1000:,.0f}"


def _span(span: Mapping[str, float] | None) -> str:
    return "-" if span is None else f"{span['median']:.0f} ({span['least']:.0f}-{span['most']:.0f})"

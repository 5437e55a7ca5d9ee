"""Keep a run: gathers ``bench/out/*.json`` into ``bench/results/latest.json``, a page to read, and its pictures."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from bench import estimates_page
from bench.figures import Table
from bench.processes import OUT, ROOT

NAMES = (
    "startup",
    "ledger",
    "replay",
    "gateway",
    "peers",
    "memory",
    "soak",
    "estimates",
    "meters",
    "tokenizers",
    "quotes",
    "surge",
    "fairness",
    "admission",
)
RESULTS = ROOT / "bench" / "results"
SURGE = "surge"
CONCEPTS = ROOT / "docs" / "concepts"


def main() -> int:
    """Write the files from the latest run of each benchmark."""
    found = gathered(OUT, RESULTS)
    if not found:
        print("nothing to keep; run `make bench` first", file=sys.stderr)
        return 1
    RESULTS.mkdir(exist_ok=True)
    # One line for each benchmark: readable by machines, and a small change in a diff.
    lines = ",\n".join(json.dumps(one) for one in found)
    (RESULTS / "latest.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    (RESULTS / "latest.md").write_text(page(found), encoding="utf-8")
    for one in found:
        if "picture" in one and (OUT / one["picture"]).exists():
            shutil.copyfile(OUT / one["picture"], RESULTS / one["picture"])
        if one["name"] == SURGE:
            shutil.copyfile(RESULTS / one["picture"], CONCEPTS / one["picture"])
        if one["name"] == "fairness" and (OUT / one["picture"]).exists():
            shutil.copyfile(OUT / one["picture"], CONCEPTS / one["picture"])
        if one["name"] == estimates_page.NAME:
            estimates_page.write(one, RESULTS / one["picture"], CONCEPTS)
        if one["name"] == "admission" and (RESULTS / one["picture"]).exists():
            shutil.copyfile(RESULTS / one["picture"], CONCEPTS / "limits.svg")
    print("kept in bench/results/latest.md and latest.json")
    return 0


def gathered(out: Path, results: Path) -> list[dict[str, Any]]:
    """The latest run of each benchmark: from ``out``, or, when it did not run in this checkout, what was kept before."""
    kept = results / "latest.json"
    runs = {one["name"]: one for one in json.loads(kept.read_text(encoding="utf-8"))} if kept.exists() else {}
    runs |= {name: json.loads((out / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES if (out / f"{name}.json").exists()}
    return [runs[name] for name in NAMES if name in runs]


def page(found: list[dict[str, Any]]) -> str:
    """The tables of all benchmarks, each with the machine it ran on."""
    parts = ["# Benchmark results\n\nThe latest run of each that was kept.  Medians over rounds; least and most in brackets where they are given.\n"]
    for one in found:
        machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in one["machine"].items())
        parts.append(f"## {one['name']}\n\n{machine}\n")
        parts += [Table(**table).markdown() for table in one["tables"]]
        if "picture" in one:
            parts.append(f"![{one['name']}]({one['picture']})\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())

"""Keep a run: gathers ``bench/out/*.json`` into ``bench/results/latest.json`` and a page to read."""

import json
import sys
from typing import Any

from bench.figures import Table
from bench.processes import OUT, ROOT

NAMES = ("startup", "ledger", "replay", "gateway")
RESULTS = ROOT / "bench" / "results"


def main() -> int:
    """Write both files from the latest run of each benchmark."""
    found = [json.loads((OUT / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES if (OUT / f"{name}.json").exists()]
    if not found:
        print("nothing to keep; run `make bench` first", file=sys.stderr)
        return 1
    RESULTS.mkdir(exist_ok=True)
    # One line for each benchmark: readable by machines, and a small change in a diff.
    lines = ",\n".join(json.dumps(one) for one in found)
    (RESULTS / "latest.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    (RESULTS / "latest.md").write_text(page(found), encoding="utf-8")
    print("kept in bench/results/latest.md and latest.json")
    return 0


def page(found: list[dict[str, Any]]) -> str:
    """The tables of all benchmarks, each with the machine it ran on."""
    parts = ["# Benchmark results\n\nOne run of `make bench`.  Medians over rounds; least and most in brackets where they are given.\n"]
    for one in found:
        machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in one["machine"].items())
        parts.append(f"## {one['name']}\n\n{machine}\n")
        parts += [Table(**table).markdown() for table in one["tables"]]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())

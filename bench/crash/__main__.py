"""``make crash``: kill the system's processes under load, and see that nothing is lost, doubled or stuck."""

import argparse
import asyncio
import json
import random
import sys
import time
from typing import Any

from bench.crash import plan, report
from bench.crash.controls import CONTROLS
from bench.crash.run import Options, Result, run
from bench.figures import Table, publish
from bench.processes import OUT
from bench.results import RESULTS

NAME = "crash"
FOLDER = OUT / NAME


def main() -> int:
    """Run, print, keep; exit code 1 when anything was lost, doubled or stuck, or when a control was not found."""
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many processes to kill (100)")
    parser.add_argument("--seed", type=int, default=None, help="of the order of kills and of the clients; without one it is drawn, and printed")
    parser.add_argument("--only", choices=list(CONTROLS), help="run one negative control, and no kills")
    parser.add_argument("--no-controls", action="store_true", help="leave the negative controls out")
    parser.add_argument("--keep", action="store_true", help="write the tables into bench/results/")
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    print(f"crash: seed {seed}", file=sys.stderr, flush=True)
    tables: list[Table] = []
    facts: dict[str, Any] = {"seed": seed}
    good = True
    if args.only is not None or not args.no_controls:
        results = {name: _control(name, seed) for name in CONTROLS if args.only in (None, name)}
        tables.append(report.controls_table(results))
        good = all(CONTROLS[name].is_caught(result) for name, result in results.items())
    if args.only is None:
        started_s = time.monotonic()
        options = Options(out=FOLDER, cells=plan.long(seed), kills=args.kills, seed=seed, report=report.Progress(args.kills))
        result = asyncio.run(run(options))
        tables.insert(0, report.table(result, seed, (time.monotonic() - started_s) / 60))
        facts |= {"strikes": result.strikes, "facts": result.books.facts, "quiet_s": round(result.quiet_s, 1), "server": result.server}
        good = good and result.books.agree
    publish(NAME, tables, facts)
    if args.keep:
        _keep()
    return 0 if good else 1


def _control(name: str, seed: int) -> Result:
    print(f"crash: control {name}", file=sys.stderr, flush=True)
    return asyncio.run(CONTROLS[name].run(FOLDER / name, seed))


def _keep() -> None:
    """The latest run as a page and as figures."""
    kept = json.loads((OUT / f"{NAME}.json").read_text(encoding="utf-8"))
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in kept["machine"].items())
    head = f"# Crash test results\n\nOne run of `make crash`; what it does: [crash tests](../../docs/operating/crash-tests.md).\n\n{machine}\n"
    (RESULTS / "crash.json").write_text(json.dumps(kept) + "\n", encoding="utf-8")
    (RESULTS / "crash.md").write_text("\n".join([head, *(Table(**table).markdown() for table in kept["tables"])]), encoding="utf-8")
    print("kept in bench/results/crash.md and crash.json")


if __name__ == "__main__":
    sys.exit(main())

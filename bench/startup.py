"""How long a user waits: from the command to the first 200 of ``GET /readyz``.

The first start makes everything in an empty data folder (database cluster, schema, catalog, demo project); the later
ones find it there.  All packages are installed.  The demo engines are part of it: ready means that each has answered.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

from bench import processes, product
from bench.figures import Table, publish, spread

NAME = "startup"
GOAL_S = 5.0


def command() -> list[str]:
    """``make run`` when this is the Python that it would use, else the command behind it."""
    if Path(sys.prefix).resolve() == (processes.ROOT / ".venv").resolve():
        return ["make", "--no-print-directory", "run"]
    return processes.python("taximeter.cli", "serve")


def start_and_stop(home: Path) -> tuple[float, float]:
    """Seconds until ready, and until everything has stopped."""
    port = processes.free_port()
    environ = {"TAXIMETER_HOME": str(home), "TAXIMETER_PORT": str(port), "TAXIMETER_DATABASE_URL": "", "TAXIMETER_DEMO": "1"}
    begin = time.monotonic()
    with processes.child("startup", command(), environ=environ) as process:
        processes.await_ready("startup", process, port)
        ready_s = time.monotonic() - begin
        stopping = time.monotonic()
    return ready_s, time.monotonic() - stopping


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one later start instead of five")
    rounds = 1 if parser.parse_args().quick else 5
    with product.folder() as home:
        first_s, first_stop_s = start_and_stop(home)
        later = [start_and_stop(home) for _ in range(rounds)]
    ready, stopped = [pair[0] for pair in later], [pair[1] for pair in later]
    table = Table(
        f"Startup: `{'make run' if command()[0] == 'make' else 'taximeter serve'}` with the demo engines, {os.cpu_count()} cores, seconds",
        ("start", "ready", "stopped"),
        [
            ("first, empty data folder", f"{first_s:.2f}", f"{first_stop_s:.2f}"),
            (f"later, {rounds} rounds", spread(ready).show(2), spread(stopped).show(2)),
        ],
        (f"goal: ready in {GOAL_S:.0f} s when everything is installed; median of the later starts: {statistics.median(ready):.2f} s",),
    )
    publish(NAME, [table], {"first_s": first_s, "ready_s": ready, "stopped_s": stopped})
    return 0


if __name__ == "__main__":
    sys.exit(main())

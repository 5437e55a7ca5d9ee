"""Medians, spreads, tables for people, and what machine it was."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.processes import OUT, ROOT

# What the machine was doing before we came.
_LOAD_BEFORE = os.getloadavg()[0]


@dataclass(frozen=True)
class Spread:
    """A median over rounds, and how far the rounds lay apart."""

    median: float
    low: float
    high: float

    def show(self, digits: int = 0) -> str:
        """``1,234 (1,100-1,300)``."""
        median, low, high = (f"{value:,.{digits}f}" for value in (self.median, self.low, self.high))
        return f"{median} ({low}-{high})" if (low, high) != (median, median) else median


def spread(values: Iterable[float]) -> Spread:
    """Median, least and most."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


@dataclass
class Table:
    """A titled table; the first column is text, the others are right-aligned."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: Sequence[str] = ()

    def text(self) -> str:
        """For a terminal."""
        widths = [max(len(row[index]) for row in [self.columns, *self.rows]) for index in range(len(self.columns))]

        def line(row: Sequence[str]) -> str:
            cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            return "  ".join(cells).rstrip()

        rule = "  ".join("-" * width for width in widths)
        return "\n".join(["", self.title, line(self.columns), rule, *(line(row) for row in self.rows), *self.notes])

    def markdown(self) -> str:
        """For a page."""
        lines = [f"### {self.title}", "", _cells(self.columns), _cells(["---", *("--:" for _ in self.columns[1:])])]
        return "\n".join([*lines, *(_cells(row) for row in self.rows), *(f"\n{note}" for note in self.notes), ""])


def _cells(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


def machine() -> dict[str, Any]:
    """What the figures depend on; no names of hosts, users or folders."""
    return {
        "when": datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_before": round(_LOAD_BEFORE, 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """The checkout's commit, with a plus when files differ from it."""
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
        changed = subprocess.run(["git", "status", "--porcelain", "src"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def publish(name: str, tables: Sequence[Table], facts: dict[str, Any], picture: str = "") -> None:
    """Print the tables; keep them and the raw figures in ``bench/out/NAME.json``, and an SVG beside it."""
    for table in tables:
        print(table.text())
    OUT.mkdir(exist_ok=True)
    content = {"name": name, "machine": machine(), "tables": [asdict(table) for table in tables], **facts}
    if picture:
        (OUT / f"{name}.svg").write_text(picture, encoding="utf-8")
        print(f"\npicture: bench/out/{name}.svg")
        content["picture"] = f"{name}.svg"
    (OUT / f"{name}.json").write_text(json.dumps(content, default=_plain) + "\n", encoding="utf-8")


def verdict(goal: str, value: float, *, met: bool, digits: int = 1) -> str:
    """``>= 25 x LiteLLM: 27.1, met``."""
    return f"goal {goal}: {value:,.{digits}f}, {'met' if met else 'not met'}"


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON
    return asdict(value)  # type: ignore[call-overload]

"""The memory of every process of the product over very many requests, plain and streamed, of several projects and keys.

No two requests have the same prompt, so that whatever remembers prompts is filled to its limit.  After the run every
answer must have its receipt, and the log must give what the wallets paid.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import uvloop

from bench import load, mock_upstream, processes, product
from bench.figures import Table, publish, verdict
from bench.passthrough import PATH
from bench.pictures import Line, Panel, svg

NAME = "memory"
REQUESTS, QUICK_REQUESTS = 1_000_000, 20_000
EVERY_MAX = 10_000
CONNECTIONS = 32
PROJECTS, KEYS = 4, 2
# One in four is a stream.
STREAM_EVERY = 4
GROWTH_MAX, GATEWAY_MB_MAX = 0.05, 250.0
SHARES = (0.10, 0.25, 0.50, 0.75, 1.0)
MB = 1e6


@dataclass
class Series:
    """Memory in MB, by process, at numbers of answers.

    Attributes:
        answers: when it was read.
        memory: by process, one reading for each.
    """

    answers: list[int] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)

    def at(self, name: str, share: float) -> float:
        """The reading nearest to a share of all answers."""
        wanted = share * self.answers[-1]
        nearest = min(range(len(self.answers)), key=lambda index: abs(self.answers[index] - wanted))
        return self.memory[name][nearest]

    def growth(self, name: str) -> float:
        """From a tenth of the run, when everything is warm, to its end: 0.05 is five per cent."""
        return self.at(name, 1.0) / self.at(name, SHARES[0]) - 1


class Watch:
    """Reads the memory now and then, and says how far the run is."""

    def __init__(self, pids: dict[str, int], requests: int) -> None:
        self._pids = pids
        self._requests = requests
        self._start = perf_counter()
        self.series = Series(memory={name: [] for name in pids})

    def look(self, answers: int) -> None:
        """Read all processes; one that is gone makes the run worthless."""
        self.series.answers.append(answers)
        for name, pid in self._pids.items():
            size = processes.resident_bytes(pid)
            assert size is not None, f"{name} has died; see bench/out/{product.NAME}.log"
            self.series.memory[name].append(size / MB)
        if answers:
            rate = answers / (perf_counter() - self._start)
            left_s = (self._requests - answers) / rate
            now = ", ".join(f"{name} {values[-1]:.1f} MB" for name, values in self.series.memory.items() if name.startswith("gateway"))
            line = f"  memory: {answers:,} of {self._requests:,} answers, {rate:,.0f}/s, {left_s / 60:.1f} min to go; {now}"
            print(line, file=sys.stderr, flush=True)


def requests(keys: Sequence[str], count: int) -> Iterator[bytes]:
    """Questions of all keys in turn, each with another prompt; every fourth wants a stream."""
    for number in range(count):
        question = {
            "model": mock_upstream.MODEL,
            "messages": [{"role": "user", "content": f"What did trip {number} cost, and who can check what its meter has counted?"}],
            "max_tokens": 64,
            "stream": number % STREAM_EVERY == STREAM_EVERY - 1,
        }
        # The key changes when all kinds of request have been sent with it.
        yield load.post(PATH, json.dumps(question).encode(), keys[number // STREAM_EVERY % len(keys)])


def table(series: Series) -> Table:
    """The readings at some shares of the run, and the growth between the first and the last of them."""
    gateways = [name for name in series.memory if name.startswith("gateway")]
    growth = max(series.growth(name) for name in gateways)
    most = max(max(series.memory[name]) for name in gateways)
    made = Table(
        f"Memory over {series.answers[-1]:,} requests, one in {STREAM_EVERY} streamed: resident MB",
        ("process", "idle", *(f"at {share:.0%}" for share in SHARES), "most", "growth"),
        notes=(
            f"growth: from {SHARES[0]:.0%} to 100% of the run; {PROJECTS} projects with {KEYS} keys each, {CONNECTIONS} connections, no prompt twice",
            verdict(f"gateway grows by less than {GROWTH_MAX:.0%}, in %", growth * 100, met=growth < GROWTH_MAX),
            verdict(f"gateway stays below {GATEWAY_MB_MAX:.0f} MB, at most", most, met=most < GATEWAY_MB_MAX),
        ),
    )
    for name, values in series.memory.items():
        shown = [f"{series.at(name, share):.1f}" for share in (0.0, *SHARES)]
        made.rows.append((name, *shown, f"{max(values):.1f}", f"{series.growth(name):+.1%}"))
    return made


def picture(series: Series) -> str:
    """Memory against answers."""
    lines = [Line(name, list(zip(map(float, series.answers), values, strict=True))) for name, values in series.memory.items()]
    return svg([Panel("Resident memory, MB", "answers", lines, [(f"goal {GATEWAY_MB_MAX:.0f} MB", GATEWAY_MB_MAX)])])


def main() -> int:
    """Run, print, keep; exit code 1 when the books do not agree with what was answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_REQUESTS:,} requests")
    parser.add_argument("--requests", type=int, help=f"how many ({REQUESTS:,})")
    args = parser.parse_args()
    count: int = args.requests or (QUICK_REQUESTS if args.quick else REQUESTS)
    every = max(1, min(EVERY_MAX, count // 20))
    with processes.serving("mock_upstream") as (mock_port, _), product.running(mock_port, PROJECTS, KEYS) as server:
        watch = Watch({"supervisor": server.state.pid, **server.state.processes}, count)
        watch.look(0)
        keys = [key for project in server.projects for key in project.keys]
        answers = uvloop.run(load.drive(server.port, requests(keys, count), CONNECTIONS, every, watch.look))
        if watch.series.answers[-1] != answers:
            watch.look(answers)
        print("  memory: comparing answers, receipts, wallets and log", file=sys.stderr, flush=True)
        found = product.audit(server, answers)
    made = table(watch.series)
    made.notes = (*made.notes, f"books: {found.sentence()}")
    publish(NAME, [made], {"requests": count, "series": watch.series, "audit": found}, picture(watch.series))
    return 0 if found.agrees else 1


if __name__ == "__main__":
    sys.exit(main())

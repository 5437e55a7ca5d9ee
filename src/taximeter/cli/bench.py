"""``taximeter bench``: run the benchmarks of the checkout."""

import argparse
import subprocess
import sys
from pathlib import Path

import taximeter
from taximeter.cli.arguments import Subparsers, positive
from taximeter.kernel.errors import SetupError

# In the order in which they are run when none is named.
NAMES = ("startup", "ledger", "replay", "gateway")
# These take long or are about one thing, and one installs other people's software: they run only when they are named.
LONG_NAMES = ("peers", "memory", "soak", "estimates", "meters", "tokenizers", "quotes", "surge", "fairness", "admission")
# Options that belong to one benchmark.
OWN_OPTIONS = {"requests": "memory", "seconds": "soak", "rate": "soak"}


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "bench",
        help="run the benchmarks of the checkout",
        description="Run benchmarks and print their ratios.  They are in the source checkout, not in the installed package.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which ones: {', '.join((*NAMES, *LONG_NAMES))}; without any, the first {len(NAMES)}"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--requests", type=positive, help="memory: how many requests (1,000,000)")
    parser.add_argument("--seconds", type=positive, help="soak: how long (600)")
    parser.add_argument("--rate", type=positive, help="soak: operations a second (as many as it can)")
    parser.add_argument("--keep", action="store_true", help="write the figures into bench/results/")


def run(args: argparse.Namespace) -> int:
    """Run each benchmark in a process of its own; the exit code is that of the first that failed."""
    checkout = Path(taximeter.__file__).parents[2]
    if not (checkout / "bench" / "__init__.py").is_file():
        message = "the benchmarks are in the folder bench/ of the source checkout; clone it and run `make bench` there"
        raise SetupError(message)
    commands = [[f"bench.{name}", *options_of(name, args)] for name in chosen(args)]
    if args.keep:
        commands.append(["bench.results"])
    for command in commands:
        done = subprocess.run([sys.executable, "-m", *command], cwd=checkout, env=args.environ, check=False)  # noqa: S603 - our own programs
        if done.returncode != 0:
            return done.returncode
    return 0


def chosen(args: argparse.Namespace) -> list[str]:
    """The benchmarks to run.  Raises SetupError for one that does not exist, and for an option of one that does not run."""
    names = list(args.names or NAMES)
    unknown = [name for name in names if name not in (*NAMES, *LONG_NAMES)]
    if unknown:
        message = f"there is no benchmark {unknown[0]!r}; choose from {', '.join((*NAMES, *LONG_NAMES))}"
        raise SetupError(message)
    for option, owner in OWN_OPTIONS.items():
        if getattr(args, option) is not None and owner not in names:
            message = f"--{option} is an option of the benchmark {owner}; name it too: taximeter bench {owner} --{option} ..."
            raise SetupError(message)
    return names


def options_of(name: str, args: argparse.Namespace) -> list[str]:
    """What a benchmark is started with."""
    own = [option for option, owner in OWN_OPTIONS.items() if owner == name and getattr(args, option) is not None]
    return [*(["--quick"] if args.quick else []), *(part for option in own for part in (f"--{option}", str(getattr(args, option))))]

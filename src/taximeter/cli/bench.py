"""``taximeter bench``: run the benchmarks of the checkout."""

import argparse
import subprocess
import sys
from pathlib import Path

import taximeter
from taximeter.cli.arguments import Subparsers
from taximeter.kernel.errors import SetupError

# In the order in which they are run.
NAMES = ("startup", "ledger", "replay", "gateway")


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "bench",
        help="run the benchmarks of the checkout",
        description="Run benchmarks and print their ratios.  They are in the source checkout, not in the installed package.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(NAMES)}; without any, all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--keep", action="store_true", help="write the figures into bench/results/")


def run(args: argparse.Namespace) -> int:
    """Run each benchmark in a process of its own; the exit code is that of the first that failed."""
    checkout = Path(taximeter.__file__).parents[2]
    if not (checkout / "bench" / "__init__.py").is_file():
        message = "the benchmarks are in the folder bench/ of the source checkout; clone it and run `make bench` there"
        raise SetupError(message)
    unknown = [name for name in args.names if name not in NAMES]
    if unknown:
        message = f"there is no benchmark {unknown[0]!r}; choose from {', '.join(NAMES)}"
        raise SetupError(message)
    options = ["--quick"] if args.quick else []
    commands = [[f"bench.{name}", *options] for name in args.names or NAMES]
    if args.keep:
        commands.append(["bench.results"])
    for command in commands:
        done = subprocess.run([sys.executable, "-m", *command], cwd=checkout, env=args.environ, check=False)  # noqa: S603 - our own programs
        if done.returncode != 0:
            return done.returncode
    return 0

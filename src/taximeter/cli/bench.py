"""``taximeter bench``: run the benchmarks of the checkout."""

import argparse
import subprocess
import sys
from pathlib import Path

import taximeter
from taximeter.cli.arguments import Subparsers
from taximeter.kernel.errors import SetupError


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "bench",
        help="run the benchmarks of the checkout",
        description="Run bench/bench_NAME.py for each NAME, or all of them.  The scripts are in the source checkout, not in the installed package.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; without any, all")


def run(args: argparse.Namespace) -> int:
    """Run each script in a process of its own; the exit code is that of the first that failed."""
    folder = Path(taximeter.__file__).parents[2] / "bench"
    scripts = {path.stem.removeprefix("bench_"): path for path in sorted(folder.glob("bench_*.py"))}
    if not scripts:
        message = "the benchmarks are in the folder bench/ of the source checkout; clone it and run `make bench` there"
        raise SetupError(message)
    unknown = [name for name in args.names if name not in scripts]
    if unknown:
        message = f"there is no benchmark {unknown[0]!r}; choose from {', '.join(scripts)}"
        raise SetupError(message)
    for name in args.names or scripts:
        done = subprocess.run([sys.executable, str(scripts[name])], env=args.environ, check=False)  # noqa: S603 - our own scripts
        if done.returncode != 0:
            return done.returncode
    return 0

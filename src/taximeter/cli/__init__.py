"""The command ``taximeter``: one file a command, each with ``add_parser(subparsers)`` and ``run(args) -> int``.

__init__     find the command, run it, turn refusals into one line and an exit code
database     which database a command talks to
lifeline     a child ends when its parent does
supervisor/  the family of processes that ``taximeter serve`` keeps alive
"""

import argparse
import importlib
import logging
import os
import select
import sys
from collections.abc import Sequence

from taximeter import __version__
from taximeter.cli import lifeline
from taximeter.kernel.errors import Refusal, SetupError
from taximeter.kernel.settings import Settings

# In the order of the help page.  The module is the name with underscores; it is imported when the command is used.
COMMANDS = (
    "serve",
    "worker",
    "gateway-process",
    "migrate",
    "apply",
    "quote",
    "cards",
    "quotes",
    "signing-keys",
    "projects",
    "keys",
    "limits",
    "wallet",
    "topup",
    "grants",
    "budgets",
    "refund",
    "receipts",
    "explain",
    "prices",
    "surge",
    "usage",
    "drift",
    "events",
    "webhooks",
    "approvals",
    "health",
    "replay",
    "reconcile",
    "bench",
    "version",
)
# sysexits.h: the set-up is wrong; trying again changes nothing.  The supervisor gives up on a child that says so.
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130
LOG_LEVELS = ("critical", "error", "warning", "info", "debug")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, 1 refused, 2 wrong usage, 78 wrong set-up, 130 Ctrl-C."""
    try:
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        # Whoever read our output (head, less) has enough; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: list[str]) -> int:
    args = _parse(arguments)
    # The one place that sees the environment; everything below is handed what it needs.
    args.environ = dict(os.environ)  # noqa: TID251 - this is the composition root
    lifeline.hold(args.environ)
    try:
        _configure_logging(args.environ)
        code: int = args.run(args)
    except SetupError as error:
        print(f"taximeter: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return EXIT_CONFIG
    except Refusal as error:
        # As it is: a catalog has a line for each fault.
        print(f"taximeter: {error.message}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return code


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="taximeter", description="The fare meter for generative AI.")
    parser.add_argument("--version", action="version", version=f"taximeter {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # Importing one command takes a fraction of the time of importing all.
    names = arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS
    for name in names:
        module = importlib.import_module(f"taximeter.cli.{name.replace('-', '_')}")
        module.add_parser(subparsers)
        subparsers.choices[name].set_defaults(run=module.run)
    return parser.parse_args(arguments)


def _configure_logging(environ: dict[str, str]) -> None:
    level = Settings.from_env(environ).log_level.lower()
    if level not in LOG_LEVELS:
        message = f"TAXIMETER_LOG_LEVEL={level!r} is not one of {', '.join(LOG_LEVELS)}; correct or unset it"
        raise SetupError(message)
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s")


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads: any other broken pipe is an error."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))

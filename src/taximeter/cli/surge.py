"""``taximeter surge``: what the engines' load makes of their prices now, and every change of them."""

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from taximeter.admission.surge import Board
from taximeter.cli.arguments import Subparsers, positive
from taximeter.cli.projects import open_command_office
from taximeter.cli.table import print_table

CHANGES = 50
NO_CHANGE = "no price has changed with the load"
NO_SURGE = "no price follows the load of an engine, or nothing was measured yet"


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "surge",
        help="the multipliers of the moment, and their audit",
        description="How busy the engines are whose prices follow their load, and what that makes of the prices; --changes: every change.",
    )
    parser.add_argument("engine", metavar="ENGINE", nargs="?", help="only this engine")
    parser.add_argument("--changes", action="store_true", help=f"the last changes instead, newest first, at most --limit ({CHANGES})")
    parser.add_argument("--limit", type=positive, default=CHANGES, metavar="N", help="how many changes")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print the engines or the changes."""
    rows = asyncio.run(_rows(args))
    if args.json:
        for row in rows:
            print(json.dumps(row))
        return 0
    names = ("number", "at", "engine", "from", "to", "utilisation_percent", "reason") if args.changes else _SHOWN
    print_table(
        [name.replace("_", " ").replace("percent", "%") for name in names],
        [[_shown(row[name]) for name in names] for row in rows],
        NO_CHANGE if args.changes else NO_SURGE,
    )
    return 0


_SHOWN = ("engine", "multiplier", "since", "utilisation_percent", "smoothed_percent", "unknown_because", "changes")


def _shown(cell: object) -> str:
    return "" if cell is None else str(cell)


async def _rows(args: argparse.Namespace) -> Sequence[Mapping[str, Any]]:
    async with open_command_office(args.environ) as office:
        if args.changes:
            return [change.to_api() for change in await office.surge.changes(args.engine, None, args.limit)]
        # Also where this shell's environment does not say that surge prices are on.
        board = Board(office.desk.clock, await office.surge.read())
        return [board.view(current) for current in board.all() if args.engine in (None, current.engine)]

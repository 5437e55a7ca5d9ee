"""``taximeter health``: the circuit breakers of all living processes, and closing one by hand."""

import argparse
import asyncio
import json
from typing import Any

from taximeter.admission import breakers
from taximeter.cli.arguments import Subparsers, add_operator, sender
from taximeter.cli.projects import open_command_office
from taximeter.cli.table import print_table

HEAD = ("engine", "model", "process", "state", "since", "failures", "again in s", "reason")


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "health",
        help="the circuit breakers of engines, and closing one",
        description="The circuit breakers of all living processes. An open one refuses calls; half open, the next call decides.",
    )
    parser.add_argument("--reset", nargs=2, metavar=("ENGINE", "MODEL"), help="close this one in every process; MODEL is a version, name@version")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    add_operator(parser)


def run(args: argparse.Namespace) -> int:
    """Print one row for each process, engine and model."""
    rows = asyncio.run(_health(args))
    if args.json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    elif args.reset:
        print(f"the circuit breaker of {args.reset[0]} for {args.reset[1]} is closed with the next heartbeat of each process")
    else:
        print_table(HEAD, [_cells(row) for row in rows], "no living process has called an engine yet")
    return 0


async def _health(args: argparse.Namespace) -> list[dict[str, Any]]:
    async with open_command_office(args.environ) as office:
        resets = breakers.Resets(office.desk.guard.breakers, office.breakers)
        if args.reset:
            engine, model = args.reset
            return [await resets.reset(engine, model, sender(args))]
        return await resets.list_all()


def _cells(row: dict[str, Any]) -> list[str]:
    again = "" if row["retry_after_s"] is None else str(row["retry_after_s"])
    process = f"{row['process_kind']} {row['process'][-12:]}"
    return [row["engine"], row["model"], process, row["state"], row["since"][:19], str(row["failures"]), again, row["reason"] or ""]

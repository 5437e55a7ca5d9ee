"""``taximeter replay``: recompute every balance from the log alone and compare."""

import argparse
import asyncio
import contextlib
import json
import sys
from pathlib import Path

from taximeter.cli.arguments import Subparsers
from taximeter.cli.database import open_database
from taximeter.cli.progress import Progress
from taximeter.cli.table import count
from taximeter.db.pool import connect_owner
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import format_tokens
from taximeter.ledger.replay import Report, replay


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "replay",
        help="recompute every balance from the log alone and compare",
        description="Recompute every balance and open hold from the log alone, with code that shares nothing with the ledger, and check that "
        "requests, receipts and jobs say the same.  Reads one snapshot: safe on a running system.",
    )
    parser.add_argument("--acknowledged", type=Path, metavar="FILE", help="what a client was told, one JSON object a line; - for standard input")
    parser.add_argument("--progress", action="store_true", help="tell how far it is, also when standard error is no terminal")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what was read; exit code 1 and a line for each kind of difference when there is one."""
    report = asyncio.run(_replay(args))
    if args.json:
        print(json.dumps(report.to_json()))
    else:
        _show(report)
    return 0 if report.agrees else 1


def _show(report: Report) -> None:
    acknowledged = f" {count(report.acknowledged, 'acknowledgement')}," if report.acknowledged else ""
    overdue = f" ({report.overdue_holds} overdue)" if report.overdue_holds else ""
    print(
        f"{count(report.rows, 'row')}, {count(report.accounts, 'account')}, {count(report.open_holds, 'open hold')}{overdue},{acknowledged}"
        f" {format_tokens(report.charged_utok)} Tokens charged:"
        f" {'everything agrees' if report.agrees else count(sum(report.counts.values()), 'difference')}"
    )
    for sentence in report.differences:
        print(f"  {sentence}")
    for note in report.notes:
        print(f"  note: {note}")


async def _replay(args: argparse.Namespace) -> Report:
    progress = Progress("replay", SystemClock()).tell if args.progress or sys.stderr.isatty() else lambda _rows, _of: None
    with contextlib.ExitStack() as stack:
        lines = None
        if args.acknowledged is not None:
            try:
                lines = (
                    sys.stdin
                    if str(args.acknowledged) == "-"
                    else stack.enter_context(args.acknowledged.open(encoding="utf-8", errors="backslashreplace"))
                )
            except OSError as error:
                message = f"cannot read {args.acknowledged}: {error.strerror}"
                raise InvalidRequest(message) from error
        async with open_database(args.environ) as url:
            connection = await connect_owner(url)
            try:
                return await replay(connection, progress, lines)
            finally:
                await connection.close()

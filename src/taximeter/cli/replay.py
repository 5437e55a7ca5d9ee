"""``taximeter replay``: recompute every balance from the log alone and compare."""

import argparse
import asyncio
import sys

from taximeter.cli.arguments import Subparsers
from taximeter.cli.database import open_database
from taximeter.db.pool import connect_owner
from taximeter.kernel.units import format_tokens
from taximeter.ledger.replay import DIFFERENCES_SHOWN, Report, replay


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    subparsers.add_parser(
        "replay",
        help="recompute every balance from the log alone and compare",
        description="Recompute every balance, hold and receipt from the log alone, with code that shares nothing with the ledger.",
    )


def run(args: argparse.Namespace) -> int:
    """Print what was read; exit code 1 and a line for each difference when there is one."""
    report = asyncio.run(_replay(args.environ))
    print(
        f"{report.rows} rows, {report.accounts} accounts, {report.open_holds} open holds, {format_tokens(report.charged_utok)} Tokens charged:"
        f" {'everything agrees' if report.agrees else f'{len(report.differences)} differences'}"
    )
    for sentence in report.differences[:DIFFERENCES_SHOWN]:
        print(f"  {sentence}")
    return 0 if report.agrees else 1


async def _replay(environ: dict[str, str]) -> Report:
    async with open_database(environ) as url:
        connection = await connect_owner(url)
        try:
            return await replay(connection, _progress)
        finally:
            await connection.close()


def _progress(rows: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{rows} rows", end="\r", file=sys.stderr, flush=True)

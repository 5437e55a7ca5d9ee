"""``taximeter migrate``: bring the database up to date."""

import argparse
import asyncio

from taximeter.cli.arguments import Subparsers
from taximeter.cli.database import open_database
from taximeter.db.migrate import migrate


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    subparsers.add_parser(
        "migrate",
        help="bring the database up to date",
        description="Apply the migrations that the database has not seen.  `taximeter serve` does so by itself, except with --gateway-only.",
    )


def run(args: argparse.Namespace) -> int:
    """Apply what is missing and print each name."""
    for name in asyncio.run(_migrate(args.environ)):
        print(f"applied {name}")
    print("the database is up to date")
    return 0


async def _migrate(environ: dict[str, str]) -> list[str]:
    async with open_database(environ) as url:
        return await migrate(url)

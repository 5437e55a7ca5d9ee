"""``taximeter apply -f DIR``: publish a catalog of models, rate cards, tariffs and plans."""

import argparse
import asyncio
from pathlib import Path

from taximeter.cli.arguments import Subparsers
from taximeter.cli.database import open_database
from taximeter.db.pool import connect_owner
from taximeter.metering.fares import METERS
from taximeter.metering.pricebook import HISTORY
from taximeter.pricing import apply_dir
from taximeter.pricing.service import ApplyResult


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "apply",
        help="publish a catalog: models, rate cards, tariffs, plans",
        description="Publish a folder of YAML files, all of it or nothing.  What is published never changes: a change needs a new version.",
    )
    parser.add_argument("-f", "--folder", required=True, type=Path, metavar="DIR", help="folder with *.yaml files")


def run(args: argparse.Namespace) -> int:
    """Publish and print what is new."""
    result = asyncio.run(_apply(args.environ, args.folder))
    for label in result.created:
        print(f"published {label}")
    print(f"{len(result.created)} published, {len(result.unchanged)} unchanged")
    return 0


async def _apply(environ: dict[str, str], folder: Path) -> ApplyResult:
    async with open_database(environ) as url:
        connection = await connect_owner(url)
        try:
            return await apply_dir(connection, folder, METERS, HISTORY)
        finally:
            await connection.close()

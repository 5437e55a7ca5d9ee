"""``taximeter cards check -f DIR``: every refusal of a catalog with its line, without publishing anything."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from taximeter.cli.arguments import Subparsers
from taximeter.cli.cards import published
from taximeter.cli.database import open_database
from taximeter.cli.table import count
from taximeter.db.pool import connect_owner
from taximeter.kernel.errors import Refusal
from taximeter.metering.fares import METERS
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.service import ApplyResult, apply_dir


def add_parser(verbs: Subparsers) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "check",
        help="what `taximeter apply` would refuse, without publishing",
        description="Check a folder of catalog files as `taximeter apply` does, against what the database has published, and publish nothing.",
    )
    parser.add_argument("-f", "--folder", required=True, type=Path, metavar="DIR", help="folder with *.yaml files")
    parser.add_argument("--offline", action="store_true", help="against the built-in catalog instead: needs no database")


def run(args: argparse.Namespace) -> int:
    """Print every fault, or what would be published; exit code 1 when there is a fault."""
    try:
        result = _offline(args.folder) if args.offline else asyncio.run(_online(args.environ, args.folder))
    except CatalogInvalid as error:
        return _faults([str(problem) for problem in error.problems])
    except Refusal as error:
        return _faults(error.message.splitlines())
    for label in result.created:
        print(f"would publish {label}")
    print(f"{len(result.created)} would be published, {len(result.unchanged)} unchanged; nothing was")
    return 0


def _faults(lines: list[str]) -> int:
    for line in lines:
        print(line)
    print(f"taximeter cards check: {count(len(lines), 'fault')}; nothing would be published", file=sys.stderr)
    return 1


def _offline(folder: Path) -> ApplyResult:
    existing = published.builtin_documents()
    return published.compare_versions(published.folder_documents(folder, existing), existing)


async def _online(environ: Mapping[str, str], folder: Path) -> ApplyResult:
    async with open_database(environ) as url:
        connection = await connect_owner(url)
        # The same code as the publication, which is then taken back: what passes here passes there.
        publication = connection.transaction()
        await publication.start()
        try:
            return await apply_dir(connection, folder, METERS)
        finally:
            await publication.rollback()
            await connection.close()

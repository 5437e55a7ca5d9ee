"""``taximeter prices``: the price book: every published version with its dates."""

import argparse
import asyncio
import json
import re

from taximeter.cli.arguments import Subparsers
from taximeter.cli.projects import open_command_office
from taximeter.cli.table import print_table
from taximeter.pricing import Catalog
from taximeter.pricing.model import KINDS

_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2}).*")


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("prices", help="every published model, rate card, tariff and plan, with its dates")
    parser.add_argument("name", metavar="NAME", nargs="?", help="only what is called so")
    parser.add_argument("--kind", choices=KINDS, help="only these")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print the versions, by kind, name and version."""
    catalog = asyncio.run(_catalog(args))
    rows = [row for kind in KINDS if args.kind in (None, kind) for row in _rows(catalog, kind) if args.name in (None, row["name"])]
    if args.json:
        for row in rows:
            print(json.dumps(row))
        return 0
    head = ["kind", "version", "state", "in force from", "until", "published"]
    print_table(head, [[_shown(row[name]) for name in ("kind", "id", "state", "from", "until", "published")] for row in rows])
    return 0


def _rows(catalog: Catalog, kind: str) -> list[dict[str, str | None]]:
    return [
        {
            "kind": kind,
            "name": version.document.entry.name,
            "id": version.document.entry.id,
            "state": version.state,
            "from": version.in_force_from.isoformat(),
            "until": None if version.in_force_until is None else version.in_force_until.isoformat(),
            "published": None if version.document.published_at is None else version.document.published_at.isoformat(),
        }
        for version in catalog.history(kind)  # type: ignore[arg-type]  # one of KINDS
    ]


def _shown(cell: str | None) -> str:
    """A cell; of a time, the day when it begins with it, else the second."""
    if cell is None:
        return ""
    time = _TIME.fullmatch(cell)
    return cell if time is None else time[1] + ("" if time[2] == "00:00:00" else f" {time[2]}")


async def _catalog(args: argparse.Namespace) -> Catalog:
    async with open_command_office(args.environ) as office:
        return office.desk.catalog

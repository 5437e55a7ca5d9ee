"""``taximeter receipts``: what a project was charged, request by request."""

import argparse
import asyncio
import json

from taximeter.cli.arguments import Subparsers, positive
from taximeter.cli.projects import find_project, make_identity, open_command_office
from taximeter.cli.table import print_table
from taximeter.kernel.units import format_tokens
from taximeter.metering import Receipt
from taximeter.pricing import Catalog


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("receipts", help="the newest receipts of a project")
    parser.add_argument("--project", default="demo", help="id or name (demo)")
    parser.add_argument("--limit", type=positive, default=20, help="how many (20)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, complete")


def run(args: argparse.Namespace) -> int:
    """Print them, newest first."""
    receipts, catalog = asyncio.run(_receipts(args))
    if args.json:
        for receipt in receipts:
            print(json.dumps(receipt.to_api(catalog.basis(receipt.rate_card)), ensure_ascii=False))
        return 0
    head = ["receipt", "created", "model", "outcome", "held", "consumed", "charged", "refunded", "card"]
    print_table(head, [_row(receipt) for receipt in receipts])
    return 0


async def _receipts(args: argparse.Namespace) -> tuple[list[Receipt], Catalog]:
    async with open_command_office(args.environ) as office:
        project = await find_project(make_identity(office), args.project)
        return list(await office.store.list_receipts(project.id, None, args.limit)), office.desk.catalog


def _row(receipt: Receipt) -> list[str]:
    amounts = [format_tokens(amount) for amount in (receipt.held_utok, receipt.consumed_utok, receipt.charged_utok, receipt.refunded_utok)]
    created = f"{receipt.created_at:%Y-%m-%d %H:%M:%S}"
    return [receipt.public_id, created, receipt.model, receipt.outcome or "running", *amounts, receipt.rate_card]

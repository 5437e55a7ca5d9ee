"""``taximeter explain RECEIPT``: compute a receipt again, step by step, beside what is stored of it."""

import argparse
import asyncio
import json

from taximeter.cli.arguments import Subparsers, public_id
from taximeter.cli.projects import open_command_office
from taximeter.metering import Records
from taximeter.metering.explanation import Explanation

EXIT_DIFFERS = 1


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "explain",
        help="compute a receipt again from its inputs and versions",
        description="Compute a receipt again from its stored inputs, the engine's report and the versions it names.  Exit code 1: something differs.",
    )
    parser.add_argument("receipt", metavar="RECEIPT", help="the receipt's id, rcp_...")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the walk; 0 when every figure agrees."""
    explanation = asyncio.run(_explain(args))
    print(json.dumps(explanation.to_api(), ensure_ascii=False, indent=2) if args.json else explanation.text())
    return 0 if explanation.agrees else EXIT_DIFFERS


async def _explain(args: argparse.Namespace) -> Explanation:
    receipt_id = public_id("rcp", args.receipt, "a receipt's", "receipts")
    async with open_command_office(args.environ) as office:
        return await Records(office.store).explanation(office.desk.catalog, receipt_id)

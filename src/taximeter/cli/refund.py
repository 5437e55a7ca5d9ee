"""``taximeter refund RECEIPT``: give back what a settled request was charged."""

import argparse
import asyncio

from taximeter.cli.arguments import Subparsers, add_operator, public_id, sender, tokens
from taximeter.cli.projects import open_command_office
from taximeter.kernel.units import format_tokens
from taximeter.metering import Records


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("refund", help="give back what a settled request was charged")
    parser.add_argument("receipt", metavar="RECEIPT", help="the receipt's id, rcp_...")
    parser.add_argument("--tokens", type=tokens, metavar="N", help="how many, at most what was charged (all that is left)")
    parser.add_argument("--reason", required=True, help="why; it stands on the receipt")
    parser.add_argument("--reference", default="", help="your name for this refund of this receipt; the same one is booked once (refund)")
    add_operator(parser)


def run(args: argparse.Namespace) -> int:
    """Book it and print where it went."""
    print(asyncio.run(_refund(args)))
    return 0


async def _refund(args: argparse.Namespace) -> str:
    receipt_id = public_id("rcp", args.receipt, "a receipt's", "receipts")
    async with open_command_office(args.environ) as office:
        refunds = Records(office.store).refunds
        refund = await refunds.make(receipt_id, args.tokens, reason=args.reason, operator=sender(args), reference=args.reference)
    word = "was booked before" if refund.replayed else "booked"
    parts = f"{format_tokens(refund.prepaid_utok)} to prepaid, {format_tokens(refund.allowance_utok)} to the allowance"
    return f"{refund.public_id} {word}: {format_tokens(refund.amount_utok)} Tokens ({parts})"

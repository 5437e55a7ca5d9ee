"""``taximeter topup PROJECT TOKENS``: put prepaid Tokens on a wallet."""

import argparse
import asyncio
from typing import Any

from taximeter.admission.plans import By
from taximeter.cli.arguments import Subparsers, add_operator, sender, tokens
from taximeter.cli.projects import find_project, make_identity, open_command_office


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("topup", help="put prepaid Tokens on a project's wallet")
    parser.add_argument("project", metavar="PROJECT", help="id or name")
    parser.add_argument("tokens", metavar="TOKENS", type=tokens, help="how many, with up to six decimals")
    parser.add_argument("--reference", default="", help="your name for this payment; the same one is booked once")
    parser.add_argument("--reason", default="", help="why; it is kept with the entry")
    add_operator(parser)


def run(args: argparse.Namespace) -> int:
    """Book it and print what the wallet holds now."""
    booked = asyncio.run(_top_up(args))
    word = "was booked before" if booked["replayed"] else "booked"
    print(f"{booked['id']} {word}: {booked['tokens']} Tokens; the wallet has {booked['wallet']['balance']} available")
    return 0


async def _top_up(args: argparse.Namespace) -> dict[str, Any]:
    async with open_command_office(args.environ) as office:
        project = await find_project(make_identity(office), args.project)
        by = By(operator=sender(args), reason=args.reason, reference=args.reference) if args.reason or args.operator else None
        return await office.tenancy.top_up(project.id, args.tokens, args.reference, by)

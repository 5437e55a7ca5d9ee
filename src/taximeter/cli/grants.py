"""``taximeter grants``: list a project's grants, give Tokens on terms."""

import argparse
import asyncio

from taximeter.admission.plans import By, GrantOrder, Purse
from taximeter.cli.arguments import Subparsers, add_operator, moment, sender, tokens
from taximeter.cli.projects import find_project, make_identity, open_command_office
from taximeter.cli.table import print_table
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens

HEAD = ("grant", "kind", "tokens", "remaining", "from", "until", "priority", "for")


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "grants",
        help="list grants, give Tokens on terms",
        description="Grants are Tokens on terms: from when, until when, for what. Tokens without terms are a top-up (`taximeter topup`).",
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="a project's grants, in the order in which they are spent")
    listing.add_argument("project", metavar="PROJECT", help="id or name")
    listing.add_argument("--ended", action="store_true", help="also those that are used up or have expired")
    giving = verbs.add_parser("give", help="give Tokens that may expire, begin later, or be for one modality")
    giving.add_argument("project", metavar="PROJECT", help="id or name")
    giving.add_argument("tokens", metavar="TOKENS", type=tokens, help="how many, with up to six decimals")
    giving.add_argument("--from", dest="starts_at", type=moment, metavar="TIME", help="from when on they may be spent (now)")
    giving.add_argument("--until", dest="expires_at", type=moment, metavar="TIME", help="from when on they may not (never)")
    giving.add_argument("--priority", type=int, default=50, metavar="N", help="of those that expire together the lowest goes first; 0 to 100 (50)")
    giving.add_argument("--modality", help="what alone they may be spent on, as speech (anything)")
    giving.add_argument("--kind", choices=("manual", "promotional"), default="promotional", help="what it is, for reports (promotional)")
    giving.add_argument("--reason", default="", help="why; it is kept with the grant")
    giving.add_argument("--reference", default="", help="your name for it; the same one is booked once")
    add_operator(giving)


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    return asyncio.run(_list(args) if args.verb == "list" else _give(args))


async def _list(args: argparse.Namespace) -> int:
    async with open_command_office(args.environ) as office:
        project = await find_project(make_identity(office), args.project)
        print_grants(await office.tenancy.purse(project.id, ended=args.ended))
    return 0


def print_grants(purse: Purse) -> None:
    """Rows for people."""
    rows = [
        [
            encode_id("grt", grant.id),
            grant.kind if grant.plan is None else f"{grant.kind} of {grant.plan}",
            format_tokens(grant.amount_utok),
            format_tokens(grant.free_utok),
            f"{grant.starts_at:%Y-%m-%d %H:%M}",
            "" if grant.expires_at is None else f"{grant.expires_at:%Y-%m-%d %H:%M}",
            str(grant.priority),
            grant.modality or "anything",
        ]
        for grant in purse.grants
    ]
    print_table(HEAD, rows)


async def _give(args: argparse.Namespace) -> int:
    async with open_command_office(args.environ) as office:
        project = await find_project(make_identity(office), args.project)
        order = GrantOrder(
            amount_utok=args.tokens,
            kind=args.kind,
            starts_at=args.starts_at,
            expires_at=args.expires_at,
            priority=args.priority,
            modality=args.modality,
        )
        grant, replayed = await office.plans.give(project.id, order, By(operator=sender(args), reason=args.reason, reference=args.reference))
        balance = (await office.tenancy.wallet(project.id))["balance"]
    word = "was given before" if replayed else "given"
    print(f"{encode_id('grt', grant.id)} {word}: {format_tokens(grant.amount_utok)} Tokens; the wallet has {balance} available")
    return 0

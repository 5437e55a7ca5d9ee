"""``taximeter wallet``: what a project can pay with; corrections, payments and credit lines."""

import argparse
import asyncio
import json

from taximeter.admission.plans import By
from taximeter.cli.arguments import Subparsers, add_operator, sender, tokens
from taximeter.cli.grants import print_grants
from taximeter.cli.projects import find_project, make_identity, open_command_office
from taximeter.identity import Project
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens
from taximeter.metering import Office


def signed_tokens(text: str) -> int:
    """Tokens with a minus or without, for ``type=``."""
    if text.startswith("-"):
        return -tokens(text[1:])
    try:
        return tokens(text)
    except argparse.ArgumentTypeError as error:
        message = f"{text!r} is no number of Tokens other than 0, such as 5 or -2.5"
        raise argparse.ArgumentTypeError(message) from error


def line(text: str) -> int | None:
    """Tokens, or ``none`` for no bound, for ``type=``."""
    return None if text == "none" else tokens(text)


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "wallet",
        help="show a wallet; correct it, book a payment, agree on a credit line",
        description="What a project can pay with, in the order in which it is spent: grants, the allowance, what was bought, the credit line.",
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    showing = verbs.add_parser("show", help="what a project can pay with")
    showing.add_argument("--json", action="store_true", help="one JSON object, as GET /v1/wallet answers")
    correcting = verbs.add_parser("correct", help="put Tokens on a wallet or, with a minus, take them")
    correcting.add_argument("--reason", required=True, help="why; it is kept with the entry")
    paying = verbs.add_parser("pay", help="book what a postpaid project has paid")
    lending = verbs.add_parser("credit-line", help="agree on how far a wallet may go below nothing")
    for verb in (showing, correcting, paying, lending):
        verb.add_argument("project", metavar="PROJECT", help="id or name")
    correcting.add_argument("tokens", metavar="TOKENS", type=signed_tokens, help="how many, as 5 or -5")
    paying.add_argument("tokens", metavar="TOKENS", type=tokens, help="how many Tokens were paid for")
    lending.add_argument("tokens", metavar="TOKENS", type=line, help="how many, or none for no bound")
    for verb in (paying, lending):
        verb.add_argument("--reason", default="", help="why; it is kept with the entry")
    for verb in (correcting, paying):
        verb.add_argument("--reference", default="", help="your name for it; the same one is booked once")
    for verb in (correcting, paying, lending):
        add_operator(verb)


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    asyncio.run(_run(args))
    return 0


async def _run(args: argparse.Namespace) -> None:
    async with open_command_office(args.environ) as office:
        project = await find_project(make_identity(office), args.project)
        if args.verb == "show":
            await _show(office, args, project)
            return
        by = By(operator=sender(args), reason=args.reason, reference=getattr(args, "reference", ""))
        if args.verb == "correct":
            entry, replayed = await office.plans.correct(project.id, args.tokens, by)
            _tell(encode_id("adj", entry), args.tokens, replayed=replayed)
        elif args.verb == "pay":
            entry, owed_utok, replayed = await office.plans.pay(project.id, args.tokens, by)
            _tell(encode_id("adj", entry), args.tokens, replayed=replayed)
            if not replayed:
                print(f"{format_tokens(owed_utok)} of them were owed, {format_tokens(args.tokens - owed_utok)} are bought Tokens")
        else:
            await office.plans.set_line(project.id, args.tokens, by)
        wallet = await office.tenancy.wallet(project.id)
        print(f"the wallet has {wallet['balance']} available")


def _tell(entry: str, amount_utok: int, *, replayed: bool) -> None:
    print(f"{entry} {'was booked before' if replayed else 'booked'}: {format_tokens(amount_utok)} Tokens")


async def _show(office: Office, args: argparse.Namespace, project: Project) -> None:
    wallet = await office.tenancy.wallet(project.id)
    if args.json:
        print(json.dumps(wallet, ensure_ascii=False))
        return
    for name in ("balance", "held", "allowance", "prepaid", "granted"):
        print(f"{name:<10} {wallet[name]}")
    postpaid, subscription = wallet["postpaid"], wallet["subscription"]
    if postpaid is not None:
        print(f"{'owed':<10} {postpaid['owed']} of {postpaid['line'] or 'any amount'}")
    if subscription is None:
        print(f"{'plan':<10} none (prices: {project.plan})")
    else:
        then = "" if subscription["next_plan"] is None else f" as {subscription['next_plan']}"
        print(f"{'plan':<10} {subscription['plan']}, renews {subscription['renews_at']}{then}")
    if wallet["grants"]:
        print_grants(await office.tenancy.purse(project.id))

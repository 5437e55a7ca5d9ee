"""``taximeter approvals``: decide about requests above their plan's cap."""

import argparse
import asyncio
from uuid import UUID

from taximeter.admission.approvals import STATES, Approval
from taximeter.cli.arguments import Subparsers, add_operator, public_id, sender
from taximeter.cli.projects import open_command_office
from taximeter.cli.table import print_table
from taximeter.metering import Videos

PAGE = 200


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "approvals",
        help="decide about requests above their plan's cap",
        description="Requests that may cost more than their project's plan lets one request cost, and wait for somebody to decide.",
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="those that wait")
    listing.add_argument("--state", choices=[*STATES, "all"], default="pending", help="those in another state (pending)")
    approving = verbs.add_parser("approve", help="let it run at its quoted price")
    declining = verbs.add_parser("decline", help="do not let it run")
    for deciding in (approving, declining):
        deciding.add_argument("approval", metavar="APPROVAL", help="its id (apr_...)")
        add_operator(deciding)
        deciding.add_argument("--reason", required=deciding is declining, help="why; whoever asked reads it")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    asyncio.run(_run(args))
    return 0


async def _run(args: argparse.Namespace) -> None:
    async with open_command_office(args.environ) as office:
        approvals = Videos(office.desk, office.jobs, office.store, office.objects).approvals
        if args.verb == "list":
            found = await approvals.list(None, None, None if args.state == "all" else args.state, PAGE)
            _print(list(found), "none waits; --state all shows the others" if args.state == "pending" else "none")
        elif args.verb == "approve":
            approved = await approvals.approve(_id(args.approval), sender(args), args.reason)
            print(
                f"{approved.public_id} is approved",
                "and runs" if approved.is_job else f"and runs when it is sent again with {approved.public_quote_id}",
            )
        else:
            print(f"{(await approvals.decline(_id(args.approval), sender(args), args.reason)).public_id} is declined")


def _print(found: list[Approval], empty: str) -> None:
    rows = []
    for approval in found:
        shown = approval.to_api()
        rows.append(
            [shown["id"], shown["project"], shown["model"], shown["tokens_max"], shown["cap"], shown["plan"], shown["state"], shown["problem"] or ""]
        )
    print_table(["approval", "project", "model", "tokens at most", "cap", "plan", "state", "problem"], rows, empty)


def _id(text: str) -> UUID:
    return public_id("apr", text, "an approval's", "approvals list")

"""``taximeter events``: what happened."""

import argparse
import asyncio
import json

from taximeter.admission.events import TYPES, Event, Webhooks
from taximeter.cli.arguments import Subparsers, positive
from taximeter.cli.projects import find_project, make_identity, open_command_office
from taximeter.cli.table import print_table


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "events",
        help="what happened: thresholds, approvals, changes of prices and engines",
        description="What happened, newest first, whether any webhook was told or not.",
    )
    parser.add_argument("--type", metavar="TYPE", help=f"only {', '.join(TYPES)}; or those that begin so, as approval")
    parser.add_argument("--project", help="only this one; id or name")
    parser.add_argument("--limit", type=positive, default=50, help="how many, the newest ones (50)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print them."""
    events = asyncio.run(_events(args))
    if args.json:
        for event in events:
            print(json.dumps(event.to_api(), ensure_ascii=False))
    else:
        rows = [
            [f"{event.created_at:%Y-%m-%d %H:%M:%S}", event.type, event.public_id, json.dumps(event.payload()["data"], ensure_ascii=False)]
            for event in events
        ]
        print_table(["time", "type", "id", "data"], rows)
    return 0


async def _events(args: argparse.Namespace) -> list[Event]:
    async with open_command_office(args.environ) as office:
        project = None if args.project is None else await find_project(make_identity(office), args.project)
        webhooks = Webhooks(office.pool, office.desk.ids, office.settings)
        return list(await webhooks.events(None, args.type, None if project is None else project.id, args.limit))

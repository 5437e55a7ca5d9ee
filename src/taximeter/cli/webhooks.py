"""``taximeter webhooks``: who is told what happened."""

import argparse
import asyncio
from uuid import UUID

from taximeter.admission.events import TYPES, Webhook, Webhooks
from taximeter.cli.arguments import Subparsers, public_id
from taximeter.cli.projects import find_project, make_identity, open_command_office
from taximeter.cli.table import count, print_table
from taximeter.metering import Office

PAGE = 200
VERBS = {
    "delete": "remove it with its secrets and deliveries",
    "disable": "send nothing to it",
    "enable": "send to it again, what waits included",
    "rotate": "print another secret; the old one signs as well for a day",
    "test": "send it an event of the type webhook.test",
    "deliveries": "what it was sent, or will be",
    "resend": "send again what was given up",
}


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "webhooks",
        help="tell other programs what happened",
        description="Webhooks tell other programs what happened, signed by the Standard Webhooks. `taximeter events` lists what there was to tell.",
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    verbs.add_parser("list", help="all of them")
    creating = verbs.add_parser("create", help="make one; its secret is printed once")
    creating.add_argument("url", metavar="URL", help="where to, http or https")
    creating.add_argument(
        "--type", action="append", default=[], metavar="TYPE", help=f"{', '.join(TYPES)}; or approval.* for all that begin so; several times (all)"
    )
    creating.add_argument("--project", help="only what happens to this one; id or name")
    for verb, text in VERBS.items():
        verbs.add_parser(verb, help=text).add_argument("webhook", metavar="WEBHOOK", help="the webhook's id (whk_...)")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    asyncio.run(_run(args))
    return 0


async def _run(args: argparse.Namespace) -> None:
    async with open_command_office(args.environ) as office:
        webhooks = Webhooks(office.pool, office.desk.ids, office.settings)
        if args.verb == "list":
            _print(await _all(webhooks))
        elif args.verb == "create":
            made = await _create(office, webhooks, args)
            print(made.public_id, made.secret)
        elif args.verb == "deliveries":
            await _print_deliveries(webhooks, _id(args.webhook))
        else:
            print(await _change(webhooks, args.verb, _id(args.webhook)))


async def _create(office: Office, webhooks: Webhooks, args: argparse.Namespace) -> Webhook:
    project = None if args.project is None else (await find_project(make_identity(office), args.project)).id
    return await webhooks.create(args.url, args.type, project)


async def _change(webhooks: Webhooks, verb: str, webhook_id: UUID) -> str:
    """Do it, and what to say of it."""
    if verb == "delete":
        await webhooks.delete(webhook_id)
        return "deleted"
    if verb == "rotate":
        return (await webhooks.rotate(webhook_id)).secret
    if verb == "test":
        sent = await webhooks.test(webhook_id)
        return f"{sent['event']} is on its way"
    if verb == "resend":
        return f"{count(await webhooks.resend_failed(webhook_id), 'delivery')} sent again"
    changed = await webhooks.change(webhook_id, disabled=verb == "disable")
    return f"{changed.public_id} is {'disabled' if changed.disabled_at else 'enabled'}"


async def _all(webhooks: Webhooks) -> list[Webhook]:
    found: list[Webhook] = []
    while True:
        page = await webhooks.list(found[-1].id if found else None, None, PAGE)
        found += page
        if len(page) < PAGE:
            return found


def _print(found: list[Webhook]) -> None:
    rows = []
    for webhook in found:
        shown = webhook.to_api()
        owner = shown["project_id"] or shown["organisation_id"] or "all"
        rows.append([shown["id"], shown["url"], ",".join(shown["types"]) or "all", owner, webhook.disabled_reason or "enabled"])
    print_table(["webhook", "url", "types", "of", "state"], rows)


async def _print_deliveries(webhooks: Webhooks, webhook_id: UUID) -> None:
    rows = []
    for delivery in await webhooks.deliveries(webhook_id, None, None, PAGE):
        shown = delivery.to_api()
        answer = "" if delivery.response_status is None else str(delivery.response_status)
        rows.append([shown["id"], shown["event"], shown["type"], shown["state"], str(delivery.attempts), answer, delivery.error or ""])
    print_table(["delivery", "event", "type", "state", "attempts", "answer", "error"], rows)


def _id(text: str) -> UUID:
    return public_id("whk", text, "a webhook's", "webhooks list")

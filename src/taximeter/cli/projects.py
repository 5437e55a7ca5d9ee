"""``taximeter projects``: list and create them, give them plans; and how other commands find one, by id or, where that is clear, by name."""

import argparse
import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from taximeter.admission.plans import By, Subscription
from taximeter.cli.arguments import Subparsers, add_operator, day, public_id, sender
from taximeter.cli.database import open_database
from taximeter.cli.table import print_table
from taximeter.identity import Identity, Project
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.errors import NotFound
from taximeter.kernel.ids import decode_id, encode_id
from taximeter.kernel.settings import Settings
from taximeter.metering import Office, open_office

PAGE = 200


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "projects",
        help="list and create projects, give them plans",
        description="List and create projects, and give them plans. A project pays its plan's prices; a subscription gives it Tokens.",
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="all projects, with the plan that each has subscribed to and whose prices it pays")
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    creating = verbs.add_parser("create", help="make a project; its id is printed")
    creating.add_argument("name", metavar="NAME", help="a name for people")
    creating.add_argument("--organisation", metavar="ID", help="where it belongs (org_...); without it, an organisation of the same name is made")
    creating.add_argument("--plan", help="a plan of the catalog to subscribe to; without it, an empty wallet")
    creating.add_argument("--currency", help="what it pays in (USD)")
    creating.add_argument("--time-zone", metavar="ZONE", help="where its organisation is, as Europe/Berlin (UTC)")
    giving = verbs.add_parser("plan", help="subscribe to a plan, or change to another")
    giving.add_argument("project", metavar="PROJECT", help="id or name")
    giving.add_argument("plan", metavar="PLAN", help="a plan of the catalog")
    giving.add_argument("--when", choices=("now", "period_end"), help="for a change (more of the same now, else at the period's end)")
    giving.add_argument("--anchor", type=day, metavar="DAY", help="where a period begins: the day that its months are counted from (today)")
    ending = verbs.add_parser("end-plan", help="end a subscription at once")
    ending.add_argument("project", metavar="PROJECT", help="id or name")
    for verb in (creating, giving, ending):
        add_operator(verb)


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    print_lines = asyncio.run(_run(args))
    for line in print_lines:
        print(line)
    return 0


async def _run(args: argparse.Namespace) -> list[str]:
    async with open_command_office(args.environ) as office:
        identity = make_identity(office)
        if args.verb == "list":
            await _list(office, await all_projects(identity), as_json=args.json)
            return []
        if args.verb == "create":
            return [encode_id("prj", (await _create(office, args)).id)]
        project = await find_project(identity, args.project)
        if args.verb == "plan":
            office.desk.catalog.check_buyer(args.plan, None)
            subscription = await office.plans.subscribe(project.id, args.plan, By(operator=sender(args)), when=args.when, anchor=args.anchor)
            await identity.change_project(project.id, args.plan, None)
            then = "" if subscription.next_plan is None else f", then {subscription.next_plan}"
            return [f"{subscription.plan} until {subscription.period_end:%Y-%m-%d %H:%M} UTC{then}"]
        ended = await office.plans.unsubscribe(project.id, By(operator=sender(args)))
        return [f"{ended.plan} has ended; what was granted may be used to its end"]


async def _list(office: Office, projects: list[Project], *, as_json: bool) -> None:
    subscribed = await office.plans.subscribed([project.id for project in projects])
    if as_json:
        for project in projects:
            print(json.dumps(_as_json(project, subscribed.get(project.id)), ensure_ascii=False))
        return
    rows = [
        [project.name, encode_id("prj", project.id), _plan(project, subscribed.get(project.id)), project.currency, f"{project.created_at:%Y-%m-%d}"]
        for project in projects
    ]
    print_table(["project", "id", "plan", "currency", "since"], rows)


def _plan(project: Project, subscription: Subscription | None) -> str:
    """What it has subscribed to; and whose prices it pays, where that is another plan."""
    name = "none" if subscription is None else subscription.plan
    then = "" if subscription is None or subscription.next_plan is None else f", then {subscription.next_plan}"
    prices = "" if project.plan == name else f" (prices: {project.plan})"
    return f"{name}{prices}{then}"


def _as_json(project: Project, subscription: Subscription | None) -> dict[str, Any]:
    return {
        "id": encode_id("prj", project.id),
        "organisation_id": encode_id("org", project.organisation_id),
        "name": project.name,
        "plan": project.plan,
        "subscription": None if subscription is None else subscription.to_api(),
        "currency": project.currency,
        "created_at": project.created_at.isoformat(),
    }


async def _create(office: Office, args: argparse.Namespace) -> Project:
    organisation_id = None if args.organisation is None else public_id("org", args.organisation, "an organisation's", "projects list --json")
    office.desk.catalog.check_buyer(args.plan, args.currency)
    # Before there is a project: whoever mistypes the zone tries again, and would have two.
    if args.time_zone is not None and organisation_id is None:
        organisation_id = (await office.tenancy.create_organisation(args.name, args.time_zone)).id
    elif args.time_zone is not None and organisation_id is not None:
        await office.plans.set_zone(organisation_id, args.time_zone)
    project = await office.tenancy.create_project(organisation_id, args.name, args.plan, args.currency)
    if args.plan in office.desk.catalog.plans:
        await office.plans.subscribe(project.id, args.plan, By(operator=sender(args)))
    return project


@asynccontextmanager
async def open_command_office(environ: Mapping[str, str]) -> AsyncIterator[Office]:
    """The product's services for the duration of a command, with the application's rights and no more."""
    async with open_database(environ) as url:
        settings = dataclasses.replace(Settings.from_env(environ), database_url=url)
        async with open_office(settings, {}, "command", SystemClock()) as office:
            yield office


def make_identity(office: Office) -> Identity:
    """The service behind the commands about keys and projects."""
    return Identity(office.identity_store, office.desk.ids, office.desk.clock, office.settings)


async def all_projects(identity: Identity) -> list[Project]:
    """Every project, newest first."""
    found: list[Project] = []
    while True:
        page = await identity.projects(found[-1].id if found else None, None, PAGE)
        found += page
        if len(page) < PAGE:
            return found


async def find_project(identity: Identity, text: str) -> Project:
    """The project with this id (``prj_...``) or this name.

    Raises NotFound when there is none, or when several bear the name.
    """
    project_id = decode_id("prj", text)
    if project_id is not None:
        return await identity.project(project_id)
    named = [project for project in await all_projects(identity) if project.name == text]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(encode_id("prj", project.id) for project in named)
        message = f"{len(named)} projects are named {text!r}; say which one by its id: {ids}"
    else:
        message = f"there is no project with the id or name {text!r}; `taximeter projects list` shows them all"
    raise NotFound(message)

"""``taximeter budgets``: list, set and remove budgets."""

import argparse
import asyncio
from collections.abc import Sequence
from typing import get_args
from uuid import UUID

from taximeter.admission.budgets import DEFAULT_THRESHOLDS, BudgetState, NewBudget, Scope, Window
from taximeter.cli.arguments import Subparsers, add_operator, positive, public_id, sender, tokens
from taximeter.cli.projects import find_project, make_identity, open_command_office
from taximeter.cli.table import print_table
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens
from taximeter.metering import Office

PAGE = 500


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "budgets",
        help="list, set and remove budgets",
        description="Budgets bound what an organisation, a project, a key or an end user may spend in a day, a month or a rolling window.",
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="budgets, and what is used of them")
    setting = verbs.add_parser("set", help="make a budget, or give the one of its kind another limit")
    setting.add_argument("tokens", metavar="TOKENS", type=tokens, help="the limit, with up to six decimals")
    for each in (listing, setting):
        whose = each.add_mutually_exclusive_group(required=each is setting)
        whose.add_argument("--organisation", metavar="ID", help="of this organisation (org_...)")
        whose.add_argument("--project", metavar="PROJECT", help="of this project, by id or name")
        whose.add_argument("--key", metavar="ID", help="of this key (key_...)")
        each.add_argument("--user", metavar="NAME", help="of this end user of the project: the `user` of requests")
    setting.add_argument("--each-user", action="store_true", help="of each end user of the project that has none of his own with this window")
    setting.add_argument("--window", choices=get_args(Window), required=True, help="a calendar day or month, or the last --window-s seconds")
    setting.add_argument("--window-s", type=positive, metavar="SECONDS", help="the length of a rolling window")
    setting.add_argument("--soft", action="store_true", help="only tell when thresholds are reached; refuse nothing")
    setting.add_argument(
        "--thresholds", type=_percents, default=DEFAULT_THRESHOLDS, metavar="LIST", help="percent at which an event tells (50,80,100)"
    )
    add_operator(setting)
    removing = verbs.add_parser("remove", help="let a budget bound nothing any more")
    removing.add_argument("budget", metavar="BUDGET", help="its id (bud_...)")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    _print(asyncio.run(_run(args)))
    return 0


async def _run(args: argparse.Namespace) -> Sequence[BudgetState]:
    async with open_command_office(args.environ) as office:
        if args.verb == "remove":
            return [await office.budgets.remove(public_id("bud", args.budget, "a budget's", "budgets list"))]
        owners = (
            None if args.organisation is None else public_id("org", args.organisation, "an organisation's", "projects list --json"),
            None if args.project is None else (await find_project(make_identity(office), args.project)).id,
            None if args.key is None else public_id("key", args.key, "a key's", "keys list"),
        )
        if args.verb == "list":
            return await office.budgets.budgets(owners, args.user, None, PAGE)
        return [await _set(office, args, owners)]


async def _set(office: Office, args: argparse.Namespace, owners: tuple[UUID | None, UUID | None, UUID | None]) -> BudgetState:
    scope: Scope = "organisation" if owners[0] else "key" if owners[2] else "project"
    if args.user is not None or args.each_user:
        if scope != "project" or (args.user is not None and args.each_user):
            message = "--user and --each-user are about a project's end users: name the project, and one of the two"
            raise InvalidRequest(message)
        scope = "end_user"
    new = NewBudget(
        scope=scope,
        organisation_id=owners[0],
        project_id=owners[1],
        key_id=owners[2],
        end_user=args.user,
        limit_utok=args.tokens,
        window=args.window,
        window_s=args.window_s,
        hard=not args.soft,
        thresholds=args.thresholds,
        operator=sender(args),
    )
    return await office.budgets.put(new)


def _percents(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in text.split(",") if one)
    except ValueError as error:
        message = f"{text!r} is no list of whole numbers like 50,80,100"
        raise argparse.ArgumentTypeError(message) from error


def _print(states: Sequence[BudgetState]) -> None:
    rows = [
        [
            state.public_id,
            _whose(state),
            f"{state.window_s} s" if state.window == "rolling" else state.window,
            "hard" if state.hard else "soft",
            *map(format_tokens, (state.limit_utok, state.used_utok, state.held_utok, state.left_utok)),
            "removed" if state.removed_at else f"{state.resets_at:%Y-%m-%d %H:%M} UTC" if state.resets_at else "",
        ]
        for state in states
    ]
    print_table(["budget", "of", "window", "kind", "tokens", "used", "held", "left", "comes back"], rows)


def _whose(state: BudgetState) -> str:
    if state.scope == "end_user":
        assert state.project_id is not None
        project = encode_id("prj", state.project_id)
        return f"each end user of {project}" if state.end_user is None else f"end user {state.end_user!r} of {project}"
    owner = {"organisation": ("org", state.organisation_id), "project": ("prj", state.project_id), "key": ("key", state.key_id)}[state.scope]
    assert owner[1] is not None
    return encode_id(owner[0], owner[1])

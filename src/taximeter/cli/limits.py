"""``taximeter limits``: list, set and remove the limits of keys, projects and models."""

import argparse
import asyncio
import getpass
from uuid import UUID

from taximeter.admission.limits import KINDS, LIMIT_PREFIX, LimitOrder, LimitsOffice, LimitStore, Scope, SetLimit
from taximeter.cli.arguments import Subparsers, positive, public_id, tokens
from taximeter.cli.projects import PAGE, find_project, make_identity, open_command_office
from taximeter.cli.table import print_table
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens
from taximeter.metering import Office

WINDOW_S = 60


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "limits",
        help="list, set and remove the limits of keys, projects and models",
        description="Limits bound how fast: requests or Tokens in a time, and requests at the same time, of a key, a project or a model.",
    )
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="limits in force, and what shadows would have refused")
    listing.add_argument("--project", help="only those of a project and its keys: id or name")
    setting = verbs.add_parser("set", help="set a limit, or give it another height; gateways keep it within a second")
    setting.add_argument("--project", help="whose it is: id or name")
    setting.add_argument("--key", help="whose it is: a key's id (key_...)")
    setting.add_argument("--model", help="the only model that it is about; without --project and --key: of everybody who asks for it")
    setting.add_argument("--window", type=positive, metavar="SECONDS", help=f"in how many seconds ({WINDOW_S}); not for concurrency")
    setting.add_argument("--shadow", action="store_true", help="only count what it would refuse")
    setting.add_argument("kind", choices=KINDS, metavar="KIND", help="requests, tokens, or concurrency: requests at the same time")
    setting.add_argument("most", metavar="MOST", help="how many")
    removing = verbs.add_parser("remove", help="remove a limit")
    removing.add_argument("limit", metavar="LIMIT", help="the limit's id (lim_...)")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    asyncio.run(_run(args))
    return 0


async def _run(args: argparse.Namespace) -> None:
    async with open_command_office(args.environ) as office:
        limits = LimitsOffice(LimitStore(office.pool), office.desk.ids)
        if args.verb == "list":
            await _list(limits, await _project(office, args.project))
        elif args.verb == "set":
            limit = await limits.set(await _order(office, args))
            print(f"{encode_id(LIMIT_PREFIX, limit.id)}: {_height(limit)} for {_whose(limit)}{' (shadow)' if limit.shadow else ''}")
        else:
            limit = await limits.remove(public_id(LIMIT_PREFIX, args.limit, "a limit's", "limits list"), _operator())
            print(f"removed {encode_id(LIMIT_PREFIX, limit.id)}: {_height(limit)} for {_whose(limit)}")


async def _list(limits: LimitsOffice, project: UUID | None) -> None:
    rows: list[list[str]] = []
    after: UUID | None = None
    while True:
        found = await limits.in_force(after, PAGE, project=project)
        rows += [[encode_id(LIMIT_PREFIX, limit.id), _whose(limit), limit.model or "all", _height(limit), _mode(limit)] for limit in found]
        if len(found) < PAGE:
            break
        after = found[-1].id
    print_table(["limit", "whose", "model", "at most", "mode"], rows)


async def _order(office: Office, args: argparse.Namespace) -> LimitOrder:
    if args.project is not None and args.key is not None:
        message = "a limit is a project's or a key's: give one of --project and --key"
        raise InvalidRequest(message)
    if args.project is None and args.key is None and args.model is None:
        message = "say whose limit it is: --project, --key or --model"
        raise InvalidRequest(message)
    if args.model is not None:
        office.desk.catalog.model(args.model)
    scope: Scope = "model"
    owner: UUID | None = None
    if args.key is not None:
        scope, owner = "key", public_id("key", args.key, "a key's", "keys list")
    elif args.project is not None:
        scope, owner = "project", await _project(office, args.project)
    try:
        most = tokens(args.most) if args.kind == "tokens" else positive(args.most)
    except argparse.ArgumentTypeError as error:
        message = f"{args.most!r} is no height of a limit: {error}"
        raise InvalidRequest(message) from error
    window_s = WINDOW_S if args.window is None and args.kind != "concurrency" else args.window
    return LimitOrder(
        scope=scope, owner=owner, model=args.model, kind=args.kind, most=most, window_s=window_s, shadow=args.shadow, operator=_operator()
    )


async def _project(office: Office, text: str | None) -> UUID | None:
    return None if text is None else (await find_project(make_identity(office), text)).id


def _operator() -> str:
    """Who types; a process without a name in the list of users is only known to have used the command."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def _whose(limit: SetLimit) -> str:
    if limit.key_id is not None:
        return encode_id("key", limit.key_id)
    return f"model {limit.model}" if limit.project_id is None else encode_id("prj", limit.project_id)


def _height(limit: SetLimit) -> str:
    if limit.kind == "concurrency":
        return f"{limit.most:,} at the same time"
    most = f"{format_tokens(limit.most)} Tokens" if limit.kind == "tokens" else f"{limit.most:,} requests"
    return f"{most} in {limit.window_s} s"


def _mode(limit: SetLimit) -> str:
    return f"shadow, would have refused {limit.refused:,}" if limit.refused is not None else "refuses"

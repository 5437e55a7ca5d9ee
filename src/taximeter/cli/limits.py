"""``taximeter limits``: list, set and remove the limits of keys, projects and models."""

import argparse
import asyncio
import json
from typing import Any
from uuid import UUID

from taximeter.admission.limits import KINDS, LIMIT_PREFIX, LimitOrder, LimitsOffice, LimitStore, Scope, SetLimit
from taximeter.cli.arguments import Subparsers, add_operator, positive, public_id, sender, tokens
from taximeter.cli.projects import PAGE, find_project, make_identity, open_command_office
from taximeter.cli.table import print_table
from taximeter.kernel.errors import InvalidRequest, NotFound
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
    showing = verbs.add_parser("show", help="all that binds a project or a key, and what of it is left: limits, caps, budgets")
    whose = showing.add_mutually_exclusive_group(required=True)
    whose.add_argument("--project", help="id or name")
    whose.add_argument("--key", help="the key's id (key_...)")
    showing.add_argument("--json", action="store_true", help="one JSON object, as GET /v1/limits answers")
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
    for verb in (setting, removing):
        add_operator(verb)


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    asyncio.run(_run(args))
    return 0


async def _run(args: argparse.Namespace) -> None:
    async with open_command_office(args.environ) as office:
        limits = LimitsOffice(LimitStore(office.pool), office.desk.ids)
        if args.verb == "list":
            await _list(limits, await _project(office, args.project))
        elif args.verb == "show":
            _show(await _bounds(office, args), as_json=args.json)
        elif args.verb == "set":
            limit = await limits.set(await _order(office, args))
            print(f"{encode_id(LIMIT_PREFIX, limit.id)}: {_height(limit)} for {_whose(limit)}{' (shadow)' if limit.shadow else ''}")
        else:
            limit = await limits.remove(public_id(LIMIT_PREFIX, args.limit, "a limit's", "limits list"), sender(args))
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


async def _bounds(office: Office, args: argparse.Namespace) -> dict[str, Any]:
    if args.key is None:
        project = await find_project(make_identity(office), args.project)
        return await office.tenancy.limits(await office.tenancy.caller(project.id), shadows=True)
    key = await office.identity_store.find_key(public_id("key", args.key, "a key's", "keys list"))
    if key is None:
        message = "there is no key with this id; `taximeter keys list` shows them all"
        raise NotFound(message)
    return await office.tenancy.limits(await office.tenancy.caller(key.project_id, key), shadows=True)


def _show(bounds: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(bounds, ensure_ascii=False))
        return
    caps = bounds["caps"] or {"request_tokens_max": None, "request_caps": {}, "above_cap": ""}
    anything = {} if caps["request_tokens_max"] is None else {"anything else": caps["request_tokens_max"]}
    rows = [[f"a request for {what}", "", f"{most} Tokens", "", caps["above_cap"]] for what, most in {**caps["request_caps"], **anything}.items()]
    for each in bounds["limits"]:
        window = "at the same time" if each["window"] is None else f"in {each['window']} s"
        unit = ("Token" if each["kind"] == "tokens" else "request") + "s" * (each["most"] != "1")
        rows.append([each["id"] or each["scope"], each["model"] or "all", f"{each['most']} {unit} {window}", each["left"], "shadow" * each["shadow"]])
    rows += [[budget["id"], "all", f"{budget['tokens']} Tokens", budget["left"], "" if budget["hard"] else "soft"] for budget in bounds["budgets"]]
    print_table(["what", "model", "at most", "left", "mode"], rows, "nothing binds it")


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
        scope=scope, owner=owner, model=args.model, kind=args.kind, most=most, window_s=window_s, shadow=args.shadow, operator=sender(args)
    )


async def _project(office: Office, text: str | None) -> UUID | None:
    return None if text is None else (await find_project(make_identity(office), text)).id


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

"""``taximeter keys``: list, create and revoke API keys."""

import argparse
import asyncio

from taximeter.cli.arguments import Subparsers, positive, public_id, tokens
from taximeter.cli.projects import PAGE, all_projects, find_project, make_identity, open_command_office
from taximeter.cli.table import print_table
from taximeter.identity import ApiKey, Identity, IssuedKey, KeyLimits
from taximeter.kernel.ids import encode_id


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("keys", help="list, create and revoke API keys")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="the keys of a project, or of all")
    listing.add_argument("--project", help="id or name; without it, all projects")
    creating = verbs.add_parser("create", help="make a key; its text is printed once and kept nowhere")
    creating.add_argument("--project", required=True, help="id or name")
    creating.add_argument("--name", required=True, help="a name for people")
    creating.add_argument("--requests-per-minute", type=positive, metavar="N", help="at most so many requests a minute; without it, no limit")
    creating.add_argument("--tokens-per-minute", type=tokens, metavar="TOKENS", help="at most so many Tokens a minute; without it, no limit")
    revoking = verbs.add_parser("revoke", help="withdraw a key; it is refused everywhere within a second")
    revoking.add_argument("--project", required=True, help="id or name")
    revoking.add_argument("key", metavar="KEY", help="the key's id (key_...)")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    asyncio.run(_run(args))
    return 0


async def _run(args: argparse.Namespace) -> None:
    async with open_command_office(args.environ) as office:
        identity = make_identity(office)
        if args.verb == "list":
            await _list(identity, args.project)
        elif args.verb == "create":
            limits = KeyLimits(requests_per_minute=args.requests_per_minute, tokens_per_minute_utok=args.tokens_per_minute)
            _show(await _create(identity, args.project, args.name, limits))
        else:
            key = await _revoke(identity, args.project, args.key)
            print(f"revoked {encode_id('key', key.id)} ({key.name})")


async def _list(identity: Identity, project_text: str | None) -> None:
    projects = await all_projects(identity) if project_text is None else [await find_project(identity, project_text)]
    rows = [
        [project.name, encode_id("prj", project.id), key.name, encode_id("key", key.id), key.prefix, _state(key)]
        for project in projects
        for key in await identity.keys(project.id, None, PAGE)
    ]
    print_table(["project", "project id", "key", "key id", "prefix", "state"], rows)


async def _create(identity: Identity, project_text: str, name: str, limits: KeyLimits) -> IssuedKey:
    project = await find_project(identity, project_text)
    return await identity.issue_key(project.id, name, limits=limits)


async def _revoke(identity: Identity, project_text: str, key_text: str) -> ApiKey:
    key_id = public_id("key", key_text, "a key's", "keys list")
    project = await find_project(identity, project_text)
    return await identity.revoke_key(project.id, key_id)


def _show(issued: IssuedKey) -> None:
    print(issued.text)


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    return "valid" if key.expires_at is None else f"until {key.expires_at:%Y-%m-%d %H:%M}"

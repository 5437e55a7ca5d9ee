"""``taximeter signing-keys``: the keys that quotes are signed with."""

import argparse
import asyncio
import json
from datetime import datetime
from pathlib import Path

from taximeter.cli.arguments import Subparsers, moment
from taximeter.cli.database import open_database
from taximeter.db.pool import connect_owner
from taximeter.kernel.errors import InvalidRequest, SetupError
from taximeter.kernel.key_file import create_keys, key_path, public_set, read_keys, rotate_keys
from taximeter.kernel.settings import Settings
from taximeter.kernel.signatures import PublicKey
from taximeter.metering.quotes import revoke_key


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("signing-keys", help="create, rotate, revoke and show the keys that quotes are signed with")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    verbs.add_parser("create", help="make the key file; refused when there is one")
    verbs.add_parser("rotate", help="sign with a new key from now on; what the old ones signed can still be checked")
    revoking = verbs.add_parser("revoke", help="trust no quote that this key has signed from a time on, and sign with it no more")
    revoking.add_argument("key", metavar="KID", help="the key's kid, as GET /v1/keys and signing-keys show give it")
    revoking.add_argument("--from", dest="start", type=moment, metavar="TIME", help="since when others may have it, as 2026-01-31T12:00:00Z (now)")
    verbs.add_parser("show", help="the public keys, as GET /v1/keys gives them")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says to the file that the settings name."""
    path = key_path(Settings.from_env(args.environ))
    if args.verb == "create":
        if path.exists():
            message = f"{path} is there already; `taximeter signing-keys rotate` makes a new key and keeps the old one for checking"
            raise SetupError(message)
        create_keys(path)
        print(f"{path}: signs with {read_keys(path).signing.id}")
    elif args.verb == "rotate":
        print(f"{path}: signs with {rotate_keys(path).signing.id}; gateways see it within a second")
    elif args.verb == "revoke":
        _revoke(args, path)
    else:
        print(json.dumps(public_set(read_keys(path).public), indent=2))
    return 0


def _revoke(args: argparse.Namespace, path: Path) -> None:
    """On record first, which stops every gateway that signs with it; then this machine gets another one, if it signs with it."""
    here = {key.id: key for key in read_keys(path).public} if path.exists() else {}
    start = asyncio.run(_record(args, here.get(args.key)))
    if start is None:
        message = f"there is no key {args.key[:60]!r}: GET /v1/keys names those that quotes were signed with"
        raise InvalidRequest(message)
    print(f"{args.key} is revoked for what was issued from {start.isoformat()} on")
    if here and read_keys(path).signing.id == args.key:
        print(f"{path}: signs with {rotate_keys(path).signing.id}; gateways see it within a second")
    else:
        print("a machine that signs with it makes no quotes until `taximeter signing-keys rotate` has given it another one")


async def _record(args: argparse.Namespace, public: PublicKey | None) -> datetime | None:
    async with open_database(args.environ) as url:
        connection = await connect_owner(url)
        try:
            return await revoke_key(connection, args.key, args.start, public)
        finally:
            await connection.close()

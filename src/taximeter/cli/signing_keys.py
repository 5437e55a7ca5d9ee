"""``taximeter signing-keys``: the keys that quotes are signed with."""

import argparse
import json

from taximeter.cli.arguments import Subparsers
from taximeter.kernel.errors import SetupError
from taximeter.kernel.key_file import create_keys, key_path, public_set, read_keys, rotate_keys
from taximeter.kernel.settings import Settings


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("signing-keys", help="create, rotate and show the keys that quotes are signed with")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    verbs.add_parser("create", help="make the key file; refused when there is one")
    verbs.add_parser("rotate", help="sign with a new key from now on; what the old ones signed can still be checked")
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
    else:
        print(json.dumps(public_set(read_keys(path).public), indent=2))
    return 0

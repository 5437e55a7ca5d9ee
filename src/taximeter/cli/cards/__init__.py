"""``taximeter cards``: draft a rate card from a model's files, compare two cards, check a catalog before it is published.

new, diff, check, gpus   one verb each: ``add_parser(verbs)`` and ``run(args) -> int``
folder, families         a model's configuration files, and the meters' readers of them
drafting                 from what the files say and a GPU profile to a catalog file
published                the catalogs that cards are looked up in
tables, usage_tables     a comparison for people and for programs
"""

import argparse
from collections.abc import Callable

from taximeter.cli.arguments import Subparsers
from taximeter.cli.cards import check, diff, gpus, new

VERBS: dict[str, Callable[[argparse.Namespace], int]] = {"new": new.run, "diff": diff.run, "check": check.run, "gpus": gpus.run}


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command and its verbs."""
    parser = subparsers.add_parser("cards", help="draft, compare and check rate cards")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for module in (new, diff, check, gpus):
        module.add_parser(verbs)


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    return VERBS[args.verb](args)

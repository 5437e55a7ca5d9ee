"""``taximeter quote``: what a request would cost, offline: no database, no server, no network."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from taximeter.cli import asking, offline
from taximeter.cli.arguments import Subparsers
from taximeter.kernel.errors import InvalidRequest, Refusal
from taximeter.pricing import Catalog
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.tariffs import DEFAULT_CURRENCY, TIERS

EXIT_USAGE = 2


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "quote",
        help="what a request would cost (offline)",
        description="What a request would cost, by the built-in catalog or the one given with -f.  Needs no database.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model of the catalog, such as wan2.2-t2v-a14b")
    add_words(parser)
    parser.add_argument("--card", metavar="NAME", help="calibrated, article-v1, ...: the model's default card when left out")
    parser.add_argument("--tier", choices=TIERS, help="service tier, as far as the model offers it (standard)")
    parser.add_argument("--plan", metavar="NAME", help="whose prices and committed volume count: a plan of the catalog (list prices)")
    parser.add_argument("--currency", metavar="C", default=DEFAULT_CURRENCY, help=f"what the price is told in, by ISO 4217 ({DEFAULT_CURRENCY})")
    parser.add_argument("--alternatives", action="store_true", help="also the same cheaper: shorter, smaller, fewer steps, another tier ...")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-f", "--catalog", metavar="DIR", type=Path, help="a folder of catalog files instead of the built-in ones")


def add_words(parser: argparse.ArgumentParser) -> None:
    """Declare what describes a request in a few words, or as a whole."""
    parser.add_argument("--size", metavar="WxH", help="video, images: width and height, such as 1280x720")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", metavar="S", help="video: length; speech: length of the audio")
    length.add_argument("--frames", metavar="F", help="video: frames instead of seconds")
    parser.add_argument("--fps", metavar="N", help="video: frames a second")
    parser.add_argument("--speed", metavar="X", help="speech: pace, 2 is twice as fast")
    parser.add_argument("--images", metavar="N", help="images: how many")
    parser.add_argument("--steps", metavar="N", help="video, images: denoising steps")
    parser.add_argument("--guidance", action=argparse.BooleanOptionalAction, help="video, images: two passes a step instead of one")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--chars", metavar="N", help="length of a sample text (video: characters other than the space)")
    prompt.add_argument("--text", metavar="T", help="the prompt or the text itself")
    parser.add_argument("--max-tokens", metavar="N", help="chat: most tokens of answer")
    parser.add_argument("--request", metavar="JSON", help="the whole body of the request, instead of the options above")


def run(args: argparse.Namespace) -> int:
    """Print the fare; 0, or 2 with one line on standard error when there is none."""
    try:
        fare = _fare(args)
    except CatalogInvalid as error:
        more = len(error.problems) - 1
        return _fail(f"{error.problems[0]}{f' (and {more} more)' if more else ''}")
    except Refusal as error:
        return _fail(error.message)
    cheaper = fare.alternatives() if args.alternatives else None
    if args.json:
        told = fare.to_dict() | ({} if cheaper is None else {"alternatives": cheaper.to_list()})
        print(json.dumps(told, ensure_ascii=False, indent=2))
        return 0
    print(fare)
    if cheaper is not None:
        print(f"\nThe same, cheaper\n\n{cheaper}")
    return 0


def _fail(message: str) -> int:
    print(f"taximeter quote: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USAGE


def _fare(args: argparse.Namespace) -> offline.OfflineFare:
    catalog = offline.read(args.catalog)
    request, given = body_of(args, catalog)
    return offline.fare(catalog, args.model, request, given, card=args.card, plan=args.plan, currency=args.currency, tier=args.tier)


def body_of(args: argparse.Namespace, catalog: Catalog) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The body that the options stand for, or, of a model that the catalog lacks, None and the options.  Raises InvalidRequest."""
    given = {name: value for name, value in vars(args).items() if name in asking.ALL_WORDS and value is not None}
    if args.request is not None:
        return _body(args.request), given
    entry = catalog.models.get(args.model)
    if entry is None:
        return None, given
    # In the spelling of the command line: a refusal names the option.
    return asking.body(entry, given, lambda name: f"--{name.replace('_', '-')}"), {}


def _body(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        message = "--request must be the body as a JSON object"
        raise InvalidRequest(message)
    return body

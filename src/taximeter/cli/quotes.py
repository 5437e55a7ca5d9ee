"""``taximeter quotes``: ask a running gateway for a signed quote; check one without the server that gave it."""

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from taximeter.cli import asking, offline
from taximeter.cli.arguments import Subparsers, moment_of
from taximeter.cli.gateway_call import KEY, URL, gateway_key, gateway_url, post
from taximeter.cli.quote import add_words, body_of
from taximeter.cli.table import print_table
from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.signatures import PublicKey
from taximeter.metering.quotes import InvalidQuote, read_quote, verify_quote
from taximeter.pricing.tariffs import TIERS


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("quotes", help="ask a gateway for signed quotes; check the signature of one (offline)")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    creating = verbs.add_parser(
        "create",
        help="a signed quote of a running gateway, for one request or for many",
        description=f"Ask a running gateway for a quote that it is bound to, with the key in {KEY} or --key-file.",
    )
    creating.add_argument("model", metavar="MODEL", nargs="?", help="a model of the gateway, such as sketch-video")
    add_words(creating)
    creating.add_argument("--items", type=Path, metavar="FILE", help="many at once: a JSON list, or a line each, of {model, request}")
    creating.add_argument("--tier", choices=TIERS, help="service tier, as far as the model offers it (standard)")
    creating.add_argument("--max-multiplier", metavar="X", help="no quote above this multiplier")
    creating.add_argument("--alternatives", action="store_true", help="also the same cheaper")
    creating.add_argument("--url", metavar="URL", help=f"where the gateway is ({URL})")
    creating.add_argument("--key-file", type=Path, metavar="FILE", help=f"a file with the key ({KEY})")
    creating.add_argument("--json", action="store_true", help="what the gateway answered, to keep and to check: `taximeter quotes verify`")
    creating.add_argument("-f", "--catalog", metavar="DIR", type=Path, help="what knows the model that the options describe (the built-in catalog)")
    checking = verbs.add_parser("verify", help="whether a quote is what was signed, and by which key; exit code 1 when not")
    checking.add_argument("file", type=Path, metavar="FILE", help="the quote, as POST or GET /v1/quotes answered it")
    checking.add_argument("--key", type=Path, required=True, metavar="FILE", help="public keys, as GET /v1/keys answers them, or one of them")


def run(args: argparse.Namespace) -> int:
    """Print what the quote says; 0 when there is one, or when its signature fits.  Raises a Refusal, in one line, when not."""
    return _create(args) if args.verb == "create" else _verify(args)


def _create(args: argparse.Namespace) -> int:
    body = _question(args)
    text = post(f"{gateway_url(args.url, args.environ)}/v1/quotes", gateway_key(args.key_file, args.environ), body)
    if args.json:
        print(text)
        return 0
    answer = json.loads(text)
    if "items" in answer:
        _print_batch(answer, body["items"])
    else:
        _print_quote(answer)
    return 0


def _question(args: argparse.Namespace) -> dict[str, Any]:
    """The body of the call.  Raises InvalidRequest."""
    if args.items is not None:
        described = [name for name in ("model", "request", "tier", "max_multiplier", *asking.ALL_WORDS) if getattr(args, name, None) is not None]
        if described or args.alternatives:
            message = "--items says for each request what it is; leave everything else that describes one out"
            raise InvalidRequest(message)
        return {"items": _items(args.items)}
    if args.model is None:
        message = "say which MODEL, or give many requests with --items FILE"
        raise InvalidRequest(message)
    request, given = body_of(args, offline.read(args.catalog))
    if request is None:
        message = f"the catalog here has no model {args.model[:100]!r}: give the whole body as --request, or the catalog that has it as -f DIR"
        raise InvalidRequest(message)
    if given:
        message = f"--request is the whole body; leave {', '.join(sorted(given))} out"
        raise InvalidRequest(message)
    if args.tier is not None:
        request = {**request, "service_tier": args.tier}
    body: dict[str, Any] = {"model": args.model, "request": request}
    body |= {"max_multiplier": args.max_multiplier} if args.max_multiplier is not None else {}
    return body | ({"alternatives": True} if args.alternatives else {})


def _items(path: Path) -> list[Any]:
    text = _read(path)
    try:
        items = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        message = f"{path} is neither a JSON list nor a JSON object in each line ({error})"
        raise InvalidRequest(message) from error
    assert isinstance(items, list)
    return items


def _print_quote(quote: dict[str, Any]) -> None:
    most = f"at most {quote['tokens_max']} Tokens ({quote['money']['maximum']} {quote['money']['currency']})"
    print(f"{quote['id']}: {quote['model']}, {most}")
    print(f"valid until {quote['expires_at']}")
    for line in quote["breakdown"]:
        print(f"  {line['text']}")
    for each in quote["multipliers"]:
        print(f"  {each['label']}: x {each['factor']}")
    if "plan_cap" in quote:
        print(f"above the {quote['plan_cap']} Tokens that the plan {quote['plan']} allows a request")
    if quote.get("alternatives"):
        print("\nThe same, cheaper\n")
        print_table(
            ["with", "at most, Tokens"],
            [[", ".join(change["text"] for change in each["changes"]), each["tokens_max"]] for each in quote["alternatives"]],
        )


def _print_batch(answer: dict[str, Any], asked: list[Any]) -> None:
    rows = []
    for number, (item, question) in enumerate(zip(answer["items"], asked, strict=True), 1):
        quote, error = item.get("quote"), item.get("error")
        model = question.get("model") if isinstance(question, dict) else None
        told = [quote["id"], quote["tokens_max"]] if quote else [f"{error['message']} ({error['code']})", ""]
        rows.append([str(number), model[:100] if isinstance(model, str) else "", *told])
    print_table(["item", "model", "quote, or why there is none", "at most, Tokens"], rows)
    totals = answer["totals"]
    money = ", ".join(f"{each['maximum']} {each['currency']}" for each in totals["money"])
    print(f"{totals['quoted']} quoted, {totals['refused']} refused: at most {totals['tokens_max']} Tokens{f' ({money})' if money else ''}")


def _verify(args: argparse.Namespace) -> int:
    try:
        quote = read_quote(_read(args.file))
        keys, revoked = _keys(args.key)
        key = verify_quote(quote, keys, revoked)
    except InvalidQuote as error:
        message = f"{args.file}: {error}"
        raise InvalidRequest(message) from error
    now = utc_from_ms(SystemClock().now_ms()).isoformat()
    print(f"signed by {key.id}")
    if key.id in revoked:
        print(f"that key is revoked for what was issued from {revoked[key.id].isoformat()} on; the quote says that it is older")
    print(f"{quote['id']}: {quote['model']}, at most {quote['tokens_max']} Tokens ({quote['money']['maximum']} {quote['money']['currency']})")
    print(f"{'valid until' if now < quote['expires_at'] else 'was valid until'} {quote['expires_at']}")
    return 0


def _keys(path: Path) -> tuple[list[PublicKey], dict[str, datetime]]:
    """The keys, and from when on some are revoked."""
    try:
        found = json.loads(_read(path))
        keys = [(PublicKey.from_jwk(entry), entry.get("revoked_from")) for entry in found.get("keys", [found])]
        return [key for key, _ in keys], {key.id: moment_of(start) for key, start in keys if start is not None}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        message = f"{path} is no JSON Web Key Set of Ed25519 keys ({error}); GET /v1/keys gives one"
        raise InvalidRequest(message) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read ({error.strerror if isinstance(error, OSError) else error.reason})"
        raise InvalidRequest(message) from error

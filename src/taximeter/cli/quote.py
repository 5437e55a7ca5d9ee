"""``taximeter quote``: what a request would cost, offline: no database, no server, no network."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taximeter.cli.arguments import Subparsers
from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest, Refusal
from taximeter.kernel.units import UTOK_PER_TOKEN, format_tokens
from taximeter.metering import fares
from taximeter.pricing import ModelEntry
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.model import decimal_text
from taximeter.pricing.rules import money_nano

EXIT_USAGE = 2
CHARS_MAX = 1_000_000
# Enough text that nobody waits for it, little enough to be typical.
CHARS_TYPICAL = {"chat": 200, "embeddings": 200, "speech": 60, "video": 1}
CHARS_PER_SPOKEN_S = 15
SPOKEN_CHARS_MAX = 4096
SAMPLE = "The meter runs only while the work is done, and the receipt says what was measured, by which card, and why. "

# Which options say something about a request of each modality.
_OPTIONS = {
    "chat": {"chars", "text", "max_tokens"},
    "embeddings": {"chars", "text"},
    "speech": {"chars", "text", "seconds"},
    "video": {"chars", "text", "size", "seconds", "frames", "fps", "steps", "guidance"},
}


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "quote",
        help="what a request would cost (offline)",
        description="What a request would cost, by the built-in catalog or the one given with -f.  Needs no database.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model of the catalog, such as wan2.2-t2v-a14b")
    parser.add_argument("--size", metavar="WxH", help="video: width and height, such as 1280x720")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", metavar="S", help="video: length; speech: length of the audio")
    length.add_argument("--frames", metavar="F", help="video: frames instead of seconds")
    parser.add_argument("--fps", metavar="N", help="video: frames a second")
    parser.add_argument("--steps", metavar="N", help="video: denoising steps")
    parser.add_argument("--guidance", action=argparse.BooleanOptionalAction, help="video: two passes a step instead of one")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--chars", metavar="N", help="length of a sample text (video: characters other than the space)")
    prompt.add_argument("--text", metavar="T", help="the prompt or the text itself")
    parser.add_argument("--max-tokens", metavar="N", help="chat: most tokens of answer")
    parser.add_argument("--card", metavar="NAME", help="calibrated, article-v1, ...: the model's default card when left out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-f", "--catalog", metavar="DIR", type=Path, help="a folder of catalog files instead of the built-in ones")


def run(args: argparse.Namespace) -> int:
    """Print the fare; 0, or 2 with one line on standard error when there is none."""
    try:
        catalog = fares.read_catalog(args.catalog, utc_from_ms(SystemClock().now_ms()))
        model = catalog.models.get(args.model)
        if model is None:
            return _fail(f"there is no model {args.model[:100]!r}; there are {', '.join(sorted(catalog.models))}")
        fare = fares.quote_fare(catalog, model.name, _request(args, model), args.card)
    except CatalogInvalid as error:
        more = len(error.problems) - 1
        return _fail(f"{error.problems[0]}{f' (and {more} more)' if more else ''}")
    except Refusal as error:
        return _fail(error.message)
    print(json.dumps(_to_json(fare), ensure_ascii=False, indent=2) if args.json else _table(fare))
    return 0


def _fail(message: str) -> int:
    print(f"taximeter quote: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_USAGE


def _request(args: argparse.Namespace, model: ModelEntry) -> dict[str, Any]:
    modality = model.modality
    given = {name: value for name, value in vars(args).items() if name in set().union(*_OPTIONS.values()) and value is not None}
    for name in sorted(given.keys() - _OPTIONS[modality]):
        message = f"--{name.replace('_', '-')} says nothing about a {modality} model; leave it out"
        raise InvalidRequest(message)
    text = _text(given, modality)
    if modality == "chat":
        limit = {"max_tokens": _whole(given["max_tokens"], "--max-tokens", 10_000_000)} if "max_tokens" in given else {}
        return {"messages": [{"role": "user", "content": text}]} | limit
    if modality == "embeddings":
        return {"input": text}
    if modality == "speech":
        return {"input": text, "voice": model.profile["voices"][0]} | {name: given[name] for name in ("seconds",) if name in given}
    return {"prompt": text} | {name: given[name] for name in ("size", "seconds", "frames", "fps", "steps", "guidance") if name in given}


def _text(given: Mapping[str, Any], modality: str) -> str:
    if "text" in given:
        return str(given["text"])
    if "chars" in given:
        count = _whole(given["chars"], "--chars", CHARS_MAX)
    elif modality == "speech" and "seconds" in given:
        # A malformed length is refused by the meter; here it only decides how much text goes with it.
        seconds = str(given["seconds"])
        whole = int(seconds.partition(".")[0]) if seconds.replace(".", "", 1).isdecimal() and seconds[0] != "." else 0
        count = min(SPOKEN_CHARS_MAX, max(1, whole) * CHARS_PER_SPOKEN_S)
    else:
        count = CHARS_TYPICAL[modality]
    if modality == "video":
        # The founding formula gives 0 to 9 characters the same single Token; a prompt has at least one.
        return "x" * max(1, count)
    return (SAMPLE * (count // len(SAMPLE) + 1))[:count]


def _whole(text: str, name: str, high: int) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(high)) else high + 1
    if number > high:
        message = f"{name} must be a whole number from 0 to {high}"
        raise InvalidRequest(message)
    return number


def _to_json(fare: fares.Fare) -> dict[str, Any]:
    parts, tariff = fare.parts, fare.priced.tariff
    return {
        "model": fare.model.name,
        "modality": fare.model.modality,
        "card": fare.card_name,
        "rate_card": parts.rate_card,
        "tariff": parts.tariff,
        "multiplier": str(parts.multiplier),
        "tokens_utok": parts.expected_utok,
        "tokens_max_utok": parts.maximum_utok,
        "tokens": format_tokens(parts.expected_utok),
        "tokens_max": format_tokens(parts.maximum_utok),
        "tokens_exact": decimal_text(parts.expected.exact).replace(",", ""),
        "work": dict(fare.estimate.expected),
        "work_max": dict(fare.estimate.maximum),
        "breakdown": [
            {
                "label": line.label,
                "quantity": line.quantity,
                "rate": line.rate,
                "tokens_utok": line.expected_utok,
                "tokens_max_utok": line.maximum_utok,
            }
            for line in parts.lines
        ],
        "price": {
            "currency": tariff.currency,
            "amount_nano": money_nano(parts.expected_utok, tariff),
            "amount_max_nano": money_nano(parts.maximum_utok, tariff),
        },
    }


def _table(fare: fares.Fare) -> str:
    parts, tariff = fare.parts, fare.priced.tariff
    rows = [("", "quantity", "rate", "expected", "at most")]
    rows += [(line.label, line.quantity, line.rate, format_tokens(line.expected_utok), format_tokens(line.maximum_utok)) for line in parts.lines]
    rows.append(("Total, Tokens", "", "", format_tokens(parts.expected_utok), format_tokens(parts.maximum_utok)))
    rows.append(
        (f"Total, {tariff.currency}", "", "", _money(money_nano(parts.expected_utok, tariff)), _money(money_nano(parts.maximum_utok, tariff)))
    )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join((*(row[column].ljust(widths[column]) for column in range(3)), *(row[column].rjust(widths[column]) for column in (3, 4))))
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    head = f"{fare.model.title or fare.model.name} by {parts.rate_card} and {parts.tariff} (card {fare.card_name})"
    return "\n".join((head, "", lines[0], rule, *lines[1:-2], rule, *(line.rstrip() for line in lines[-2:])))


def _money(amount_nano: int) -> str:
    """Nano-units as a decimal, at least to the hundredth."""
    whole, part = divmod(amount_nano, UTOK_PER_TOKEN * 1000)
    decimals = f"{part:09d}".rstrip("0").ljust(2, "0")
    return f"{whole}.{decimals}"

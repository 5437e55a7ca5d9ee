"""``taximeter quotes verify``: check a quote without the server that gave it: no database, no network."""

import argparse
import json
from datetime import datetime
from pathlib import Path

from taximeter.cli.arguments import Subparsers, moment_of
from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.signatures import PublicKey
from taximeter.metering.quotes import InvalidQuote, read_quote, verify_quote


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("quotes", help="check the signature of a quote (offline)")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    checking = verbs.add_parser("verify", help="whether a quote is what was signed, and by which key; exit code 1 when not")
    checking.add_argument("file", type=Path, metavar="FILE", help="the quote, as POST or GET /v1/quotes answered it")
    checking.add_argument("--key", type=Path, required=True, metavar="FILE", help="public keys, as GET /v1/keys answers them, or one of them")


def run(args: argparse.Namespace) -> int:
    """Print what the quote says; 0 when its signature fits.  Raises InvalidRequest, in one line, when it does not."""
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
    except (ValueError, AttributeError, TypeError) as error:
        message = f"{path} is no JSON Web Key Set of Ed25519 keys ({error}); GET /v1/keys gives one"
        raise InvalidRequest(message) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read ({error.strerror if isinstance(error, OSError) else error.reason})"
        raise InvalidRequest(message) from error

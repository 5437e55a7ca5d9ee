"""Types of arguments that several commands take."""

import argparse
import getpass
from datetime import UTC, date, datetime
from typing import TypeAlias
from uuid import UUID

from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import decode_id
from taximeter.kernel.units import parse_tokens

# Generic in the type stubs, not at run time; argparse has no public name for it.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - see above

OPERATOR_CHARS_MAX = 200


def tokens(text: str) -> int:
    """A positive decimal number of Tokens as micro-Tokens, for ``type=``."""
    try:
        amount_utok = parse_tokens(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if amount_utok == 0:
        message = "the amount must be above 0"
        raise argparse.ArgumentTypeError(message)
    return amount_utok


def add_operator(parser: argparse.ArgumentParser) -> None:
    """Let whoever types say who he is.  His name stands with what is done."""
    parser.add_argument("--operator", type=_name, metavar="NAME", help="who does it (cli: and the system's user)")


def _name(text: str) -> str:
    if not 1 <= len(text.strip()) <= OPERATOR_CHARS_MAX:
        message = f"a name has 1 to {OPERATOR_CHARS_MAX} characters"
        raise argparse.ArgumentTypeError(message)
    return text.strip()


def sender(args: argparse.Namespace) -> str:
    """Who types; a process without a name in the list of users is only known to have used the command."""
    try:
        return args.operator or f"cli:{getpass.getuser()}"[:OPERATOR_CHARS_MAX]
    except (KeyError, OSError):
        return "cli"


def positive(text: str) -> int:
    """A whole number from 1 on, for ``type=``."""
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        message = f"{text!r} is not a whole number from 1 on"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def day(text: str) -> date:
    """A day as 2026-01-31, for ``type=``."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is not a day like 2026-01-31"
        raise argparse.ArgumentTypeError(message) from error


def public_id(prefix: str, text: str, noun: str, listed_by: str | None = None) -> UUID:
    """What an id (``prefix_...``) names.  Raises InvalidRequest, which says what it should be and which command shows such ids."""
    value = decode_id(prefix, text)
    if value is None:
        shown = "" if listed_by is None else f"; `taximeter {listed_by}` shows them"
        message = f"{text!r} is not {noun} id ({prefix}_...){shown}"
        raise InvalidRequest(message)
    return value


def moment_of(text: str) -> datetime:
    """A time as 2026-01-31T12:00:00Z, or the first moment of a day; in UTC when it names no zone.  Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def moment(text: str) -> datetime:
    """The same for ``type=``."""
    try:
        return moment_of(text)
    except ValueError as error:
        message = f"{text!r} is not a time like 2026-01-31 or 2026-01-31T12:00:00Z"
        raise argparse.ArgumentTypeError(message) from error

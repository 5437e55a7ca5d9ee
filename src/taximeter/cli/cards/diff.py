"""``taximeter cards diff``: what past usage, or typical requests, would have cost by another card, or past usage by another tariff."""

import argparse
import asyncio
import json
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from uuid import UUID

from taximeter.cli.arguments import Subparsers, day, positive
from taximeter.cli.cards import grid, published, tables, usage_tables
from taximeter.cli.cards.usage_tables import UsageComparison
from taximeter.cli.database import open_database
from taximeter.cli.progress import Progress
from taximeter.cli.projects import find_project, make_identity, open_command_office
from taximeter.db.pool import connect_owner
from taximeter.kernel.clock import Clock, SystemClock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest
from taximeter.metering.comparison import Side, Span, compare_usage, customers
from taximeter.pricing.store import CatalogStore

DAYS = 30
ROWS = 20


def add_parser(verbs: Subparsers) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "diff",
        help="what usage or typical requests would have cost by another card or tariff",
        description="Compare two rate cards: over a grid of typical requests (offline), or over the receipts of past days (--on usage). "
        "Compares two tariffs over the receipts of past days (--on usage --tariffs).  Receipts stay as they are.",
    )
    parser.add_argument("first", metavar="A", help="a rate card (or tariff): name@version, or a name for the version in force")
    parser.add_argument("second", metavar="B", help="the other one")
    parser.add_argument("--on", choices=("grid", "usage"), default="grid", help="typical requests, or past receipts (grid)")
    parser.add_argument("--tariffs", action="store_true", help="usage: A and B are tariffs; each receipt by its own card")
    parser.add_argument("-f", "--folder", type=Path, metavar="DIR", help="also the cards and tariffs of this folder, published or not")
    parser.add_argument("--from", dest="start", type=day, metavar="DAY", help=f"usage: first day, as 2026-01-31, in UTC ({DAYS} days ago)")
    parser.add_argument("--to", dest="end", type=day, metavar="DAY", help="usage: day after the last (tomorrow)")
    parser.add_argument("--project", help="usage: only this project, by id or name")
    parser.add_argument("--model", help="grid: the model whose requests are typical (one that both cards can price); usage: only this model")
    parser.add_argument("--limit", type=positive, default=ROWS, metavar="N", help=f"usage: rows of each table, the biggest changes ({ROWS})")
    parser.add_argument("--only", action="append", default=[], metavar="LABEL", help="grid: of A count this line alone; may stand several times")
    parser.add_argument("--agree-at", metavar="ROW,COLUMN", help="grid: scale the ratios to 1 at this cell, such as '1280x720,5 s'")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="grid: draw the map of B over A as SVG")
    parser.add_argument("--progress", action="store_true", help="usage: tell how far it is, also when standard error is no terminal")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the comparison; 2 when options do not go together."""
    wrong = _misplaced(args)
    if wrong:
        print(f"taximeter cards diff: {wrong}", file=sys.stderr)
        return 2
    return _run_grid(args) if args.on == "grid" else _run_usage(args)


def _misplaced(args: argparse.Namespace) -> str:
    given = {name for name in ("start", "end", "project", "tariffs", "only", "agree_at", "picture") if getattr(args, name)}
    names = {"start": "--from", "end": "--to", "agree_at": "--agree-at"}
    alien = given & ({"start", "end", "project", "tariffs"} if args.on == "grid" else {"only", "agree_at", "picture"})
    if not alien:
        return ""
    shown = ", ".join(sorted(names.get(name, f"--{name}") for name in alien))
    return f"{shown} says nothing about {'a grid; add --on usage' if args.on == 'grid' else 'usage; leave out --on usage'}"


def _run_grid(args: argparse.Namespace) -> int:
    now = utc_from_ms(SystemClock().now_ms())
    builtin = published.builtin_documents()
    shelf = published.shelve(builtin, published.folder_documents(args.folder, builtin), now)
    found = grid.compare(shelf, (shelf.card(args.first), shelf.card(args.second)), args.model, args.only, args.agree_at)
    if args.picture is not None:
        try:
            args.picture.write_text(grid.picture(found), encoding="utf-8")
        except OSError as error:
            message = f"cannot write {args.picture}: {error.strerror}"
            raise InvalidRequest(message) from error
    if args.json:
        print(json.dumps(tables.grid_json(found), ensure_ascii=False))
    else:
        tables.show_grid(found)
    return 0


def _run_usage(args: argparse.Namespace) -> int:
    compared = asyncio.run(_usage(args))
    if args.json:
        print(json.dumps(usage_tables.usage_json(compared), ensure_ascii=False))
    else:
        usage_tables.show_usage(compared, args.limit)
    return 0


async def _usage(args: argparse.Namespace) -> UsageComparison:
    clock: Clock = SystemClock()
    today = utc_from_ms(clock.now_ms()).date()
    start, end = args.start or today - timedelta(days=DAYS), args.end or today + timedelta(days=1)
    if start >= end:
        message = f"no day lies from {start} up to {end}: --to is the day after the last, and must be later than --from"
        raise InvalidRequest(message)
    tell = Progress("cards diff", clock, "receipts").tell if args.progress or sys.stderr.isatty() else lambda _done, _of: None
    async with open_database(args.environ) as url:
        project = await _project_id({**args.environ, "TAXIMETER_DATABASE_URL": url}, args.project)
        connection = await connect_owner(url)
        try:
            existing = await CatalogStore(connection).documents()
            shelf = published.shelve(existing, published.folder_documents(args.folder, existing), utc_from_ms(clock.now_ms()))
            ids, sides = _sides(shelf, args)
            found = await compare_usage(connection, shelf.coming, sides, Span(_midnight(start), _midnight(end), project, args.model), tell)
            named = await customers(connection, {project_id for project_id, _ in found.cells})
        finally:
            await connection.close()
    return UsageComparison(ids, "tariffs" if args.tariffs else "cards", found, named)


def _sides(shelf: published.Shelf, args: argparse.Namespace) -> tuple[tuple[str, str], tuple[Side, Side]]:
    """Both by their ids, and as what receipts are priced by."""
    if args.tariffs:
        first, second = shelf.tariff(args.first), shelf.tariff(args.second)
        return (first, second), (Side(tariff=first), Side(tariff=second))
    cards = shelf.card(args.first), shelf.card(args.second)
    return (cards[0].id, cards[1].id), (Side(cards[0]), Side(cards[1]))


async def _project_id(environ: dict[str, str], text: str | None) -> UUID | None:
    if text is None:
        return None
    async with open_command_office(environ) as office:
        return (await find_project(make_identity(office), text)).id


def _midnight(value: date) -> datetime:
    return datetime.combine(value, time(), tzinfo=UTC)

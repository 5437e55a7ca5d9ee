"""``taximeter reconcile``: prove that ledger, receipts, daily sums, counters and files tell the same."""

import argparse
import asyncio
import json

from taximeter.cli.arguments import Subparsers, day
from taximeter.cli.projects import open_command_office
from taximeter.cli.table import print_table
from taximeter.db.pool import connect_app
from taximeter.kernel.errors import InvalidRequest, Unavailable
from taximeter.kernel.units import format_tokens
from taximeter.metering.reconciliation import Check, Span, compare_page, reconcile

HEAD = ("check", "compared", "left", "right", "difference", "unexplained")


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "reconcile",
        help="prove that ledger, receipts, daily sums, counters and files agree",
        description="Compare the ledger with the requests and receipts, these with the daily sums, all sums with the revenue, each "
        "process's counters with the receipts that it wrote, and the completed videos with the object store.  Unexplained must be 0.",
    )
    parser.add_argument(
        "--from", dest="start", type=day, default=Span().start, metavar="DAY", help="first day, as 2026-01-31, in UTC (the first of all)"
    )
    parser.add_argument("--to", dest="end", type=day, default=Span().end, metavar="DAY", help="day after the last (tomorrow)")
    parser.add_argument(
        "--metrics", action="append", default=[], metavar="URL", help="also compare a gateway's metrics page; may stand several times"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a check")


def run(args: argparse.Namespace) -> int:
    """Print one row a check; exit code 1 when one of them differs."""
    if args.start >= args.end:
        message = f"no day lies from {args.start} up to {args.end}: --to is the day after the last, and must be later than --from"
        raise InvalidRequest(message)
    checks = asyncio.run(_reconcile(args))
    if args.json:
        for check in checks:
            print(json.dumps(check.to_json()))
    else:
        _show(checks)
    return 0 if all(check.agrees for check in checks) else 1


def _show(checks: list[Check]) -> None:
    print_table(HEAD, [_row(check) for check in checks])
    for check in checks:
        for line in (*(f"differs: {one}" for one in check.first), *(f"note: {note}" for note in check.notes)):
            print(f"  {check.name}: {line}")


def _row(check: Check) -> list[str]:
    sums = [format_tokens(amount) if check.unit == "utok" else str(amount) for amount in (check.left, check.right)]
    return [check.name, str(check.compared), *sums, str(check.differences), format_tokens(check.unexplained_utok)]


async def _reconcile(args: argparse.Namespace) -> list[Check]:
    async with open_command_office(args.environ) as office:
        connection = await connect_app(office.settings.database_url)
        try:
            await connection.execute("set statement_timeout = 0")
            span = Span(args.start, args.end)
            checks = await reconcile(connection, office.objects, office.desk.clock, span, office.settings.process_dead_s)
            return checks + [await compare_page(connection, url) for url in args.metrics]
        except OSError as error:
            message = f"the database, the object store or a metrics page does not answer ({error}); try again when it does"
            raise Unavailable(message) from error
        finally:
            await connection.close()

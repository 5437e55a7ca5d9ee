"""``taximeter drift``: how far estimates were from what providers counted, by model."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from taximeter.cli.arguments import Subparsers, day
from taximeter.cli.projects import open_command_office
from taximeter.cli.table import print_table
from taximeter.kernel.clock import utc_from_ms
from taximeter.metering.drift import Drift, Side, find_drift

DAYS = 7
HEAD = ("model", "requests", "measured %", "part", "expected", "counted", "counted/expected %", "mean error %", "p90 error %")


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("drift", help="how far estimated tokens were from counted ones, by model")
    parser.add_argument("--model", help="only this one")
    parser.add_argument("--from", dest="start", type=day, metavar="DAY", help=f"first day, as 2026-01-31, in UTC ({DAYS} days ago)")
    parser.add_argument("--to", dest="end", type=day, metavar="DAY", help="day after the last (tomorrow)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print two rows a model: prompt and answer."""
    found = asyncio.run(_drift(args))
    if args.json:
        for drift in found:
            print(json.dumps(drift.to_api(), ensure_ascii=False))
        return 0
    print_table(HEAD, [row for drift in found for row in _rows(drift)])
    return 0


async def _drift(args: argparse.Namespace) -> Sequence[Drift]:
    async with open_command_office(args.environ) as office:
        today = utc_from_ms(office.desk.clock.now_ms()).date()
        start, end = args.start or today - timedelta(days=DAYS), args.end or today + timedelta(days=1)
        first, after = (datetime.combine(value, time(), tzinfo=UTC) for value in (start, end))
        return await find_drift(office.store, first, after, args.model)


def _rows(drift: Drift) -> list[list[str]]:
    asked = [drift.model, str(drift.requests), _percent(drift.measured, drift.requests)]
    return [[*asked, "prompt", *_cells(drift.prompt)], ["", "", "", "answer", *_cells(drift.answer)]]


def _cells(side: Side) -> list[str]:
    errors = ["" if error is None else f"{error * 100:.1f}" for error in (side.mean_error, side.p90_error)]
    return [str(side.expected), str(side.counted), _percent(side.counted, side.expected), *errors]


def _percent(part: int, whole: int) -> str:
    return f"{part * 100 / whole:.1f}" if whole else ""

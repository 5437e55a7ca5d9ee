"""``taximeter usage``: what projects used and were charged, grouped."""

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from taximeter.cli.arguments import Subparsers, day
from taximeter.cli.projects import all_projects, find_project, make_identity, open_command_office
from taximeter.cli.table import print_table
from taximeter.identity import Project
from taximeter.kernel.clock import utc_from_ms
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens
from taximeter.metering.rollups import Rollups

GROUPS = ("day", "model", "key")
DAYS = 30


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("usage", help="what was used and charged, by project, day, model or key")
    parser.add_argument("--project", help="id or name; without it, every project")
    parser.add_argument("--by", default="model", help="what to group by, joined with commas: day, model, key (model)")
    parser.add_argument("--from", dest="start", type=day, metavar="DAY", help=f"first day, as 2026-01-31, in UTC ({DAYS} days ago)")
    parser.add_argument("--to", dest="end", type=day, metavar="DAY", help="day after the last (tomorrow)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print one row a group."""
    groups = args.by.split(",")
    if not set(groups) <= set(GROUPS):
        print(f"usage: --by takes {', '.join(GROUPS)}, joined with commas")
        return 2
    rows = asyncio.run(_usage(args, groups))
    if args.json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return 0
    print_table(list(rows[0]) if rows else [], [[str(value) for value in row.values()] for row in rows])
    return 0


async def _usage(args: argparse.Namespace, groups: Sequence[str]) -> list[dict[str, Any]]:
    async with open_command_office(args.environ) as office:
        today = utc_from_ms(office.desk.clock.now_ms()).date()
        start, end = _midnight(args.start or today - timedelta(days=DAYS)), _midnight(args.end or today + timedelta(days=1))
        identity = make_identity(office)
        # Where no worker runs, the sums may be far behind; the answer is the same, and comes sooner for every project.
        await Rollups(office.store, office.settings.rollup_every_s).catch_up()
        projects = [await find_project(identity, args.project)] if args.project else await all_projects(identity)
        return [_row(project, row, groups) for project in reversed(projects) for row in await office.store.usage(project.id, start, end, groups)]


def _row(project: Project, row: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any]:
    named = {"day": row["day"] and row["day"].isoformat(), "model": row["model"], "key": row["key"] and encode_id("key", row["key"])}
    return {
        "project": project.name,
        "id": encode_id("prj", project.id),
        **{name: named[name] for name in groups},
        "requests": row["requests"],
        "failed": row["failed"],
        "consumed": format_tokens(int(row["consumed_utok"])),
        "charged": format_tokens(int(row["charged_utok"])),
    }


def _midnight(value: date) -> datetime:
    return datetime.combine(value, time(), tzinfo=UTC)

"""``taximeter worker``: run video jobs and the sweeper, or host demo engines."""

import argparse
import asyncio
import dataclasses
import signal

from taximeter.cli.arguments import Subparsers
from taximeter.cli.database import open_database
from taximeter.kernel import faults
from taximeter.kernel.settings import Settings
from taximeter.worker import run_host, run_worker


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "worker",
        help="run video jobs and the sweeper, or host demo engines",
        description="Run video jobs and the sweeper until SIGTERM; any number of workers may share a database.",
    )
    parser.add_argument("--host", metavar="ENGINE,ENGINE", help="host these demo engines instead, on the loopback port TAXIMETER_HOST_PORT")


def run(args: argparse.Namespace) -> int:
    """Work until SIGTERM or SIGINT."""
    asyncio.run(_work(args))
    return 0


async def _work(args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    settings = Settings.from_env(args.environ)
    faults.arm(settings.fault_point)
    if args.host is not None:
        await run_host(settings, args.host.split(","), stop)
        return
    async with open_database(args.environ) as url:
        await run_worker(dataclasses.replace(settings, database_url=url), args.environ, stop)

"""``taximeter gateway-process``: one gateway on a socket that the supervisor has bound."""

import argparse
import asyncio
import signal
import socket

import uvloop

from taximeter.app import run_gateway
from taximeter.cli.arguments import Subparsers, positive
from taximeter.cli.supervisor.network import allow_rebinding
from taximeter.kernel import faults
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("gateway-process", help="one gateway on an inherited socket (started by serve)")
    parser.add_argument("--fd", type=positive, required=True, help="file descriptor of the bound socket")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    settings = Settings.from_env(args.environ)
    faults.arm(settings.fault_point)
    if not settings.database_url:
        message = "a gateway process needs TAXIMETER_DATABASE_URL; `taximeter serve` starts the embedded database and the gateways"
        raise SetupError(message)
    try:
        listener = socket.socket(fileno=args.fd)
    except OSError as error:
        message = f"file descriptor {args.fd} is not a socket ({error.strerror}); `taximeter serve` hands one down"
        raise SetupError(message) from error
    # Half as much time per request as the standard library's loop.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, args.environ, listener))
    return 0


async def _serve(settings: Settings, environ: dict[str, str], listener: socket.socket) -> None:
    allow_rebinding(listener)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await run_gateway(settings, environ, listener, stop)

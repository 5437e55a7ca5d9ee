"""``taximeter serve``: everything that is needed, from one command, until Ctrl-C."""

import argparse
import asyncio

from taximeter.cli.arguments import Subparsers
from taximeter.cli.supervisor import Options, Server
from taximeter.kernel.settings import Settings


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "serve",
        help="serve until Ctrl-C: database, gateways, worker and demo engines",
        description="Start the embedded PostgreSQL (unless TAXIMETER_DATABASE_URL is set), bring it up to date, and keep the gateways, the worker "
        "and the demo engines alive.  docs/reference/settings.md lists the TAXIMETER_* variables.",
    )
    parser.add_argument("--host", help="address to listen on (TAXIMETER_HOST)")
    parser.add_argument("--port", help="port to listen on (TAXIMETER_PORT)")
    parser.add_argument("--no-demo", action="store_true", help="no demo engines and no demo project (TAXIMETER_DEMO=0)")
    parser.add_argument("--gateway-only", action="store_true", help="only gateways: no migration, worker or engines; they run elsewhere")


def run(args: argparse.Namespace) -> int:
    """Serve; the exit code is 0 after a clean stop."""
    environ: dict[str, str] = args.environ
    if args.host is not None:
        environ["TAXIMETER_HOST"] = args.host
    if args.port is not None:
        environ["TAXIMETER_PORT"] = args.port
    if args.no_demo:
        environ["TAXIMETER_DEMO"] = "0"
    server = Server(Settings.from_env(environ), environ, Options(gateway_only=args.gateway_only), _say)
    return asyncio.run(server.run())


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError:
        # The terminal is gone; what we keep alive and must stop is more important than telling about it.
        return

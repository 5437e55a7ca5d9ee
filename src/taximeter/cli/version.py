"""``taximeter version``: what is installed."""

import argparse
import platform

from taximeter import __version__
from taximeter.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command."""
    subparsers.add_parser("version", help="print the version of Taximeter and of Python")


def run(_args: argparse.Namespace) -> int:
    """Print one line."""
    print(f"taximeter {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
    return 0

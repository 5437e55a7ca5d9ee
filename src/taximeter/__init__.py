"""Taximeter: the fare meter for generative AI.

A folder imports only folders below it; folders joined by ``|`` do not know each other.
import-linter enforces the picture, and ``tests/unit/test_tidy.py`` asserts that both agree.

    cli
    app | worker
    gateway | console
    billing | calibration
    metering
    admission
    ledger | pricing | meters | engines | identity
    transparency | jobs
    db
    kernel

For a notebook: ``from taximeter import quote, meters``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taximeter import meters
    from taximeter.cli.offline import quote

__version__ = "0.1.0"
__all__ = ["__version__", "meters", "quote"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - type checkers read the imports above
    """Import what is asked for, when it is: the command line must not pay for a notebook (PEP 562)."""
    if name == "quote":
        return importlib.import_module("taximeter.cli.offline").quote
    if name == "meters":
        return importlib.import_module("taximeter.meters")
    message = f"module 'taximeter' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    """What a notebook offers to complete."""
    return sorted(__all__)

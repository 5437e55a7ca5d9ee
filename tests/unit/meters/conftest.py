"""The profiles of the built-in catalog and the exact vectors."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taximeter.metering.fares import read_catalog

Profiles = Callable[[str], Mapping[str, Any]]
VECTORS = Path(__file__).parents[2] / "vectors" / "meters.json"


@pytest.fixture(scope="session")
def profile() -> Profiles:
    """The meter's entry of a built-in model, by name."""
    catalog = read_catalog(None, datetime(2026, 11, 21, tzinfo=UTC))
    return lambda name: catalog.model(name).profile


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Exact pairs of input and output."""
    loaded: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
    return loaded

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
    """The meter's entry of a built-in model, by name, or by name and version where an older one is asked for."""
    first, second = (read_catalog(None, datetime(2026, month, 1, tzinfo=UTC)) for month in (11, 12))
    old = {"smollm2-135m@1": first.model("smollm2-135m").profile}
    return lambda name: old[name] if name in old else second.model(name).profile


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Exact pairs of input and output."""
    loaded: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
    return loaded

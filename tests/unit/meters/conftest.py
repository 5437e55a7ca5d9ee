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
CONFIGS = VECTORS.parent / "configs"


@pytest.fixture(scope="session")
def profile() -> Profiles:
    """The meter's entry of a built-in model, by name: the first version of those there were in November, else the latest."""
    first, latest = (read_catalog(None, datetime(year, 11, 1, tzinfo=UTC)) for year in (2026, 2027))
    return lambda name: (first if name in first.models else latest).model(name).profile


@pytest.fixture(scope="session")
def latest_profile() -> Profiles:
    """The meter's entry of a built-in model, by name, in its latest version."""
    catalog = read_catalog(None, datetime(2027, 11, 1, tzinfo=UTC))
    return lambda name: catalog.model(name).profile


@pytest.fixture(scope="session")
def configs() -> Callable[[str], dict[str, Any]]:
    """The configuration files of a published model, by the name of its folder."""

    def read(name: str) -> dict[str, Any]:
        folder = CONFIGS / name
        return {path.relative_to(folder).as_posix(): json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("*.json")}

    return read


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Exact pairs of input and output."""
    loaded: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
    return loaded

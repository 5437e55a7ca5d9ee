"""The profiles of the built-in catalog and the exact vectors."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from taximeter.metering.fares import METERS
from taximeter.pricing import ModelEntry
from taximeter.pricing.yaml_source import builtin_dir, load_dir

Profiles = Callable[[str], Mapping[str, Any]]
VECTORS = Path(__file__).parents[2] / "vectors" / "meters.json"


@pytest.fixture(scope="session")
def profile() -> Profiles:
    """The meter's entry of a built-in model: of its last version by name, of another by ``name@version``."""
    entries = [document.entry for document in load_dir(builtin_dir(), METERS)]
    found: dict[str, Mapping[str, Any]] = {}
    for model in sorted((entry for entry in entries if isinstance(entry, ModelEntry)), key=lambda entry: entry.version):
        found[model.name] = found[f"{model.name}@{model.version}"] = model.profile
    return found.__getitem__


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Exact pairs of input and output."""
    loaded: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
    return loaded

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
CONFIGS = VECTORS.parent / "configs"


@pytest.fixture(scope="session")
def profile() -> Profiles:
    """The meter's entry of a built-in model: of its last version by name, of another by ``name@version``."""
    entries = [document.entry for document in load_dir(builtin_dir(), METERS)]
    found: dict[str, Mapping[str, Any]] = {}
    for model in sorted((entry for entry in entries if isinstance(entry, ModelEntry)), key=lambda entry: entry.version):
        found[model.name] = found[f"{model.name}@{model.version}"] = model.profile
    return found.__getitem__


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

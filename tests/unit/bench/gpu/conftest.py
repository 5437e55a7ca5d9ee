"""A run at the true dimensions on a GPU that was never there."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.gpu import scales
from tests.support.gpu_journal import Pretended


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> scales.Scale:
    """The true dimensions, with fewer resamples than a real run takes."""
    scale = replace(scales.FULL, repeats=replace(scales.FULL.repeats, resamples=12))
    monkeypatch.setitem(scales.SCALES, "full", scale)
    return scale


@pytest.fixture
def pretended(full: scales.Scale, tmp_path: Path) -> Pretended:
    return Pretended(tmp_path, full)

"""These tests need torch, diffusers and transformers (requirements/torch.txt), which set-up leaves out where pip finds no CPU build."""

import importlib.util
import os

import pytest

# Nothing is fetched: every model here is made on the spot.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

MISSING = [name for name in ("torch", "diffusers", "transformers") if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them, saying why, on a developer's machine without these libraries; in CI they run, and fail."""
    if not MISSING or os.environ.get("CI"):
        return
    reason = f"{', '.join(MISSING)} is not installed; `make test` says how pip finds torch's build for processors"
    for item in items:
        if "tests/flops/" in item.path.as_posix():
            item.add_marker(pytest.mark.skip(reason=reason))

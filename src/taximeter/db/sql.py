"""SQL as source: named statements from a domain's ``queries.sql``."""

import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

_NAME = re.compile(r"^-- name: ([a-z][a-z0-9_]*)\s*$", re.MULTILINE)


def load(package: str) -> Mapping[str, str]:
    """The statements of ``package``'s ``queries.sql``, by name.

    A statement starts after a line ``-- name: find_key`` and ends before the next one.
    """
    text = resources.files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    names = parts[1::2]
    assert len(names) == len(set(names)), f"{package}: a statement name stands twice"
    return MappingProxyType({name: body.strip() for name, body in zip(names, parts[2::2], strict=True)})

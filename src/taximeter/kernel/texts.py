"""Texts of others, made such that everybody can keep them.

JSON lets a text carry a NUL and half of a surrogate pair (what is left when somebody cuts an emoji in two).  Neither can be
written as UTF-8 or stored by PostgreSQL, so one in an error message would keep its receipt from being written.
"""

from collections.abc import Mapping
from typing import Any

REPLACEMENT = "\ufffd"


def storable(text: str) -> str:
    """The text with NULs and lone surrogates replaced; nearly always the text itself."""
    if "\x00" in text:
        text = text.replace("\x00", REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def storable_throughout(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can say
    """A JSON value with all its texts storable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable_throughout(name): storable_throughout(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable_throughout(each) for each in value]
    return value

"""Numbers of configuration files: positive, and small enough that no product of them grows beyond reason."""

from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Counts = Annotated[tuple[Count, ...], Meta(min_length=1, max_length=64)]
Flags = Annotated[tuple[bool, ...], Meta(max_length=64)]


def need(truth: bool, message: str) -> None:  # noqa: FBT001 - the condition is the point
    """Raises ValueError, which msgspec turns into the fault of the entry, unless it is so."""
    if not truth:
        raise ValueError(message)

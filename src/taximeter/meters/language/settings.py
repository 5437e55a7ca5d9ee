"""Reading a Hugging Face ``config.json``: every number is checked, and a fault names the file and the key."""

from collections.abc import Mapping
from typing import Any

from taximeter.meters.errors import BadProfile

DIMENSION_MAX = 10**9
"""No dimension of a model is larger."""
LAYERS_MAX = 10_000
"""No model has more layers: they are counted one by one where they differ."""


def shown(value: object) -> str:
    """A value as a message shows it; a number of thousands of digits has no text."""
    if isinstance(value, int) and abs(value) > DIMENSION_MAX**2:
        return "a number far beyond it"
    return f"{value!r:.40}" if isinstance(value, str | int | float) or value is None else f"a {type(value).__name__}"


class Settings:
    """A configuration file."""

    def __init__(self, values: Mapping[str, Any], file: str) -> None:
        self.file = file
        self._values = values

    def __contains__(self, key: str) -> bool:
        """Whether the key is there, and not null."""
        return self._values.get(key) is not None

    def fault(self, key: str, message: str) -> BadProfile:
        """The refusal that names the file and the key."""
        return BadProfile(key=f"{self.file}: {key}", message=message)

    def whole(self, key: str, default: int | None = None, *, least: int = 1, most: int = DIMENSION_MAX) -> int:
        """A whole number.  Raises BadProfile when it is absent and has no default, or is nonsense."""
        value = self._values.get(key)
        if value is None:
            if default is None:
                raise self.fault(key, "is missing")
            return default
        if type(value) is not int or not least <= value <= most:
            raise self.fault(key, f"must be a whole number from {least} to {most}, not {shown(value)}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fault(key, f"must be true or false, not {shown(value)}")
        return value

    def text(self, key: str) -> str:
        """A text; empty when it is absent."""
        value = self._values.get(key)
        return value if isinstance(value, str) else ""

    def items(self, key: str) -> list[Any]:
        """A list; empty when it is absent."""
        value = self._values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.fault(key, f"must be a list, not {shown(value)}")
        return value

    def inner(self, key: str) -> "Settings | None":
        """An object; None when it is absent."""
        value = self._values.get(key)
        return Settings(value, f"{self.file}: {key}") if isinstance(value, Mapping) else None

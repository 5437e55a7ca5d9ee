"""A request whose headers are looked up, not searched."""

from functools import cached_property
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request


class QuickHeaders(Headers):
    """Starlette goes through all headers for each question, and a gateway asks for eight; here an index is made once."""

    @cached_property
    def _index(self) -> dict[str, str]:
        # Of one that stands twice the first counts, as in the class above; servers give names in lower case.
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(self.raw)}

    def __getitem__(self, key: str) -> str:
        """A header's value."""
        return self._index[key.lower()]

    def __contains__(self, key: object) -> bool:
        """Whether there is such a header."""
        return isinstance(key, str) and key.lower() in self._index

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - as Mapping's
        """A header's value, or the default."""
        return self._index.get(key.lower(), default)


class QuickRequest(Request):
    """Starlette's request, with an index of its headers."""

    @cached_property
    def headers(self) -> Headers:
        """The headers."""
        return QuickHeaders(scope=self.scope)

"""A request whose headers are looked up, not searched."""

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send


class QuickHeaders(Headers):
    """Starlette goes through all headers for each question, and a gateway asks for eight; here an index is made once."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        # Of one that stands twice the first counts, as in the class above; servers give names in lower case.
        self._index = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}

    def __getitem__(self, key: str) -> str:
        """A header's value."""
        return self._index[key.lower()]

    def __contains__(self, key: object) -> bool:
        """Whether there is such a header."""
        return isinstance(key, str) and key.lower() in self._index

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - as Mapping's
        """A header's value, or the default."""
        return self._index.get(key.lower(), default)

    def getlist(self, key: str) -> list[str]:
        """All values of a header; they are searched only when some header stands twice."""
        if len(self._index) < len(self._list):
            return super().getlist(key)
        value = self._index.get(key.lower())
        return [] if value is None else [value]


class QuickRequest(Request):
    """Starlette's request, with an index of its headers."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self._quick_headers = QuickHeaders(scope["headers"])

    @property
    def headers(self) -> Headers:
        """The headers."""
        return self._quick_headers

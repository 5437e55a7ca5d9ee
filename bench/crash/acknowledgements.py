"""What clients sent and were told, in a file outside the system that is being killed.

One JSON object a line, appended as it happens: ``sent`` before a request leaves, then what came of it.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

What = Literal["sent", "answered", "ordered", "gone", "refused", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line.

    Attributes:
        operation: the client's name for what it wants; it stands in the books as the request's end user.
        kind: chat, stream, speech or video.
        keyed: it is sent with an idempotency key, the same each time.
        window: which kill was next.
        attempt: counts from 0.
        what: sent; answered (complete, with its charge); ordered (a video that will be made); gone (it was answered before, the
            answer is not kept); refused (a status that says that nothing was delivered); broken (no answer: anything may be true).
        status: of HTTP.
        receipt: its id, when it was told.
        charged_utok: the charge that was told.
        settlement: settled or pending, where it was told.
        detail: of a refusal.
    """

    operation: str
    kind: str
    keyed: bool
    window: int
    attempt: int
    what: What
    status: int = 0
    receipt: str = ""
    charged_utok: int = 0
    settlement: str = ""
    detail: str = ""


class Log:
    """Appends; each line reaches the system's file cache before the client goes on, which outlives every kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, entry: Entry) -> None:
        """Append one line.  What is empty is left out."""
        self._file.write(json.dumps({name: value for name, value in asdict(entry).items() if value not in ("", 0)}) + "\n")

    def close(self) -> None:
        """Nothing more is written."""
        self._file.close()


@dataclass(slots=True)
class Operation:
    """All lines of one operation."""

    name: str
    kind: str
    keyed: bool
    window: int
    sent: int = 0
    told: list[Entry] = field(default_factory=list)

    def of(self, *what: What) -> list[Entry]:
        """The lines of these sorts."""
        return [entry for entry in self.told if entry.what in what]


def read(path: Path) -> dict[str, Operation]:
    """The whole file, by operation."""
    operations: dict[str, Operation] = {}
    for entry in _entries(path):
        operation = operations.setdefault(entry.operation, Operation(entry.operation, entry.kind, entry.keyed, entry.window))
        if entry.what == "sent":
            operation.sent += 1
        else:
            operation.told.append(entry)
    return operations


def _entries(path: Path) -> Iterator[Entry]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            values: dict[str, Any] = {"keyed": False, "window": 0, "attempt": 0, **json.loads(line)}
            yield Entry(**values)

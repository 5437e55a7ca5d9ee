"""How the calls of each project ended lately.  Pure: time is an argument."""

from uuid import UUID

PIECES = 10
"""Of the window: what is older than it leaves in so many steps."""
NOBODY = (0, 0)


class Window:
    """Counts ends of calls by project.

    Args:
        length_ms: what is older does not count.

    Attributes:
        calls: that ended in the window.
        failed: of them.
    """

    __slots__ = ("_by_project", "_pieces", "_width_ms", "calls", "failed")

    def __init__(self, length_ms: int) -> None:
        self._width_ms = max(1, length_ms // PIECES)
        self._pieces: list[tuple[int, dict[UUID | None, tuple[int, int]]]] = []
        self._by_project: dict[UUID | None, tuple[int, int]] = {}
        self.calls = self.failed = 0

    def count(self, now_ms: int, project: UUID | None, failed: int) -> None:
        """Note the end of a call: 1, it failed; 0, it did not."""
        number = now_ms // self._width_ms
        if not self._pieces or self._pieces[-1][0] != number:
            self._forget(number - PIECES)
            self._pieces.append((number, {}))
        self._add(self._pieces[-1][1], project, 1, failed)
        self._add(self._by_project, project, 1, failed)
        self.calls += 1
        self.failed += failed

    def without(self, project: UUID | None) -> tuple[int, int]:
        """Calls and failures of all others."""
        calls, failed = self._by_project.get(project, NOBODY)
        return self.calls - calls, self.failed - failed

    def worst(self) -> UUID | None:
        """The project with the most failures; something must have been counted."""
        return max(self._by_project, key=lambda project: self._by_project[project][1])

    def clear(self) -> None:
        """Nothing has ended."""
        self._pieces.clear()
        self._by_project.clear()
        self.calls = self.failed = 0

    def _forget(self, until: int) -> None:
        while self._pieces and self._pieces[0][0] <= until:
            for project, (calls, failed) in self._pieces.pop(0)[1].items():
                self._add(self._by_project, project, -calls, -failed)
                if self._by_project[project] == NOBODY:
                    del self._by_project[project]
                self.calls -= calls
                self.failed -= failed

    @staticmethod
    def _add(counts: dict[UUID | None, tuple[int, int]], project: UUID | None, calls: int, failed: int) -> None:
        before = counts.get(project, NOBODY)
        counts[project] = (before[0] + calls, before[1] + failed)

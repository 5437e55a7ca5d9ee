"""The same job cheaper, offline: what ``taximeter quote --alternatives`` prints, and a notebook's ``fare.alternatives()``."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from taximeter.metering.fares import Fare
from taximeter.metering.quotes import Alternative
from taximeter.metering.quotes.service import alternative_view

_COLUMNS = ("with", "at most, Tokens", "money", "saves")
NOTHING = "Nothing of it can be less: there is no cheaper way to ask for this."


@dataclass(frozen=True, slots=True, repr=False)
class Alternatives(Sequence[Alternative]):
    """Cheaper requests, the cheapest first; ``str`` of it is a table, and so is a notebook's cell.

    Attributes:
        fare: what they are cheaper than.
        found: each with what is different, the request to send, and its own fare.
    """

    fare: Fare
    found: tuple[Alternative, ...]

    @overload
    def __getitem__(self, index: int) -> Alternative: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Alternative]: ...
    def __getitem__(self, index: int | slice) -> Alternative | Sequence[Alternative]:
        """One of them, or some."""
        return self.found[index]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.found)

    def __iter__(self) -> Iterator[Alternative]:
        """Each of them."""
        return iter(self.found)

    def to_list(self) -> list[dict[str, Any]]:
        """As ``POST /v1/quotes`` shows them."""
        return [alternative_view(self.fare, each) for each in self.found]

    def __repr__(self) -> str:
        """One line for a prompt."""
        return f"<{len(self.found)} cheaper ways to ask {self.fare.model.name}>"

    def __str__(self) -> str:
        """A table."""
        rows = [_COLUMNS, *self._rows()]
        if len(rows) == 1:
            return NOTHING
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        return "\n".join(
            "  ".join((row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)))) for row in rows
        )

    def _repr_html_(self) -> str:
        """The same table for a notebook."""
        if not self.found:
            return f"<p>{html.escape(NOTHING)}</p>"

        def row(cells: Sequence[str], tag: str) -> str:
            sides = ("left", *("right",) * (len(cells) - 1))
            return "".join(f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True))

        body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in self._rows())
        return f"<table><thead><tr>{row(_COLUMNS, 'th')}</tr></thead><tbody>{body}</tbody></table>"

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                ", ".join(change["text"] for change in each["changes"]),
                each["tokens_max"],
                f"{each['money']['maximum']} {each['money']['currency']}",
                each["tokens_saved"],
            )
            for each in self.to_list()
        ]

"""One comparison and its outcome."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

SHOWN = 5
"""How many differing ids are kept."""


@dataclass(frozen=True, slots=True)
class Span:
    """Days in UTC: from ``start`` up to, not including, ``end``."""

    start: date = date(1, 1, 1)
    end: date = date(9999, 12, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What two witnesses say.

    Attributes:
        name: stable; a label on ``/metrics``.
        unit: of both sums: ``utok`` or ``files``.
        compared: how many things stood on either side.
        left: the sum of the first witness, by the name of the check; ``right`` that of the second.
        differences: how many things differ.
        unexplained_utok: by how much, without regard to sign, so that two errors do not cancel out.
        first: ids of the first that differ.
        notes: what was not compared, and why.
    """

    name: str
    unit: str = "utok"
    compared: int = 0
    left: int = 0
    right: int = 0
    differences: int = 0
    unexplained_utok: int = 0
    first: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def agrees(self) -> bool:
        """Nothing differs."""
        return self.differences == 0

    def plus(self, other: "Check") -> "Check":
        """Both of the same name, taken together."""
        assert (self.name, self.unit) == (other.name, other.unit)
        return replace(
            self,
            compared=self.compared + other.compared,
            left=self.left + other.left,
            right=self.right + other.right,
            differences=self.differences + other.differences,
            unexplained_utok=self.unexplained_utok + other.unexplained_utok,
            first=(*self.first, *other.first)[:SHOWN],
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
        )

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "check": self.name,
            "unit": self.unit,
            "compared": self.compared,
            "left": self.left,
            "right": self.right,
            "differences": self.differences,
            "unexplained_utok": self.unexplained_utok,
            "first": list(self.first),
            "notes": list(self.notes),
        }


def from_row(row: Mapping[str, Any]) -> Check:
    """A row of one of the comparing statements."""
    return Check(
        name=row["name"],
        compared=row["compared"],
        left=int(row["left_utok"]),
        right=int(row["right_utok"]),
        differences=row["differences"],
        unexplained_utok=int(row["unexplained_utok"]),
        first=tuple(row["first"] or ()),
    )


def together(checks: Sequence[Check]) -> list[Check]:
    """One for each name, in the order of their first appearance."""
    found: dict[str, Check] = {}
    for check in checks:
        found[check.name] = found[check.name].plus(check) if check.name in found else check
    return list(found.values())

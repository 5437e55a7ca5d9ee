"""What was read and what differs: the first difference of each kind, and how many there are of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that does not agree.

    Attributes:
        invariant: which rule it breaks, ``I1`` to ``I9``.
        kind: a stable name of what was compared.
        ids: what it is about: ``account``, ``id``, ``leg``, ``phase``, ``job``, ``line``.
        expected: what the log (for ``I6``: the acknowledgement) gives.
        found: what stands there instead.
    """

    invariant: str
    kind: str
    ids: Mapping[str, str | int]
    expected: str | int
    found: str | int

    def sentence(self) -> str:
        """For people."""
        about = " ".join(f"{name} {value}" for name, value in self.ids.items())
        return f"{self.invariant} {self.kind}: {about}: expected {self.expected}, found {self.found}"


@dataclass
class Report:
    """The outcome of a replay.

    Attributes:
        rows: of the log.
        overdue_holds: of the open ones, those past their time; for some seconds that is no fault, a sweeper releases them.
        charged_utok: what wallets paid for, over the whole log.
        acknowledged: lines of the acknowledgement file that were checked.
        first: the first difference of each kind.
        counts: how many differences of each kind there are.
        notes: what could not be compared, and why.
    """

    rows: int = 0
    accounts: int = 0
    open_holds: int = 0
    overdue_holds: int = 0
    charged_utok: int = 0
    acknowledged: int = 0
    first: dict[str, Difference] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """The tables say what the log says."""
        return not self.first

    @property
    def differences(self) -> list[str]:
        """A sentence for each kind of difference: the first one, and how many more there are."""
        more = {kind: count - 1 for kind, count in self.counts.items()}
        return [
            difference.sentence() + (f" (and {more[difference.kind]} more)" if more[difference.kind] else "") for difference in self.first.values()
        ]

    def differ(self, difference: Difference, count: int = 1) -> None:
        """Note a difference, or ``count`` of its kind of which this is the first."""
        self.first.setdefault(difference.kind, difference)
        self.counts[difference.kind] = self.counts.get(difference.kind, 0) + count

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "agrees": self.agrees,
            "rows": self.rows,
            "accounts": self.accounts,
            "open_holds": self.open_holds,
            "overdue_holds": self.overdue_holds,
            "charged_utok": self.charged_utok,
            "acknowledged": self.acknowledged,
            "differences": [
                {
                    "invariant": difference.invariant,
                    "kind": difference.kind,
                    "count": self.counts[difference.kind],
                    "first": {**difference.ids, "expected": difference.expected, "found": difference.found},
                }
                for difference in self.first.values()
            ],
            "notes": self.notes,
        }

"""A receipt computed again, step by step, beside what is stored of it.  Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from taximeter.kernel.ids import encode_id
from taximeter.metering.model import RECEIPT_PREFIX, Refund

AGREES = "agrees"


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``metering.receipts``: 1 ended the hold, 2 settled what came after that."""

    phase: int
    outcome: str
    reason: str | None
    work: Mapping[str, int | str]
    measured: bool
    consumed_utok: int
    charged_utok: int
    shortfall_utok: int
    lines: Sequence[Mapping[str, Any]]
    detail: Mapping[str, Any]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All that the database has about one request."""

    id: UUID
    project_id: UUID
    model: str
    modality: str
    rate_card: str
    tariff: str
    multiplier: str
    held_utok: int
    fare: Mapping[str, Any]
    created_at: datetime
    phases: Sequence[Phase]
    refunds: Sequence[Refund]


class Step(msgspec.Struct, frozen=True):
    """One step of the walk.

    Attributes:
        part: where it belongs: ``versions``, ``estimate``, ``report``, ``work``, ``card``, ``factors``, ``charge``, ``money``, ``refunds``.
        label: what it gives.
        how: the arithmetic, or where it is from.
        computed: the result, computed now; None: only shown.
        stored: what is on record; None: nothing is to compare with.
    """

    part: str
    label: str
    how: str = ""
    computed: str | None = None
    stored: str | None = None

    @property
    def agrees(self) -> bool | None:
        """Whether both are the same; None: there is nothing to compare."""
        return None if self.computed is None or self.stored is None else self.computed == self.stored

    def text(self) -> str:
        """One line for a terminal."""
        parts = [self.label.ljust(28)]
        if self.how:
            parts.append(self.how)
        if self.computed is not None:
            parts.append(f"= {self.computed}")
        if self.agrees is not None:
            parts.append(AGREES if self.agrees else f"DIFFERS: {self.stored} is stored")
        return "  ".join(parts).rstrip()


class Explanation(msgspec.Struct, frozen=True):
    """The whole walk.

    Attributes:
        notes: what could not be computed again, and why.
    """

    id: UUID
    steps: tuple[Step, ...]
    notes: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return all(step.agrees is not False for step in self.steps)

    @property
    def compared(self) -> int:
        """How many figures were compared."""
        return sum(step.agrees is not None for step in self.steps)

    def to_api(self) -> dict[str, Any]:
        """The body of ``GET /v1/receipts/{id}/explanation``."""
        return {
            "object": "receipt.explanation",
            "receipt": encode_id(RECEIPT_PREFIX, self.id),
            "agrees": self.agrees,
            "compared": self.compared,
            "notes": list(self.notes),
            "steps": [
                {
                    "part": step.part,
                    "label": step.label,
                    "how": step.how,
                    "computed": step.computed,
                    "stored": step.stored,
                    "agrees": step.agrees,
                }
                for step in self.steps
            ],
        }

    def text(self) -> str:
        """The walk for a terminal, part by part."""
        lines = [encode_id(RECEIPT_PREFIX, self.id)]
        part = ""
        for step in self.steps:
            if step.part != part:
                part = step.part
                lines += ["", part]
            lines.append(f"  {step.text()}")
        lines.append("")
        lines += [f"note: {note}" for note in self.notes]
        differing = sum(step.agrees is False for step in self.steps)
        lines.append(f"{self.compared} figures compared: {f'{differing} DIFFER' if differing else 'all agree'}")
        return "\n".join(lines)

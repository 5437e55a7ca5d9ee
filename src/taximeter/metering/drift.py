"""How far estimates are from what providers count, by model: from the requests and receipts themselves."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from taximeter.kernel.ids import first_id_at
from taximeter.metering.store import MeteringStore

ERROR_DIGITS = 6


class Side(msgspec.Struct, frozen=True):
    """Prompt or answer: tokens of all measured requests, and by which share of its count a request was wrong."""

    expected: int
    counted: int
    mean_error: float | None
    p90_error: float | None


class Drift(msgspec.Struct, frozen=True):
    """One model's chats.

    Attributes:
        model: its name.
        requests: that came to an end.
        measured: of which the provider reported its count; only these are compared.
        prompt: what went in.
        answer: what came out; its estimate is the profile's ``expected_output_tokens``.
    """

    model: str
    requests: int
    measured: int
    prompt: Side
    answer: Side

    def to_api(self) -> dict[str, Any]:
        """As JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


async def find_drift(store: MeteringStore, start: datetime, end: datetime, model: str | None = None) -> Sequence[Drift]:
    """Of the chats requested from ``start`` up to, not including, ``end``."""
    rows = await store.drift(_first_id(start), _first_id(end), model)
    return [Drift(row["model"], row["requests"], row["measured"], _side(row, "prompt"), _side(row, "answer")) for row in rows]


def _first_id(moment: datetime) -> UUID:
    return first_id_at(round(moment.timestamp() * 1000))


def _side(row: Any, name: str) -> Side:  # noqa: ANN401 - a database record
    mean, high = row[f"{name}_error"], row[f"{name}_error_p90"]
    return Side(int(row[f"{name}_expected"]), int(row[f"{name}_counted"]), _share(mean), _share(high))


def _share(value: Decimal | float | None) -> float | None:
    return None if value is None else round(float(value), ERROR_DIGITS)

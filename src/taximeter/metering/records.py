"""What a project used: receipts and sums over them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from taximeter.identity import Caller
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens
from taximeter.metering.errors import ReceiptNotFound
from taximeter.metering.explain import explain
from taximeter.metering.explanation import Explanation
from taximeter.metering.model import Receipt
from taximeter.metering.refunds import Refunds
from taximeter.metering.store import MeteringStore
from taximeter.pricing import Catalog

GROUPS = ("day", "model", "project", "key")


class Records:
    """The verbs of the receipt and usage routes.  The receipts, and the refunds of them, are the only source.

    Attributes:
        refunds: gives back what was charged; for administrators.
    """

    def __init__(self, store: MeteringStore) -> None:
        self._store = store
        self.refunds = Refunds(store)

    async def receipt(self, caller: Caller, receipt_id: UUID) -> Receipt:
        """One of the caller's receipts.  Raises ReceiptNotFound."""
        receipt = await self._store.find_receipt(caller.project_id, receipt_id)
        if receipt is None:
            message = "there is no receipt with this id"
            raise ReceiptNotFound(message)
        return receipt

    async def explanation(self, catalog: Catalog, receipt_id: UUID, caller: Caller | None = None) -> Explanation:
        """A receipt computed again from what is stored; of any project when there is no caller.  Raises ReceiptNotFound."""
        record = await self._store.find_record(receipt_id, None if caller is None else caller.project_id)
        if record is None:
            message = "there is no receipt with this id"
            raise ReceiptNotFound(message)
        return explain(catalog, record)

    async def receipts(self, caller: Caller, after: UUID | None, limit: int) -> Sequence[Receipt]:
        """A page of the caller's receipts, newest first."""
        return await self._store.list_receipts(caller.project_id, after, limit)

    async def usage(self, caller: Caller, group_by: Sequence[str], start: datetime, end: datetime) -> Sequence[dict[str, Any]]:
        """Sums over what was settled from ``start`` up to, not including, ``end``; with what was given back of it until now."""
        rows = []
        given_back = {
            tuple(row[name] for name in GROUPS): int(row["refunded_utok"])
            for row in await self._store.usage_refunds(caller.project_id, start, end, group_by)
        }
        for row in await self._store.usage(caller.project_id, start, end, group_by):
            names = {
                "day": row["day"] and row["day"].isoformat(),
                "model": row["model"],
                "project": row["project"] and encode_id("prj", row["project"]),
                "key": row["key"] and encode_id("key", row["key"]),
            }
            rows.append(
                {
                    **{name: names[name] for name in group_by},
                    "requests": row["requests"],
                    "failed": row["failed"],
                    "tokens_consumed": format_tokens(int(row["consumed_utok"])),
                    "tokens_charged": format_tokens(int(row["charged_utok"])),
                    "tokens_refunded": format_tokens(given_back.get(tuple(row[name] for name in GROUPS), 0)),
                    "engine_ms": int(row["engine_ms"]),
                }
            )
        return rows

"""Metering's SQL: posting with facts, receipts and usage."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from taximeter.db import sql
from taximeter.ledger import Operation, Outcome, store
from taximeter.metering.explanation import Phase, Record
from taximeter.metering.model import Answer, Earlier, Price, Receipt, Refund, RefundOrder
from taximeter.metering.rules import whole_days

_SQL = sql.load("taximeter.metering")
RECONCILED = "all"
"""The row of ``metering.reconciliations`` about a whole run."""


@dataclass(frozen=True, slots=True)
class Grip:
    """A lock that a process holds on to with a connection, and since when the server runs that granted it."""

    key: int
    server_started_at: datetime


async def post(connection: asyncpg.Connection, lane: int, operations: Sequence[Operation]) -> list[Outcome]:
    """Post a batch, and write each operation's fact in the same transaction."""
    rows = await connection.fetch(_SQL["post"], *store.columns(lane, operations), [operation.fact for operation in operations])
    return store.outcomes(rows)


class MeteringStore:
    """Reads receipts and usage; keeps the list of living processes."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @property
    def pool(self) -> asyncpg.Pool:
        """Its connections."""
        return self._pool

    async def find_receipt(self, project_id: UUID, receipt_id: UUID) -> Receipt | None:
        """One of the project's receipts."""
        row = await self._pool.fetchrow(_SQL["receipt"], receipt_id, project_id)
        return None if row is None else _receipt(row)

    async def find_record(self, request_id: UUID, project_id: UUID | None) -> Record | None:
        """All that is stored about a request; of any project when none is named."""
        row = await self._pool.fetchrow(_SQL["record"], request_id, project_id)
        if row is None:
            return None
        read = {name: json.loads(row[name] or "[]") for name in ("fare", "phases", "refunds")}
        refunds = [read_refund({**one, "created_at": datetime.fromisoformat(one["created_at"])}) for one in read["refunds"]]
        named = {
            name: row[name] for name in ("id", "project_id", "model", "modality", "rate_card", "tariff", "multiplier", "held_utok", "created_at")
        }
        return Record(**named, fare=read["fare"], phases=msgspec.convert(read["phases"], list[Phase]), refunds=refunds)

    async def list_receipts(self, project_id: UUID, after: UUID | None, limit: int) -> list[Receipt]:
        """A page of the project's receipts, newest first."""
        return [_receipt(row) for row in await self._pool.fetch(_SQL["receipts"], project_id, after, limit)]

    async def find_receipts(self, project_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Receipt]:
        """Several of the project's receipts, by id."""
        return {row["id"]: _receipt(row) for row in await self._pool.fetch(_SQL["receipts_of"], project_id, list(ids))}

    async def usage(self, project_id: UUID, start: datetime, end: datetime, groups: Sequence[str]) -> list[asyncpg.Record]:
        """Sums over the receipts settled from ``start`` up to, not including, ``end``.

        Exact at any time.  Quick for whole days in UTC, which are summed already; the receipts of other parts of a day are read.
        """
        flags = [name in groups for name in ("day", "model", "project", "key")]
        rows: list[asyncpg.Record] = await self._pool.fetch(_SQL["usage"], project_id, start, end, *whole_days(start, end), *flags)
        return rows

    async def usage_refunds(self, project_id: UUID, start: datetime, end: datetime, groups: Sequence[str]) -> list[asyncpg.Record]:
        """What was given back for the receipts settled in that time, grouped as ``usage`` is."""
        flags = [name in groups for name in ("day", "model", "project", "key")]
        rows: list[asyncpg.Record] = await self._pool.fetch(_SQL["usage_refunds"], project_id, start, end, *flags)
        return rows

    async def drift(self, first: UUID, after: UUID, model: str | None) -> list[asyncpg.Record]:
        """Estimates beside counts of the chats with ids from ``first`` up to, not including, ``after``, by model."""
        rows: list[asyncpg.Record] = await self._pool.fetch(_SQL["drift"], first, after, model)
        return rows

    async def refund(self, wanted: RefundOrder) -> asyncpg.Record:
        """Post a refund with its row: the outcome, what was charged, what is left, and the row (see ``metering.refund``)."""
        arguments = (wanted.id, wanted.request_id, wanted.reference, wanted.amount_utok, wanted.reason, wanted.operator)
        row = await self._pool.fetchrow(_SQL["refund"], *arguments)
        assert row is not None
        return row

    async def refunds(self, request_id: UUID) -> list[Refund] | None:
        """A request's refunds, oldest first; None when there is no such request."""
        rows = await self._pool.fetch(_SQL["refunds"], request_id)
        if not rows and not await self._pool.fetchval(_SQL["was_requested"], request_id):
            return None
        return [read_refund(row) for row in rows]

    async def refund_totals(self) -> tuple[int, int]:
        """How many refunds there are, and their sum in micro-Tokens."""
        row = await self._pool.fetchrow(_SQL["refund_totals"])
        assert row is not None
        return row["refunds"], row["refunded_utok"]

    async def fold_usage(self, rows: int) -> int | None:
        """Add receipts to the daily sums, those of at most so many rows of the log in each lane.

        Returns how many batches it came further; None when another process is at it.
        """
        batches: int | None = await self._pool.fetchval(_SQL["fold_usage"], rows)
        return batches

    async def book_figures(self) -> Mapping[str, tuple[str, float]]:
        """What the processes have counted and what the last reconciliation found, for the metrics page: name -> (help, value)."""
        figures: dict[str, tuple[str, float]] = {}
        for row in await self._pool.fetch(_SQL["counters"]):
            kind = f'{{kind="{row["kind"]}"}}'
            figures[f"taximeter_receipts_total{kind}"] = ("Requests ended, as the processes of each kind counted.", row["receipts"])
            figures[f"taximeter_charged_utok_total{kind}"] = ("Micro-Tokens charged for them.", row["charged_utok"])
        for row in await self._pool.fetch(_SQL["reconciliations"]):
            if row["name"] == RECONCILED:
                figures["taximeter_reconcile_duration_seconds"] = ("How long the last reconciliation took.", row["seconds"])
                figures["taximeter_reconcile_last_run_timestamp_seconds"] = ("When it was.", float(row["ran_at_s"]))
                agreed_s = float(row["agreed_at_s"] or 0)
                figures["taximeter_reconcile_last_success_timestamp_seconds"] = ("When one found no difference, the last time.", agreed_s)
                continue
            check = f'{{check="{row["name"]}"}}'
            figures[f"taximeter_reconcile_difference{check}"] = ("What differed in the last reconciliation; 0 is right.", row["differences"])
            figures[f"taximeter_reconcile_unexplained_utok{check}"] = ("Micro-Tokens by which it differed.", float(row["unexplained_utok"]))
        return figures

    async def hello(self, process_id: UUID, kind: str, grip: Grip | None = None) -> None:
        """This process lives, and its connection holds this lock."""
        key, server_started_at = (None, None) if grip is None else (grip.key, grip.server_started_at)
        await self._pool.execute(_SQL["hello"], process_id, kind, key, server_started_at)

    async def hold_on(self, connection: asyncpg.Connection, process_id: UUID) -> Grip:
        """Take a lock that others can see, and that is free when the connection ends."""
        key = process_id.int & 0x7FFF_FFFF
        return Grip(key, await connection.fetchval(_SQL["hold_on"], key))

    async def goodbye(self, process_id: UUID) -> None:
        """This process ends; holds that it left are free to be released."""
        await self._pool.execute(_SQL["goodbye"], process_id)

    async def orphans(self, dead_after_s: float, cut_off_after_s: float, limit: int) -> list[asyncpg.Record]:
        """Open holds that are overdue or whose process is gone: id, lane, process_died, is_job.

        A process is gone when it was silent for ``dead_after_s``; for ``cut_off_after_s`` when its connection has ended too.
        """
        rows: list[asyncpg.Record] = await self._pool.fetch(_SQL["orphans"], dead_after_s, cut_off_after_s, limit)
        return rows

    async def forget_processes(self) -> None:
        """Drop processes that have been gone for a day."""
        await self._pool.execute(_SQL["forget_processes"])

    async def find_key(self, project_id: UUID, key: str, fingerprint: bytes, grace_s: float) -> Earlier | None:
        """The request that has this idempotency key.  One settled ``grace_s`` ago or less, whose answer is yet to be kept, is running."""
        row = await self._pool.fetchrow(_SQL["key"], project_id, key, fingerprint, grace_s)
        return None if row is None else _earlier(row)

    async def keep_answer(self, request_id: UUID, status: int, content_type: str, body: bytes | None) -> None:
        """Keep an answer for repeats; None: it is too large."""
        await self._pool.execute(_SQL["keep_answer"], request_id, status, content_type, body)

    async def forget_keys(self, ttl_s: int, limit: int) -> int:
        """Forget idempotency keys older than this, with their answers; returns how many."""
        forgotten: int = await self._pool.fetchval(_SQL["forget_keys"], ttl_s, limit)
        return forgotten


def _earlier(row: asyncpg.Record) -> Earlier:
    kept = row["body"] is not None
    return Earlier(
        request_id=row["request_id"],
        same=row["same"],
        released=row["released"],
        running=row["running"],
        answer=Answer(row["status"], row["content_type"], row["body"]) if kept else None,
    )


def _receipt(row: asyncpg.Record) -> Receipt:
    base: dict[str, Any] = {name: row[name] for name in ("id", "model", "modality", "rate_card", "tariff", "multiplier", "held_utok", "created_at")}
    fare = json.loads(row["fare"])
    base["quote"] = fare.get("quote")
    if "currency" in fare:
        base |= {"service_tier": fare["service_tier"], "price": Price(fare["currency"], fare["price_nano"])}
    if row["outcome"] is None:
        return Receipt(**base)
    refunds = json.loads(row["refunds"] or "[]")
    detail = json.loads(row["detail"])
    # What explains the charge stands beside what the engine said; it is shown at places of its own.
    detail.pop("reported", None)
    return Receipt(
        **base | {"multiplier": detail.pop("multiplier", base["multiplier"])},
        multipliers=tuple(detail.pop("multipliers", ())),
        outcome=row["outcome"],
        reason=row["reason"],
        work={name: int(value) for name, value in json.loads(row["work"]).items()},
        measured=row["measured"],
        consumed_utok=row["consumed_utok"],
        charged_utok=row["charged_utok"],
        settlement="settled",
        lines=tuple(json.loads(row["lines"])),
        detail=detail,
        engine_ms=row["engine_ms"],
        settled_at=row["settled_at"],
        refunds=tuple(read_refund({**one, "created_at": datetime.fromisoformat(one["created_at"])}) for one in refunds),
    )


def read_refund(row: Mapping[str, Any], *, replayed: bool = False) -> Refund:
    """A row of ``metering.refunds``, from a statement or from JSON."""
    return Refund(
        id=_uuid(row["id"]),
        request_id=_uuid(row["request_id"]),
        reference=row["reference"],
        amount_utok=row["amount_utok"],
        prepaid_utok=row["prepaid_utok"],
        allowance_utok=row["allowance_utok"],
        reason=row["reason"],
        operator=row["operator"],
        created_at=row["created_at"],
        replayed=replayed,
    )


def _uuid(value: UUID | str) -> UUID:
    return UUID(value) if isinstance(value, str) else value

"""Rate limits as ``metering.post`` keeps them (migration 0072), one bucket for each key."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from taximeter.ledger import Kind, Operation, Outcome, Status

MINUTE_NS = 60_000_000_000
NEVER = -1


@dataclass
class Bucket:
    """Theoretical arrival times of the next request and the next Token, in nanoseconds."""

    requests_at: int = 0
    tokens_at: int = 0


@dataclass
class Buckets:
    """All keys' limits."""

    buckets: dict[str, Bucket] = field(default_factory=dict)

    def take(self, now_s: float, open_holds: set[UUID], operations: Sequence[Operation]) -> dict[UUID, int | None]:
        """For each hold with limits that is not open yet, how long it must wait; None: it may go on, and has taken what it needs."""
        waits: dict[UUID, int | None] = {}
        for operation in operations:
            limits = _limits(operation)
            if operation.kind is Kind.HOLD and limits is not None and operation.id not in open_holds:
                waits[operation.id] = self._take_one(int(now_s * 1_000_000_000), limits)
        return waits

    def give_back(self, waits: dict[UUID, int | None], done: Sequence[tuple[Operation, Outcome]]) -> None:
        """What a hold that was not made had taken, and what a resolution did not use."""
        for operation, outcome in done:
            limits = _limits(operation)
            if limits is None or limits["tokens_per_minute_utok"] is None:
                continue
            not_made = operation.id in waits and outcome.status is not Status.APPLIED
            ended = operation.kind is not Kind.HOLD and outcome.status in (Status.APPLIED, Status.SETTLED_LATE)
            if not_made or ended:
                self.buckets[limits["key_id"]].tokens_at -= _step(limits["amount_utok"], limits["tokens_per_minute_utok"])

    def _take_one(self, now_ns: int, limits: dict[str, Any]) -> int | None:
        bucket = self.buckets.setdefault(limits["key_id"], Bucket())
        requests, tokens, amount = limits["requests_per_minute"], limits["tokens_per_minute_utok"], limits["amount_utok"]
        requests_at, tokens_at, wait = bucket.requests_at, bucket.tokens_at, 0
        if tokens is not None and amount > tokens:
            return NEVER
        if requests is not None:
            requests_at = max(requests_at, now_ns) + _step(1, requests)
            wait = requests_at - now_ns - MINUTE_NS
        if tokens is not None:
            tokens_at = max(tokens_at, now_ns) + _step(amount, tokens)
            wait = max(wait, tokens_at - now_ns - MINUTE_NS)
        if wait > 0:
            return wait
        bucket.requests_at, bucket.tokens_at = requests_at, tokens_at
        return None


def _limits(operation: Operation) -> dict[str, Any] | None:
    limits: dict[str, Any] | None = json.loads(operation.fact).get("limits") if operation.fact is not None else None
    return limits


def _step(amount: int, per_minute: int) -> int:
    return amount * MINUTE_NS // per_minute

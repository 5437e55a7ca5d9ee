"""Limits as ``metering.post`` keeps them (migration 0130)."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from taximeter.ledger import Kind, Operation, Outcome, Status
from taximeter.ledger.model import Note

SECOND_NS = 1_000_000_000
NEVER = -1


@dataclass
class Bucket:
    """Theoretical arrival times of the next request and the next Token, in nanoseconds, and who has a slot."""

    requests_at: int = 0
    tokens_at: int = 0
    running: set[UUID] = field(default_factory=set)


@dataclass
class Asked:
    """What a hold asked of its limits.

    Attributes:
        takes: them all.
        got: the places in the list that it took from.
        at: by place, how full the bucket was found or left.
        over: shadows that would have refused.
        refused: the answer, when it goes no further.
    """

    takes: Sequence[Mapping[str, Any]]
    now_ns: int
    got: list[int] = field(default_factory=list)
    at: dict[int, int] = field(default_factory=dict)
    over: list[int] = field(default_factory=list)
    refused: Outcome | None = None

    def notes(self) -> tuple[Note, ...]:
        """What is left of the limits that refuse, and when all of it is there: of each kind of the one with the least left."""
        tightest: dict[str, Note] = {}
        for place, take in enumerate(self.takes):
            if take["shadow"]:
                continue
            if take["kind"] == "concurrency":
                note = Note(place, max(take["most"] - self.at[place], 0), 0)
            else:
                window_ns, full_ns = take["window_s"] * SECOND_NS, max(self.at[place] - self.now_ns, 0)
                # Towards zero, as PostgreSQL's div.
                note = Note(place, max(window_ns - full_ns, 0) * take["most"] // window_ns, full_ns)
            known = tightest.setdefault(take["kind"], note)
            if (note.first, -note.second) < (known.first, -known.second):
                tightest[take["kind"]] = note
        return tuple(sorted(tightest.values(), key=lambda note: note.kind))


@dataclass
class Buckets:
    """All limits, what running requests took of them, and what shadows would have refused."""

    buckets: dict[str, Bucket] = field(default_factory=dict)
    taken: dict[UUID, list[tuple[Mapping[str, Any], int]]] = field(default_factory=dict)
    shadowed: Counter[str] = field(default_factory=Counter)

    def ask(self, now_ns: int, open_holds: set[UUID], operations: Sequence[Operation]) -> dict[UUID, Asked]:
        """For each hold with limits that is not open yet: what it took, all or nothing."""
        asked: dict[UUID, Asked] = {}
        for operation in operations:
            takes = asked_of(operation)
            if operation.kind is Kind.HOLD and takes and operation.id not in open_holds:
                asked[operation.id] = self._ask_one(now_ns, operation.id, takes)
        return asked

    def finish(self, now_ns: int, asked: Mapping[UUID, Asked], done: Sequence[tuple[Operation, Outcome]]) -> list[Outcome]:
        """A hold that was not made took nothing; an ended one gives back what it did not use.  The outcomes, with their notes."""
        for operation, outcome in done:
            one = asked.get(operation.id)
            if one is not None and one.refused is None:
                self._book(operation.id, one, made=outcome.status is Status.APPLIED)
            elif operation.kind is not Kind.HOLD and outcome.status is Status.APPLIED:
                self._end(operation, outcome, now_ns)
        return [replace(o, notes=asked[operation.id].notes()) if operation.id in asked else o for operation, o in done]

    def rescale(self, now_ns: int, bucket_id: str, kind: str, heights: tuple[int, int], window_s: int) -> None:
        """Another height: what was used stays used, up to all of it, and what running requests took of it is counted in the new one."""
        bucket = self.buckets.get(bucket_id)
        if bucket is None:
            return
        before, after = heights

        def rescaled(at_ns: int) -> int:
            level = at_ns - now_ns
            return now_ns + (min(level * before // after, window_s * SECOND_NS) if level > 0 else level)

        if kind == "requests":
            bucket.requests_at = rescaled(bucket.requests_at)
            return
        bucket.tokens_at = rescaled(bucket.tokens_at)
        for request_id, taken in self.taken.items():
            self.taken[request_id] = [
                ({**take, "most": after}, rescaled(full_at)) if take["bucket"] == bucket_id else (take, full_at) for take, full_at in taken
            ]

    def _ask_one(self, now_ns: int, request_id: UUID, takes: Sequence[Mapping[str, Any]]) -> Asked:
        one = Asked(takes, now_ns)
        longest, blamed = 0, None
        for place, take in enumerate(takes):
            wait, one.at[place] = self._wait(now_ns, take)
            if wait == 0:
                continue
            if take["shadow"]:
                one.over.append(place)
            elif longest != NEVER and (wait == NEVER or wait > longest):
                longest, blamed = wait, place
        if blamed is not None:
            one.refused = Outcome(Status.RATE_LIMITED, blamed, longest)
            return one
        for place, take in enumerate(takes):
            if place not in one.over:
                one.got.append(place)
                one.at[place] = self._move(now_ns, request_id, take)
        return one

    def _wait(self, now_ns: int, take: Mapping[str, Any]) -> tuple[int, int]:
        bucket = self.buckets.setdefault(take["bucket"], Bucket())
        if take["kind"] == "concurrency":
            return (0 if len(bucket.running) < take["most"] else SECOND_NS), len(bucket.running)
        at = bucket.tokens_at if take["kind"] == "tokens" else bucket.requests_at
        if take["amount"] > take["most"]:
            return NEVER, at
        return max(max(at, now_ns) + step(take) - now_ns - take["window_s"] * SECOND_NS, 0), at

    def _move(self, now_ns: int, request_id: UUID, take: Mapping[str, Any]) -> int:
        bucket = self.buckets[take["bucket"]]
        if take["kind"] == "concurrency":
            bucket.running.add(request_id)
            return len(bucket.running)
        if take["kind"] == "tokens":
            bucket.tokens_at = max(bucket.tokens_at, now_ns) + step(take)
            return bucket.tokens_at
        bucket.requests_at = max(bucket.requests_at, now_ns) + step(take)
        return bucket.requests_at

    def _book(self, request_id: UUID, one: Asked, *, made: bool) -> None:
        if made:
            self.shadowed.update(one.takes[place]["bucket"] for place in one.over)
            self.taken[request_id] = [(one.takes[place], one.at[place]) for place in one.got if one.takes[place]["kind"] == "tokens"]
            return
        for place in one.got:
            take = one.takes[place]
            bucket = self.buckets[take["bucket"]]
            if take["kind"] == "concurrency":
                bucket.running.discard(request_id)
                one.at[place] -= 1
            else:
                one.at[place] -= step(take)
                if take["kind"] == "tokens":
                    bucket.tokens_at -= step(take)
                else:
                    bucket.requests_at -= step(take)

    def _end(self, operation: Operation, outcome: Outcome, now_ns: int) -> None:
        charged_utok = outcome.total_utok if operation.kind is Kind.SETTLE else 0
        for take, full_at in self.taken.pop(operation.id, []):
            back = step(take) - step({**take, "amount": charged_utok})
            self.buckets[take["bucket"]].tokens_at -= min(back, max(full_at - now_ns, 0))
        for bucket in self.buckets.values():
            bucket.running.discard(operation.id)


def asked_of(operation: Operation) -> list[Mapping[str, Any]]:
    """What a hold asks of its limits, by the operation or spelled out in its fact."""
    if operation.take:
        return [
            {
                "bucket": bucket,
                "kind": kind,
                "most": most,
                "window_s": window_s,
                "shadow": shadow,
                "amount": operation.amount_utok if kind == "tokens" else 1,
            }
            for bucket, kind, most, window_s, shadow in operation.take
        ]
    return json.loads(operation.fact).get("take", []) if operation.fact is not None else []


def step(take: Mapping[str, Any]) -> int:
    """How far it moves the arrival time of its limit."""
    return int(take["amount"] * take["window_s"] * SECOND_NS // take["most"])

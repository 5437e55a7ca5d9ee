"""The surge's SQL: what gateways read, what the one who leads writes."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from taximeter.admission.surge.model import Current, Demand, Policy, Sample, State, hundredths
from taximeter.db import sql
from taximeter.kernel.canonical import canonical_json
from taximeter.pricing import Factors

_SQL = sql.load("taximeter.admission.surge")
FOLD_ROWS = 5_000
"""Rows of the log in each lane that one look at the receipts goes through."""


class Brought(msgspec.Struct, frozen=True):
    """One receipt whose fare had a surge."""

    model: str
    factors: Factors
    work: Mapping[str, int]
    consumed_utok: int
    maximum_utok: int


class Change(msgspec.Struct, frozen=True):
    """One entry of the audit."""

    number: int
    engine: str
    policy_id: str
    policy: Policy
    from_pct: int
    to_pct: int
    load_bp: int | None
    followed_ppm: int
    reason: str
    surplus_utok: int
    at: datetime

    def to_api(self) -> dict[str, Any]:
        """One entry of ``GET /v1/admin/surge/changes``."""
        return {
            "number": self.number,
            "object": "surge.change",
            "engine": self.engine,
            "policy": self.policy.to_api(),
            "from": hundredths(self.from_pct),
            "to": hundredths(self.to_pct),
            "utilisation_percent": None if self.load_bp is None else hundredths(self.load_bp),
            "followed_percent": hundredths(self.followed_ppm // 100),
            "reason": self.reason,
            "surplus_utok": str(self.surplus_utok),
            "at": self.at.isoformat(),
        }


class SurgeStore:
    """Reads what is in force and the audit."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def read(self) -> dict[str, Current]:
        """What is known of each engine, by its name."""
        return await read(self._pool)

    async def changes(self, engine: str | None, before: int | None, limit: int) -> Sequence[Change]:
        """The audit, newest first."""
        rows = await self._pool.fetch(_SQL["changes"], engine, before, limit)
        return [Change(**{**row, "policy": msgspec.json.decode(row["policy"], type=Policy)}) for row in rows]


async def read(database: asyncpg.Pool | asyncpg.Connection) -> dict[str, Current]:
    """What is known of each engine, by its name."""
    rows = await database.fetch(_SQL["read"])
    return {
        row["engine"]: Current(
            **{
                **row,
                "policy": msgspec.json.decode(row["policy"], type=Policy),
                "state": msgspec.json.decode(row["state"], type=State),
            }
        )
        for row in rows
    }


class LeaderStore:
    """What is written over the connection that holds the lock: with the connection goes the right to write."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def try_lead(self) -> bool:
        """Whether this connection leads; it then does until it ends."""
        return bool(await self._connection.fetchval(_SQL["try_lead"]))

    async def now_ms(self) -> int:
        """Unix time by the database's clock: workers on different machines go by the same one."""
        now: int = await self._connection.fetchval(_SQL["now_ms"])
        return now

    async def read(self) -> dict[str, Current]:
        """What was written last, by whoever led then."""
        return await read(self._connection)

    async def open_requests(self) -> dict[str, Demand]:
        """The open requests of each model."""
        return {row["model"]: Demand(row["open"], row["cheap"]) for row in await self._connection.fetch(_SQL["open_requests"])}

    async def write(self, before: Current, after: State, sample: Sample, good_s: float) -> None:
        """Write a step down, with the audit and the event when the factor has changed, in one transaction.

        Args:
            before: what was in force, with the policy that the step went by.
            after: the step's outcome.
            sample: what it went by.
            good_s: for how long it may be relied on.
        """
        policy = canonical_json(msgspec.to_builtins(before.policy)).decode()
        async with self._connection.transaction():
            number: int | None = None
            if after.factor_pct != before.state.factor_pct:
                number = await self._note_change(before, after, sample, policy)
            state = msgspec.json.encode(after).decode()
            await self._connection.execute(
                _SQL["write"], before.engine, policy, before.source, state, after.factor_pct, sample.load_bp, sample.reason, number, good_s
            )

    async def _note_change(self, before: Current, after: State, sample: Sample, policy: str) -> int:
        old, new = before.state.factor_pct, after.factor_pct
        number: int = await self._connection.fetchval(
            _SQL["note_change"],
            before.engine,
            before.policy.id,
            policy,
            old,
            new,
            sample.load_bp,
            after.followed_ppm,
            sample.reason,
            before.surplus_utok,
        )
        data = {
            "engine": before.engine,
            "change": number,
            "from": hundredths(old),
            "to": hundredths(new),
            "utilisation_percent": None if sample.load_bp is None else hundredths(sample.load_bp),
            "policy": before.policy.id,
            "reason": sample.reason,
        }
        await self._connection.execute(_SQL["emit_change"], json.dumps(data), f"surge.changed/{number}")
        return number

    async def fold(self, book: Callable[[Brought], tuple[str, int]]) -> None:
        """Add what the receipts since the last time have brought in; each is read once.

        Args:
            book: says for a receipt which engine has brought in how many micro-Tokens.
        """
        async with self._connection.transaction():
            rows = await self._connection.fetch(_SQL["fold"], FOLD_ROWS)
            sums: dict[str, int] = {}
            for row in rows:
                found = Brought(
                    row["model"],
                    msgspec.json.decode(row["factors"], type=Factors),
                    {name: int(value) for name, value in json.loads(row["work"]).items()},
                    row["consumed_utok"],
                    row["maximum_utok"],
                )
                engine, utok = book(found)
                sums[engine] = sums.get(engine, 0) + utok
            for engine, utok in sums.items():
                await self._connection.execute(_SQL["add_surplus"], engine, utok)

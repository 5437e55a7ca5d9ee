"""The stores of metering and of the jobs, on the simulated database; and the object store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from taximeter.jobs import Job
from taximeter.metering import Receipt
from taximeter.metering.model import Answer, Earlier
from tests.support.simulator.database import Connection, JobRow, Server, Tables
from tests.support.simulator.dice import Dice

T = TypeVar("T")
WHEN = datetime(2027, 1, 1, tzinfo=UTC)


class Pool:
    """Has a connection for every statement."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def ask(self, work: Callable[[Tables, float], T]) -> T:
        return await self.server.call(Connection(self.server), lambda: work(self.server.tables, self.server.now_s))

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["Pool"]:
        yield self

    async def fetchval(self, _query: str, *_values: object) -> int:
        """Makes partitions: there is nothing to make."""
        return await self.ask(lambda _tables, _now_s: 0)

    async def fetchrow(self, _query: str, *_values: object) -> None:
        """Looks for a parked request: no plan of these schedules parks one."""
        return await self.ask(lambda _tables, _now_s: None)

    def terminate(self) -> None:
        return


class Store:
    """Takes the place of ``MeteringStore``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def pool(self) -> Pool:
        return self._pool

    async def hello(self, process_id: UUID, _kind: str, _grip: object = None) -> None:
        await self._pool.ask(lambda tables, now_s: tables.processes.update({process_id: now_s}))

    async def goodbye(self, process_id: UUID) -> None:
        await self._pool.ask(lambda tables, _now_s: tables.processes.pop(process_id, None))

    async def orphans(self, dead_after_s: float, _cut_off_after_s: float, limit: int) -> list[dict[str, Any]]:
        def find(tables: Tables, now_s: float) -> list[dict[str, Any]]:
            found = []
            for id_, legs in tables.ledger.holds.items():
                overdue = tables.ledger.expires[id_] < now_s
                process = (tables.requests.get(id_) or {}).get("process_id")
                dead = process is not None and tables.processes.get(UUID(process), -1e9) <= now_s - dead_after_s
                if overdue or dead:
                    lane = legs[0].credit - 1100
                    found.append({"id": id_, "lane": lane, "process_died": process is not None and not overdue, "is_job": id_ in tables.jobs})
            return found[:limit]

        return await self._pool.ask(find)

    async def forget_processes(self) -> None:
        await self._pool.ask(lambda _tables, _now_s: None)

    async def forget_keys(self, _ttl_s: int, _limit: int) -> int:
        return await self._pool.ask(lambda _tables, _now_s: 0)

    async def find_key(self, project_id: UUID, key: str, fingerprint: bytes, grace_s: float) -> Earlier | None:
        def find(tables: Tables, now_s: float) -> Earlier | None:
            row = tables.keys.get((str(project_id), key))
            if row is None:
                return None
            id_ = row.request_id
            yet_to_keep = row.keeps_answer and row.answer is None and tables.settled_at.get(id_, -1e9) > now_s - grace_s
            kept = row.answer is not None and row.answer[2] is not None
            return Earlier(
                request_id=id_,
                same=row.fingerprint == fingerprint.hex(),
                released=tables.is_released(id_),
                running=id_ in tables.ledger.holds or yet_to_keep,
                answer=Answer(200, "application/json", b"{}") if kept else None,
            )

        return await self._pool.ask(find)

    async def keep_answer(self, request_id: UUID, status: int, content_type: str, body: bytes | None) -> None:
        def keep(tables: Tables, _now_s: float) -> None:
            for row in tables.keys.values():
                if row.request_id == request_id and row.answer is None:
                    row.answer = (status, content_type, body)

        await self._pool.ask(keep)

    async def find_receipt(self, project_id: UUID, receipt_id: UUID) -> Receipt | None:
        def find(tables: Tables, _now_s: float) -> Receipt | None:
            request = tables.requests.get(receipt_id)
            if request is None or request["project_id"] != str(project_id):
                return None
            names = ("model", "modality", "rate_card", "tariff", "multiplier", "held_utok")
            charged = [row["charged_utok"] for (id_, _), row in tables.receipts.items() if id_ == receipt_id]
            settled: dict[str, Any] = {"charged_utok": sum(charged), "settlement": "settled"} if charged else {}
            return Receipt(id=receipt_id, created_at=WHEN, **{name: request[name] for name in names}, **settled)

        return await self._pool.ask(find)


class Jobs:
    """Takes the place of ``JobStore``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(
        self,
        kind: str,
        lease_s: float,
        _slots: Mapping[str, int] | None = None,
        *,
        calm_s: float = 0.0,  # noqa: ARG002 - prices are calm
        without: Sequence[str] = (),
        among: tuple[Sequence[str], bool] | None = None,
    ) -> Job | None:
        assert among is None or among == ([], False), "no engine of these schedules orders from a provider"

        def take(tables: Tables, now_s: float) -> Job | None:
            for row in sorted(tables.jobs.values(), key=lambda row: row.number):
                free = row.state == "queued" or (row.state == "in_progress" and row.lease_until is not None and row.lease_until < now_s)
                if row.kind == kind and free and f"{row.payload['engine']} {row.payload['model']}" not in without:
                    row.state, row.attempt, row.lease_until, row.progress = "in_progress", row.attempt + 1, now_s + lease_s, 0
                    return _job(row)
            return None

        return await self._pool.ask(take)

    async def claim_late(self, _kind: str, _lease_s: float) -> None:
        """Nobody has a deadline."""
        return await self._pool.ask(lambda _tables, _now_s: None)

    async def claim_ordered(self, _kind: str, _lease_s: float) -> None:
        """No engine of these schedules orders from a provider."""
        return await self._pool.ask(lambda _tables, _now_s: None)

    async def to_call_off(self, _kind: str, _limit: int) -> list[tuple[Job, bool]]:
        """The same."""
        return await self._pool.ask(lambda _tables, _now_s: [])

    async def heartbeat(self, job: Job, lease_s: float, progress: int) -> bool:
        def beat(tables: Tables, now_s: float) -> bool:
            row = tables.jobs[job.id]
            if row.attempt != job.attempt or row.state != "in_progress":
                return False
            row.lease_until, row.progress = now_s + lease_s, max(progress, row.progress)
            return True

        return await self._pool.ask(beat)

    async def release(self, job: Job, _rest_max_s: float = 0.0) -> bool:
        def put_back(tables: Tables, _now_s: float) -> bool:
            row = tables.jobs[job.id]
            if row.attempt != job.attempt or row.state != "in_progress":
                return False
            row.state, row.lease_until, row.given_back = "queued", None, row.given_back + 1
            return True

        return await self._pool.ask(put_back)

    async def find(self, job_id: UUID, project_id: UUID) -> Job | None:
        def find(tables: Tables, _now_s: float) -> Job | None:
            row = tables.jobs.get(job_id)
            return None if row is None or row.deleted or row.project_id != project_id else _job(row)

        return await self._pool.ask(find)

    async def mark_deleted(self, job_id: UUID, _project_id: UUID) -> bool:
        def mark(tables: Tables, _now_s: float) -> bool:
            tables.jobs[job_id].deleted = True
            return True

        return await self._pool.ask(mark)

    async def object_key(self, job_id: UUID) -> str | None:
        def find(tables: Tables, _now_s: float) -> str | None:
            row = tables.jobs.get(job_id)
            return None if row is None or row.deleted else row.object_key

        return await self._pool.ask(find)

    async def objects_to_remove(self, limit: int) -> list[tuple[UUID, str]]:
        def find(tables: Tables, now_s: float) -> list[tuple[UUID, str]]:
            return [
                (row.id, row.object_key)
                for row in tables.jobs.values()
                if row.object_key is not None and not row.object_gone and (row.deleted or (row.keep_until is not None and row.keep_until < now_s))
            ][:limit]

        return await self._pool.ask(find)

    async def mark_object_gone(self, job_id: UUID) -> None:
        await self._pool.ask(lambda tables, _now_s: setattr(tables.jobs[job_id], "object_gone", True))


def _job(row: JobRow) -> Job:
    """A copy; what schedules have no use for is None."""
    columns: dict[str, Any] = {field.name: getattr(row, field.name, None) for field in fields(Job)}
    return Job(**{**columns, "created_at": WHEN})


class Objects:
    """Takes the place of ``metering.objects.Objects``: durable, and reached by a network."""

    def __init__(self, dice: Dice) -> None:
        self.files: dict[str, bytes] = {}
        self._dice = dice

    async def put(self, key: str, data: bytes) -> None:
        await asyncio.sleep(self._dice.delay_s())
        if self._dice.strikes("object store failed", 0.2):
            raise OSError(key)
        self.files[key] = data
        await asyncio.sleep(self._dice.delay_s())

    async def remove(self, key: str) -> None:
        await asyncio.sleep(self._dice.delay_s())
        self.files.pop(key, None)

"""What the simulator takes for the database does what PostgreSQL does: the facts that are written with the log."""

import json
import random
from pathlib import Path
from uuid import UUID

import pytest

from taximeter.ledger import AccountCode, Kind, Operation, Wallet, operator_account
from taximeter.metering.store import post
from tests.support.ledger_model import Account
from tests.support.simulator.database import Tables
from tests.support.tenants import Town, open_town

pytestmark = pytest.mark.anyio

LANE = 0
REQUEST: dict[str, object] = {
    "process_id": None,
    "model": "m",
    "modality": "chat",
    "rate_card": "c@1",
    "tariff": "t@1",
    "multiplier": "1",
    "fare": {},
    "end_user": None,
}


def receipt(outcome: str) -> dict[str, object]:
    return {"outcome": outcome, "reason": None, "work": {}, "measured": True, "consumed_utok": 3, "lines": [], "detail": {}, "engine_ms": 1}


def operation(rng: random.Random, town: Town, wallet: Wallet, project: UUID, earlier: list[Operation]) -> Operation:
    """A hold with its request and perhaps a job; or an end of an earlier one with its receipt, and perhaps its job's end."""
    if not earlier or rng.random() < 0.4:
        fact: dict[str, object] = {"request": {**REQUEST, "project_id": str(project), "key_id": str(project)}}
        if rng.random() < 0.5:
            fact["job"] = {"project_id": str(project), "kind": "video", "payload": {}}
        amount = rng.choice([10, 50, 400])
        new = town.office.desk.ids.new()
        return Operation(id=new, kind=Kind.HOLD, lane=LANE, amount_utok=amount, legs=wallet.legs(), ttl_s=60, fact=json.dumps(fact))
    kind = rng.choice([Kind.SETTLE, Kind.VOID, Kind.EXPIRE])
    completed = kind is Kind.SETTLE
    job = {"state": "completed", "object_key": "k", "object_bytes": 1, "result": {}, "keep_s": 60}
    failed = {"state": "failed", "error_code": "e", "error_message": "m"}
    ending: dict[str, object] = {"receipt": receipt("completed" if completed else "failed"), "job": job if completed else failed}
    if rng.random() < 0.2:
        del ending["receipt"]
    amount = rng.choice([0, 10, 600]) if completed else 0
    return Operation(id=rng.choice(earlier).id, kind=kind, lane=LANE, amount_utok=amount, code=rng.randrange(3), fact=json.dumps(ending))


async def test_the_simulated_database_keeps_the_facts_that_postgresql_keeps(database_url: str, tmp_path: Path) -> None:
    rng = random.Random(7)  # noqa: S311 - the same history every time
    async with open_town(database_url, tmp_path, lanes=1) as town:
        caller = await town.caller("0.002")
        wallet = Wallet(lane=LANE, allowance=caller.allowance_account, prepaid=caller.prepaid_account)
        tables = Tables()
        for code in (AccountCode.REVENUE, AccountCode.SHORTFALL):
            tables.ledger.accounts[operator_account(code, LANE)] = Account()
        tables.ledger.accounts[wallet.allowance] = Account(limited=True)
        tables.ledger.accounts[wallet.prepaid] = Account(limited=True, credits_posted=2000)
        earlier: list[Operation] = []
        async with town.office.pool.acquire() as connection:
            for _ in range(300):
                # One at a time: within a batch the order is the database's own.
                one = operation(rng, town, wallet, caller.project_id, earlier)
                assert await post(connection, LANE, [one]) == tables.post(0.0, LANE, [one])
                earlier += [one] if one.kind is Kind.HOLD else []
        await compare(town, tables)


async def compare(town: Town, tables: Tables) -> None:
    pool = town.office.pool
    requests = {row["id"]: row["held_utok"] for row in await pool.fetch("select id, held_utok from metering.requests")}
    assert requests == {id_: row["held_utok"] for id_, row in tables.requests.items()}
    receipts = {(row["id"], row["phase"]): (row["outcome"], row["charged_utok"]) for row in await pool.fetch("select * from metering.receipts")}
    assert receipts == {key: (row["outcome"], row["charged_utok"]) for key, row in tables.receipts.items()}
    assert {phase for _, phase in receipts} == {1, 2}
    jobs = {row["id"]: (row["state"], row["error_code"], row["object_key"]) for row in await pool.fetch("select * from jobs.jobs")}
    assert jobs == {row.id: (row.state, row.error_code, row.object_key) for row in tables.jobs.values()}
    assert {state for state, _, _ in jobs.values()} >= {"completed", "failed"}

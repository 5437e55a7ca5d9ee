"""What the simulator takes for the database does what PostgreSQL does: the facts that are written with the log."""

import copy
import json
import random
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest

from taximeter.db.pool import connect_owner
from taximeter.ledger import AccountCode, Kind, Operation, Status, Wallet, operator_account
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


def limited(rng: random.Random, town: Town, wallet: Wallet, key_id: UUID, open_ones: list[Operation]) -> Operation:
    """A hold that takes from a key's limits, one that is sent again, or an end that gives back."""
    choice = rng.random()
    if not open_ones or choice < 0.7:
        amount = rng.choice([100, 400, 2900, 4000])
        limit = {"bucket": str(key_id), "window_s": 60, "shadow": False}
        take = [{**limit, "kind": "requests", "most": 40, "amount": 1}] if rng.random() < 0.5 else []
        take.append({**limit, "kind": "tokens", "most": 3000, "amount": amount})
        fact = json.dumps({"take": take})
        return Operation(id=town.office.desk.ids.new(), kind=Kind.HOLD, lane=LANE, amount_utok=amount, legs=wallet.legs(), ttl_s=60, fact=fact)
    hold = rng.choice(open_ones)
    if choice < 0.8:
        return hold
    kind = rng.choice([Kind.SETTLE, Kind.VOID])
    return Operation(id=hold.id, kind=kind, lane=LANE, amount_utok=hold.amount_utok // 2 if kind is Kind.SETTLE else 0)


async def test_the_simulated_database_limits_keys_as_postgresql_does(database_url: str, tmp_path: Path) -> None:
    """PostgreSQL has its own clock: it decides as the model does just before or just after."""
    rng = random.Random(8)  # noqa: S311 - the same history every time
    seen: Counter[Status] = Counter()
    async with open_town(database_url, tmp_path, lanes=1) as town, town.office.pool.acquire() as connection:
        caller = await town.caller("0.002")
        wallet = Wallet(lane=LANE, allowance=caller.allowance_account, prepaid=caller.prepaid_account)
        tables = Tables()
        for code in (AccountCode.REVENUE, AccountCode.SHORTFALL):
            tables.ledger.accounts[operator_account(code, LANE)] = Account()
        tables.ledger.accounts[wallet.allowance] = Account(limited=True)
        tables.ledger.accounts[wallet.prepaid] = Account(limited=True, credits_posted=2000)
        holds: list[Operation] = []
        owner = await connect_owner(database_url)
        now = "select extract(epoch from clock_timestamp())::float8"
        for _ in range(150):
            one = limited(rng, town, wallet, caller.key_id, holds)
            before_s = await connection.fetchval(now)
            (told,) = await post(connection, LANE, [one])
            after_s = await connection.fetchval(now)
            copies = [(now_s, copy.deepcopy(tables)) for now_s in (before_s, after_s)]
            either = [(after, after.post(now_s, LANE, [one])[0]) for now_s, after in copies]
            agreeing = [after for after, outcome in either if outcome.status is told.status]
            assert agreeing, (one, told, either)
            tables = agreeing[0]
            if told.status is Status.RATE_LIMITED:
                earliest_ns, latest_ns = either[1][1].available_utok, either[0][1].available_utok
                assert earliest_ns - 1000 <= told.available_utok <= latest_ns + 1000
            kept, bucket = await owner.fetchrow("select requests_at, tokens_at from admission.buckets"), tables.limits.buckets[str(caller.key_id)]
            slack_ns = (after_s - before_s) * 1e9 + 1000
            assert (kept["requests_at"], kept["tokens_at"]) == pytest.approx((bucket.requests_at, bucket.tokens_at), abs=slack_ns, rel=0)
            bucket.requests_at, bucket.tokens_at = kept["requests_at"], kept["tokens_at"]
            holds += [one] if one.kind is Kind.HOLD and told.status is Status.APPLIED else []
            seen[told.status] += 1
        await owner.close()
    assert min(seen[status] for status in (Status.APPLIED, Status.REPLAYED, Status.RATE_LIMITED, Status.REFUSED)) > 0, seen


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

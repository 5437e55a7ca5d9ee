"""The posting function keeps limits as the model in ``tests/support/simulator/limits.py`` does, batch by batch, to the nanosecond."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.db.pool import connect_owner
from taximeter.ledger import AccountCode, Kind, Operation, Wallet, operator_account
from taximeter.metering.store import post
from tests.support.ledger_model import Account
from tests.support.simulator.database import Tables
from tests.support.simulator.limits import SECOND_NS
from tests.support.tenants import Town, open_town

pytestmark = pytest.mark.anyio

LANE = 0
SPACE = UUID(int=7)
WALLET_UTOK = 20_000
KINDS: list[dict[str, Any]] = [
    {"kind": "requests", "most": 7, "window_s": 60, "shadow": False},
    {"kind": "requests", "most": 3, "window_s": 1, "shadow": False},
    {"kind": "tokens", "most": 1_000, "window_s": 60, "shadow": False},
    {"kind": "tokens", "most": 7_777, "window_s": 3_600, "shadow": False},
    {"kind": "concurrency", "most": 2, "window_s": 0, "shadow": False},
    {"kind": "concurrency", "most": 5, "window_s": 0, "shadow": False},
    {"kind": "requests", "most": 2, "window_s": 60, "shadow": True},
    {"kind": "tokens", "most": 900, "window_s": 60, "shadow": True},
    {"kind": "concurrency", "most": 1, "window_s": 0, "shadow": True},
]
HOLD = st.tuples(st.just("hold"), st.sets(st.integers(0, len(KINDS) - 1), max_size=5), st.sampled_from([0, 1, 90, 333, 1_000, 1_001, 9_000]))
END = st.tuples(st.sampled_from(["settle", "void", "expire"]), st.integers(0, 50), st.integers(0, 120))
AGAIN = st.tuples(st.just("again"), st.integers(0, 50), st.just(0))
# Earlier ones are longer than a slow server takes, and later ones empty every bucket but the hour's.
WAIT = st.tuples(st.just("wait"), st.sampled_from([1, 7, 30, 90]), st.just(0))
HISTORY = st.lists(
    st.lists(st.one_of(HOLD, HOLD, END, AGAIN), min_size=1, max_size=8) | st.lists(WAIT, min_size=1, max_size=1), min_size=4, max_size=14
)


class World:
    """PostgreSQL and the model side by side."""

    def __init__(self, town: Town, owner: asyncpg.Connection, wallet: Wallet) -> None:
        self.town, self.owner, self.wallet = town, owner, wallet
        self.tables = Tables()
        for code in (AccountCode.REVENUE, AccountCode.SHORTFALL):
            self.tables.ledger.accounts[operator_account(code, LANE)] = Account()
        self.tables.ledger.accounts[wallet.allowance] = Account(limited=True)
        self.tables.ledger.accounts[wallet.prepaid] = Account(limited=True, credits_posted=WALLET_UTOK)
        self.ids = town.office.desk.ids
        self.space = self.ids.new()
        self.holds: list[Operation] = []

    def hold(self, takes: list[dict[str, Any]], amount: int, *, spelled: bool) -> Operation:
        made = Operation(id=self.ids.new(), kind=Kind.HOLD, lane=LANE, amount_utok=amount, legs=self.wallet.legs(), ttl_s=60)
        if spelled:
            return replace(made, fact=json.dumps({"take": takes}))
        return replace(made, take=tuple((take["bucket"], take["kind"], take["most"], take["window_s"], take["shadow"]) for take in takes))

    def operation(self, action: tuple[Any, ...]) -> Operation | None:
        """What an action is here and now; None when there is nothing for it to be about."""
        verb, what, amount = action
        chosen: Operation
        if verb == "hold":
            takes = [
                {**KINDS[n], "bucket": str(uuid5(self.space, str(n))), "amount": amount if KINDS[n]["kind"] == "tokens" else 1} for n in sorted(what)
            ]
            # Gateways of an earlier release spell out in each fact what a hold takes.
            return self.hold(takes, amount, spelled=(amount + len(what)) % 2 == 1)
        open_ones = [hold for hold in self.holds if hold.id in self.tables.ledger.holds]
        if not open_ones:
            return None
        chosen = open_ones[what % len(open_ones)]
        if verb == "again":
            return chosen
        kind = Kind[verb.upper()]
        return Operation(id=chosen.id, kind=kind, lane=LANE, amount_utok=chosen.amount_utok * amount // 100 if kind is Kind.SETTLE else 0)

    async def play(self, batch: list[tuple[Any, ...]], connection: asyncpg.Connection) -> None:
        if batch[0][0] == "wait":
            await self.wait(batch[0][1] * SECOND_NS)
            return
        found = {one.id: one for one in map(self.operation, batch) if one is not None}
        # A hold on a bucket of its own tells at what moment the function decided.
        clock = self.hold([{**KINDS[0], "bucket": str(self.ids.new()), "most": 1, "amount": 1}], 0, spelled=True)
        operations = [*found.values(), clock]
        told = await post(connection, LANE, operations)
        bucket = json.loads(clock.fact or "")["take"][0]["bucket"]
        now_ns = await self.owner.fetchval("select requests_at from admission.buckets where id = $1", bucket) - 60 * SECOND_NS
        assert told == self.tables.post(0.0, LANE, operations, now_ns)
        self.holds += [one for one in operations if one.kind is Kind.HOLD]
        await self.compare()

    async def wait(self, span_ns: int) -> None:
        """Time cannot be moved on, but everything that is remembered can be moved back."""
        await self.owner.execute("update admission.buckets set requests_at = requests_at - $1, tokens_at = tokens_at - $1", span_ns)
        await self.owner.execute(
            "update admission.taken set full_at = array(select x - $1 from unnest(full_at) with ordinality u (x, n) order by n)", span_ns
        )
        limits = self.tables.limits
        for bucket in limits.buckets.values():
            bucket.requests_at -= span_ns
            bucket.tokens_at -= span_ns
        limits.taken = {id_: [(take, full_at - span_ns) for take, full_at in tokens] for id_, tokens in limits.taken.items()}

    async def compare(self) -> None:
        limits = self.tables.limits
        kept = {str(row["id"]): (row["requests_at"], row["tokens_at"]) for row in await self.owner.fetch("select * from admission.buckets")}
        assert kept == {id_: (bucket.requests_at, bucket.tokens_at) for id_, bucket in limits.buckets.items()}
        running = {(row["request_id"], str(row["bucket"])) for row in await self.owner.fetch("select * from admission.running")}
        assert running == {(request_id, id_) for id_, bucket in limits.buckets.items() for request_id in bucket.running}
        shadowed = {str(row["bucket"]): row["refused"] for row in await self.owner.fetch("select * from admission.shadow_refusals")}
        assert shadowed == dict(limits.shadowed)
        # Nothing is kept of requests that have ended.
        taken = {row["request_id"] for row in await self.owner.fetch("select request_id from admission.taken")}
        assert taken == {id_ for id_, tokens in limits.taken.items() if tokens} <= set(self.tables.ledger.holds)


async def test_the_function_agrees_with_the_model(database_url: str, tmp_path: Path) -> None:
    histories: list[list[list[tuple[Any, ...]]]] = []

    @settings(max_examples=25, database=None)
    @given(HISTORY)
    def draw(history: list[list[tuple[Any, ...]]]) -> None:
        histories.append(history)

    draw()
    async with open_town(database_url, tmp_path, lanes=1) as town, town.office.pool.acquire() as connection:
        owner = await connect_owner(database_url)
        for history in histories:
            caller = await town.caller("0.02")
            await owner.execute("truncate admission.buckets, admission.taken, admission.running, admission.shadow_refusals")
            wallet = Wallet(lane=LANE, allowance=caller.allowance_account, prepaid=caller.prepaid_account)
            world = World(town, owner, wallet)
            for batch in history:
                await world.play(batch, connection)
        await owner.close()

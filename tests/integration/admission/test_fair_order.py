"""The database grants places in the order of the rule, whatever comes."""

import json
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from taximeter.admission.fairness import Arrival, FairPool

pytestmark = pytest.mark.anyio

BOUNDS_S = (60, 300, 1800)
RATE = 4_000_000
TENANTS = [UUID(int=number) for number in range(1, 6)]


class Both:
    """The rule, and the database, given the same."""

    def __init__(self, connection: asyncpg.Connection, slots: int, ahead: int) -> None:
        self.rule = FairPool(slots, BOUNDS_S, ahead=ahead)
        self.connection = connection
        self.now_ms = 0
        self.running: list[Arrival] = []
        self.arrivals: dict[int, Arrival] = {}

    async def join(self, arrival: Arrival) -> None:
        fact = {
            "pool": "p",
            "tenant": str(TENANTS[int(arrival.tenant)]),
            "weight": arrival.weight,
            "amount": arrival.amount_utok,
            "rank": arrival.rank,
            "long_s": 0 if arrival.long else 10**6,
        }
        if arrival.urgent_at_ms is not None:
            left = timedelta(milliseconds=arrival.urgent_at_ms - self.now_ms)
            fact["deadline"] = (datetime.now(UTC) + left).isoformat()
        self.arrivals[arrival.id] = arrival
        self.rule.join(arrival, self.now_ms)
        await self.connection.execute("select admission.join_pool($1, $2)", UUID(int=arrival.id), json.dumps(fact))

    async def fill(self) -> None:
        granted = self.rule.fill(self.now_ms)
        self.running += granted
        found = await self.connection.fetchval("select admission.fill_pool('p')")
        assert [one.int for one in found] == [one.id for one in granted]

    async def leave(self, arrival_id: int, used: int) -> None:
        self.rule.leave(arrival_id, used, self.now_ms)
        self.running = [one for one in self.running if one.id != arrival_id]
        await self.connection.execute("select admission.leave_pools($1, $2)", [UUID(int=arrival_id)], [used])

    async def hand_over(self, arrival_id: int, used: int) -> None:
        self.rule.leave(arrival_id, used, self.now_ms)
        granted = self.rule.fill(self.now_ms)
        self.running = [one for one in self.running if one.id != arrival_id] + granted
        found = await self.connection.fetch("select admission.hand_over($1, $2) as id", [UUID(int=arrival_id)], [used])
        assert [row["id"].int for row in found] == [one.id for one in granted]

    async def let_pass(self, seconds: int) -> None:
        self.now_ms += seconds * 1000
        passed = timedelta(seconds=seconds)
        await self.connection.execute(
            "update admission.places set joined_at = joined_at - $1::interval, urgent_at = urgent_at - $1::interval", passed
        )
        await self.connection.execute(
            "update admission.pool_tenants set served_at = array(select at - $1::interval from unnest(served_at) at)",
            passed,
        )

    async def agree(self) -> None:
        order = await self.connection.fetch("select id from admission.pool_standings('p') order by place")
        assert [row["id"].int for row in order] == self.rule.order(self.now_ms)
        pool = await self.connection.fetchrow("select * from admission.pools")
        assert (pool["virtual"], pool["highest"], pool["running"], pool["waiting"]) == (
            self.rule.virtual, self.rule.highest, self.rule.running, self.rule.waiting,
        )  # fmt: skip
        tags = {TENANTS.index(row["tenant"]): row["tag"] for row in await self.connection.fetch("select * from admission.pool_tenants")}
        assert {str(tenant): tag for tenant, tag in tags.items()} == self.rule.tags


@pytest.fixture
async def connection(database_url: str) -> asyncpg.Connection:
    owner = await asyncpg.connect(database_url)
    yield owner
    await owner.close()


@pytest.mark.parametrize("seed", range(12))
async def test_the_database_and_the_rule_agree_on_everything(connection: asyncpg.Connection, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a history, not a secret
    slots, ahead = dice.randint(1, 3), dice.choice([0, 0, 1, 2])
    await connection.execute("insert into admission.pools (name, slots, ahead, bounds) values ('p', $1, $2, $3)", slots, ahead, list(BOUNDS_S))
    both = Both(connection, slots, ahead)
    for number in range(1, 70):
        chance = dice.random()
        if chance < 0.55 or not both.arrivals:
            rank = dice.randint(0, 3)
            urgent = both.now_ms + dice.randint(1, 40) * 50_000 + 25_000 if rank > 1 and dice.random() < 0.5 else None
            amount = dice.randint(1, 50)
            arrival = Arrival(
                id=number, tenant=str(dice.randint(0, 4)), amount_utok=amount, weight=dice.randint(1, 3), rank=rank,
                long=dice.random() < 0.3, urgent_at_ms=urgent,
            )  # fmt: skip
            await both.join(arrival)
        elif chance < 0.85 and both.running:
            arrival = dice.choice(both.running)
            end = both.leave if dice.random() < 0.5 else both.hand_over
            await end(arrival.id, dice.choice([arrival.amount_utok, dice.randint(0, 60)]))
        elif chance < 0.92 and both.rule.waiting:
            await both.leave(dice.choice(both.rule.order(both.now_ms)), 0)
        else:
            await both.let_pass(dice.choice([10, 50, 110, 250, 700]))
        await both.fill()
        await both.agree()
    while both.rule.waiting or both.running:
        await both.leave(both.running[0].id, both.running[0].amount_utok)
        await both.fill()
        await both.agree()

"""Many connections at once on the same accounts and the same holds, with lanes that do not keep them apart.

The lane's lock makes posting fast; that it is right must not depend on it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from taximeter.db.pool import connect_app, connect_owner
from taximeter.kernel.clock import SystemClock
from taximeter.ledger import Books, Kind, Operation, Outcome, Status, Wallet, store
from tests.support.ledger_bench import Bench
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

PROCESSES = 5
LANES = 4
WAITS_FOR_A_LOCK = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')"


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[list[Books]]:
    """Several processes, each with a connection for every lane that it uses."""
    books = [Books(lambda: connect_app(database_url), store.post, SystemClock()) for _ in range(PROCESSES)]
    yield books
    for one in books:
        await one.close()


def through(processes: list[Books], number: int, operation: Operation) -> "asyncio.Task[Outcome]":
    """Post by way of one of the processes, and whatever lane the operation names."""
    return asyncio.create_task(processes[number % len(processes)].submit(operation))


def hold(bench: Bench, wallet: Wallet, lane: int, amount: int) -> Operation:
    return Operation(id=bench.ids.new(), kind=Kind.HOLD, lane=lane, amount_utok=amount, legs=wallet.legs(), ttl_s=60)


async def test_of_many_holds_on_misrouted_lanes_exactly_those_win_that_the_wallet_affords(bench: Bench, processes: list[Books]) -> None:
    wallet = await bench.wallet(prepaid=900, allowance=100)
    held = [hold(bench, wallet, number % LANES, 10) for number in range(600)]
    answers = await asyncio.gather(*(through(processes, number, operation) for number, operation in enumerate(held)))
    won = [operation.id for operation, answer in zip(held, answers, strict=True) if answer.status is Status.APPLIED]
    assert len(won) == 100
    assert Counter(answer.status for answer in answers) == {Status.APPLIED: 100, Status.REFUSED: 500}
    assert await bench.available(wallet) == 0
    assert await settle_everywhere(processes, won) == {Status.APPLIED: 100, Status.REPLAYED: 300}
    assert await charged(bench, wallet) == 100 * 7
    assert await bench.available(wallet) == 1000 - 100 * 7


async def settle_everywhere(processes: list[Books], ids: list[UUID]) -> Counter[Status]:
    """Every settlement is sent four times, by several processes through every lane."""
    sent = [Operation(id=id_, kind=Kind.SETTLE, lane=lane, amount_utok=7) for id_ in ids for lane in range(LANES)]
    answers = await asyncio.gather(*(through(processes, number, operation) for number, operation in enumerate(sent)))
    return Counter(answer.status for answer in answers)


async def charged(bench: Bench, wallet: Wallet) -> int:
    total: int = await bench.connection.fetchval(
        "select sum(amount)::bigint from ledger.transfers where kind = 2 and debit = any ($1)", [wallet.allowance, wallet.prepaid]
    )
    return total


async def test_of_a_hundred_settlers_of_one_hold_one_wins(bench: Bench, processes: list[Books]) -> None:
    wallet = await bench.wallet(prepaid=1000)
    request, _ = await bench.hold(wallet, 500)
    amounts = range(1, 101)
    sent = [Operation(id=request, kind=Kind.SETTLE, lane=amount % LANES, amount_utok=amount) for amount in amounts]
    answers = await asyncio.gather(*(through(processes, number, operation) for number, operation in enumerate(sent)))
    assert Counter(answer.status for answer in answers) == {Status.APPLIED: 1, Status.ALREADY_RESOLVED: 99}
    (winner,) = [answer.total_utok for answer in answers if answer.status is Status.APPLIED]
    assert {answer.total_utok for answer in answers} == {winner}
    assert await bench.available(wallet) == 1000 - winner


async def test_a_settlement_and_the_sweeper_cannot_both_end_a_hold(bench: Bench, processes: list[Books]) -> None:
    wallet = await bench.wallet(prepaid=10_000)
    requests = [(await bench.hold(wallet, 100))[0] for _ in range(50)]
    ends = []
    for number, request in enumerate(requests):
        ends.append(through(processes, number, Operation(id=request, kind=Kind.EXPIRE, lane=number % LANES)))
        ends.append(through(processes, number + 1, Operation(id=request, kind=Kind.SETTLE, lane=(number + 1) % LANES, amount_utok=60, code=2)))
    answers = await asyncio.gather(*ends)
    rows = await bench.connection.fetch("select id, kind from ledger.transfers where phase > 0 and leg = 0 and id = any ($1)", requests)
    ended = {row["id"]: row["kind"] for row in rows}
    assert len(rows) == len(ended) == 50
    # Who settles is told the truth; who releases does not need it.
    assert [answer.status for answer in answers[1::2]] == [
        Status.APPLIED if ended[request] == Kind.SETTLE else Status.ALREADY_RESOLVED for request in requests
    ]
    assert await bench.available(wallet) == 10_000 - 60 * list(ended.values()).count(Kind.SETTLE)


async def test_a_deadlock_is_tried_again_counted_and_costs_nothing(bench: Bench, database_url: str) -> None:
    wallet = await bench.wallet(prepaid=1000)
    other = await connect_owner(database_url)
    # The batch finds the circle first, and is the one that gives way.
    await other.execute("set deadlock_timeout = '60s'")
    async with other.transaction():
        await lock(other, wallet.prepaid)
        holding = asyncio.create_task(bench.hold(wallet, 10))
        await until(lambda: other.fetchval(WAITS_FOR_A_LOCK))
        await lock(other, wallet.allowance)
    _, outcome = await holding
    await other.close()
    assert outcome.status is Status.APPLIED
    assert sum(lane.counters.retries for lane in bench.books.lanes) >= 1
    assert await bench.available(wallet) == 990
    await bench.assert_replay_agrees()


async def lock(connection: asyncpg.Connection, account: int) -> None:
    await connection.execute("select from ledger.accounts where id = $1 for update", account)

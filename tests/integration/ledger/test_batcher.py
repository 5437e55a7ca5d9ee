"""The batcher on a real database whose connections are cut."""

import asyncio

import pytest

from taximeter.db.pool import connect_owner
from taximeter.ledger import Status
from tests.support.ledger_bench import Bench

pytestmark = pytest.mark.anyio

CUT = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and query like '%ledger.post%' and pid <> pg_backend_pid()
"""


async def test_connections_that_are_cut_lose_and_double_nothing(bench: Bench, database_url: str) -> None:
    wallet = await bench.wallet(prepaid=1_000_000)
    owner = await connect_owner(database_url)
    stop = asyncio.Event()

    async def cut() -> None:
        # Long enough for a new connection to plan its first statement and post a batch.
        while not stop.is_set():
            await owner.fetch(CUT)
            await asyncio.sleep(0.2)

    async def ride() -> int:
        request, held = await bench.hold(wallet, 100)
        assert held.status in (Status.APPLIED, Status.REPLAYED)
        settled = await bench.settle(request, 60)
        assert settled.status in (Status.APPLIED, Status.REPLAYED)
        return settled.total_utok

    cutting = asyncio.create_task(cut())
    charged = 0
    for _ in range(15):
        charged += sum(await asyncio.gather(*(ride() for _ in range(20))))
    stop.set()
    await cutting
    await owner.close()
    assert sum(lane.counters.reconnects for lane in bench.books.lanes) > 0
    assert charged == 300 * 60
    assert await bench.available(wallet) == 1_000_000 - charged
    await bench.assert_replay_agrees()

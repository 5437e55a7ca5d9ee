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

    async def ride() -> int:
        request, held = await bench.hold(wallet, 100)
        assert held.status in (Status.APPLIED, Status.REPLAYED)
        settled = await bench.settle(request, 60)
        assert settled.status in (Status.APPLIED, Status.REPLAYED)
        return settled.total_utok

    def batches() -> int:
        return sum(lane.counters.batches for lane in bench.books.lanes)

    charged = 0
    for _ in range(12):
        before = batches()
        riding = asyncio.gather(*(ride() for _ in range(25)))
        # Cut in the middle of the work, and only once a round: on a slow machine a new connection needs its time.
        while batches() == before:
            await asyncio.sleep(0)
        await owner.fetch(CUT)
        charged += sum(await riding)
    await owner.close()
    assert sum(lane.counters.reconnects for lane in bench.books.lanes) > 0
    assert charged == 300 * 60
    assert await bench.available(wallet) == 1_000_000 - charged
    await bench.assert_replay_agrees()

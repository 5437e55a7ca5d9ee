"""The independent program sees what somebody with the owner's rights changed behind the ledger's back."""

import pytest

from taximeter.db.pool import connect_owner
from taximeter.ledger.replay import replay
from tests.support.ledger_bench import Bench

pytestmark = pytest.mark.anyio

TAMPERINGS = {
    "a balance raised": "update ledger.accounts set credits_posted = credits_posted + 5 where owner is not null and code = 2",
    "a hold forgotten": "delete from ledger.holds",
    "a hold made smaller": "update ledger.holds set amount = amount - 1 where amount > 0",
    "an amount in the log changed": "update ledger.transfers set amount = amount + 1 where kind = 2 and amount > 0",
    "a resolution deleted": "delete from ledger.transfers where phase = 1",
    "a hold deleted from the log": "delete from ledger.transfers where kind = 1",
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_replay_reports(bench: Bench, database_url: str, tampering: str) -> None:
    wallet = await bench.wallet(prepaid=1000)
    settled, _ = await bench.hold(wallet, 300)
    await bench.settle(settled, 100)
    await bench.hold(wallet, 200)
    await bench.assert_replay_agrees()
    owner = await connect_owner(database_url)
    await owner.execute("set session_replication_role = replica")
    await owner.execute(TAMPERINGS[tampering])
    report = await replay(owner)
    await owner.close()
    assert not report.agrees


async def test_replay_counts_what_it_read(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000)
    request, _ = await bench.hold(wallet, 300)
    await bench.settle(request, 100)
    await bench.hold(wallet, 50)
    report = await replay(bench.connection)
    assert (report.rows, report.open_holds, report.charged_utok) == (7, 1, 100)

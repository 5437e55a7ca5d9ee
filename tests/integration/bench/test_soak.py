"""A soak of seconds: its statements fit the tables, the log goes on in the next day's partition, and a wrong balance is found."""

import pytest

from bench.ledger import CHARGED_UTOK
from bench.soak import OTHER_DAYS, by_table, check, over_time, run
from taximeter.db.pool import connect_owner

pytestmark = pytest.mark.anyio

SECONDS = 4.0


async def test_a_short_soak_leaves_tables_that_agree_and_two_days_in_the_log(database_url: str) -> None:
    before, windows, found = await run(database_url, SECONDS, 0)
    assert found.agrees, found.sentence()
    assert found.pairs > 0
    assert found.charged_utok == found.pairs * CHARGED_UTOK
    assert len(found.days) == 2
    assert OTHER_DAYS not in found.days
    assert 0 < sum(window.operations for window in windows) <= 2 * found.pairs
    assert all(window.wal_bytes > 0 for window in windows)
    sizes = {row[0] for row in by_table(before, windows).rows}
    assert {"ledger.accounts", "ledger.holds", "metering.requests", "metering.receipts", *found.days} <= sizes
    assert len(over_time(windows).rows) == len(windows)

    connection = await connect_owner(database_url)
    try:
        await connection.execute("update ledger.accounts set credits_posted = credits_posted + 1 where id = (select max(id) from ledger.accounts)")
        spoilt = await check(connection, found.pairs)
    finally:
        await connection.close()
    assert spoilt.wrong_accounts == 1
    assert not spoilt.agrees

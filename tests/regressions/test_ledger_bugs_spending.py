"""Bugs of other ledgers that spent what was not there, each tried on ours.  docs/operating/bugs-of-others.md lists them all."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from taximeter.ledger import AccountCode, Kind, Leg, Operation, Status, Wallet, operator_account, store
from tests.support.ledger_bench import Bench
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

Connect = Callable[[], Awaitable[asyncpg.Connection]]


def hold_on(bench: Bench, wallet: Wallet, amount: int, lane: int | None = None) -> Operation:
    """A hold that may be sent down another lane than its wallet's."""
    lane = wallet.lane if lane is None else lane
    return Operation(id=bench.ids.new(), kind=Kind.HOLD, lane=lane, amount_utok=amount, legs=wallet.legs(), ttl_s=60)


async def pending(bench: Bench) -> int:
    total: int = await bench.connection.fetchval("select coalesce(sum(debits_pending), 0)::bigint from ledger.accounts")
    return total


async def test_b01_first_spends_at_once_on_an_account_without_a_balance_do_not_both_pass(bench: Bench, rival: Bench) -> None:
    """Formance 994a437a0: SELECT ... FOR UPDATE locked nothing when the balance row did not exist yet, and two first spends both saw zero used.

    Here an account is a row from its birth, made with its project, and an operation that names an account without a row is refused.
    """
    nobody = Wallet(lane=0, allowance=999_998, prepaid=999_999)
    for books in (bench.books, rival.books):
        with pytest.raises(AssertionError, match="does not exist"):
            await books.submit(hold_on(bench, nobody, 10))
    fresh = await bench.wallet()
    await bench.top_up(fresh, fresh.prepaid, 10)
    answers = await asyncio.gather(*(side.hold(fresh, 10) for side in (bench, rival) for _ in range(20)))
    assert sum(outcome.status is Status.APPLIED for _, outcome in answers) == 1
    assert await pending(bench) == 10
    await bench.assert_replay_agrees()


@pytest.mark.parametrize(("prepaid", "granted"), [(70, 7), (1_000_000, 300)])
async def test_b02_checking_and_deducting_are_one_step_for_the_poor_and_the_rich(bench: Bench, rival: Bench, prepaid: int, granted: int) -> None:
    """one-api #2440, new-api #6607 and #6609, litellm #34732, #40095 and #26672: the balance is read first and reduced later without
    looking again, and users above a threshold are not reduced before the call at all.

    Here the hold is the check, under the lane's lock, and it is made for everybody.
    """
    wallet = await bench.wallet(prepaid=prepaid)
    answers = await asyncio.gather(*(side.hold(wallet, 10) for side in (bench, rival) for _ in range(150)))
    assert sum(outcome.status is Status.APPLIED for _, outcome in answers) == granted
    assert (await pending(bench), await bench.available(wallet)) == (10 * granted, prepaid - 10 * granted)
    await bench.assert_replay_agrees()


@pytest.mark.parametrize("second_lane", [0, 1])
async def test_b05_a_spend_that_waited_for_a_lock_sees_what_its_predecessor_left(bench: Bench, connect: Connect, second_lane: int) -> None:
    """Cala 70c1bbd3: one statement took the lock and read the balance; its snapshot was older than the lock, so it read the balance as it
    was before it had waited.

    Here the lock is a statement of its own and the reads come after it; without the lane's lock the row's lock reads the row again.
    """
    wallet = await bench.wallet(prepaid=100)
    first, second = await connect(), await connect()
    transaction = first.transaction()
    await transaction.start()
    assert [outcome.status for outcome in await store.post(first, 0, [hold_on(bench, wallet, 100)])] == [Status.APPLIED]
    waiting = asyncio.create_task(store.post(second, second_lane, [hold_on(bench, wallet, 100, second_lane)]))
    await until(lambda: _waits_for_a_lock(bench, second))
    await transaction.commit()
    assert [outcome.status for outcome in await waiting] == [Status.REFUSED]
    assert await pending(bench) == 100


async def _waits_for_a_lock(bench: Bench, other: asyncpg.Connection) -> bool:
    statement = "select exists (select from pg_locks where pid = $1 and not granted)"
    return bool(await bench.connection.fetchval(statement, other.get_server_pid()))


async def test_b06_groups_that_name_their_accounts_in_any_order_do_not_deadlock(bench: Bench, rival: Bench) -> None:
    """Cala 4bd42104, 0dd37175 and 97d288a0: the application sorted its accounts, the planner locked them in an order of its own, and two
    postings deadlocked.

    Here the locks are taken by one statement in ascending order of id.  The groups go down two lanes on purpose, so that the lane's lock
    does not help.
    """
    wallets = [await bench.wallet(prepaid=100_000) for _ in range(6)]

    def group(lane: int, order: list[Wallet]) -> Operation:
        revenue = operator_account(AccountCode.REVENUE, 0)
        legs = tuple(Leg(wallet.prepaid, revenue, 1, cascade=False) for wallet in order)
        return Operation(id=bench.ids.new(), kind=Kind.HOLD, lane=lane, amount_utok=1, legs=legs, ttl_s=60)

    for _ in range(12):
        forth = [bench.books.submit(group(0, wallets[start:])) for start in (0, 1, 2)]
        back = [rival.books.submit(group(1, wallets[start::-1])) for start in (5, 4, 3)]
        answers = await asyncio.gather(*forth, *back)
        assert {outcome.status for outcome in answers} == {Status.APPLIED}
    assert sum(lane.counters.retries for side in (bench, rival) for lane in side.books.lanes) == 0
    await bench.assert_replay_agrees()


async def test_b09_a_limited_account_does_not_go_below_zero_under_concurrency_nor_by_hand(bench: Bench, owner: asyncpg.Connection) -> None:
    """double_entry #114 and #168: accounts declared as positive only went negative when several transfers ran at once, because the rule
    was checked in the application.

    Here the posting function decides on locked rows, even when lanes are misrouted, and the table's CHECK is the second opinion.
    """
    wallet = await bench.wallet(prepaid=95)
    answers = await asyncio.gather(*(bench.books.submit(hold_on(bench, wallet, 10, number % 4)) for number in range(120)))
    assert sum(outcome.status is Status.APPLIED for outcome in answers) == 9
    for statement in (
        "update ledger.accounts set debits_posted = debits_posted + 6 where id = $1",
        "update ledger.accounts set debits_pending = debits_pending + 6 where id = $1",
        "update ledger.accounts set credits_posted = credits_posted - 6 where id = $1",
    ):
        with pytest.raises(asyncpg.CheckViolationError, match="no_overdraft"):
            await owner.execute(statement, wallet.prepaid)
    assert await bench.available(wallet) == 5


def _negative_amount(columns: list[Any]) -> None:
    columns[3] = [-25]


def _negative_leg(columns: list[Any]) -> None:
    columns[10] = [-25] * len(columns[10])
    columns[11] = [False] * len(columns[11])


async def test_b19_neither_a_negative_amount_nor_a_scale_of_the_callers_makes_money(bench: Bench) -> None:
    """Blnk 9bf69d2 and 51eaf62: an amount of -25 at a precision of -100 passed every check as +2500, and rates were floats.

    Here amounts are integers of one fixed unit, no caller names a scale, and below zero is refused by our code and again by the database.
    """
    wallet = await bench.wallet(prepaid=100)
    with pytest.raises(AssertionError):
        hold_on(bench, wallet, -25)
    legs = wallet.legs()
    for kind in (Kind.HOLD, Kind.DIRECT):
        for change in (_negative_amount, _negative_leg):
            columns = store.columns(0, [Operation(id=bench.ids.new(), kind=kind, lane=0, amount_utok=25, legs=legs, ttl_s=60)])
            change(columns)
            with pytest.raises(asyncpg.CheckViolationError):
                await bench.connection.fetch(store._SQL["post"], *columns)
    assert (await bench.available(wallet), await pending(bench)) == (100, 0)
    await bench.assert_replay_agrees()


async def test_b20_settlements_that_arrive_together_all_count(bench: Bench, rival: Bench) -> None:
    """litellm #34733: at the reset of a budget's window each response wrote its own cost over the counter, so that of several at once only
    the last one counted.

    Here a balance is changed by addition on a locked row and never set, and top-ups in the middle lose nothing either.
    """
    wallet = await bench.wallet(prepaid=1_000_000)
    held = [request for request, _ in await asyncio.gather(*(bench.hold(wallet, 1000) for _ in range(120)))]
    settling = [(bench, rival)[number % 2].settle(request, number) for number, request in enumerate(held)]
    topping_up = [(bench, rival)[number % 2].top_up(wallet, wallet.prepaid, 7) for number in range(40)]
    answers = await asyncio.gather(*settling, *topping_up)
    assert {outcome.status for outcome in answers} == {Status.APPLIED}
    assert await bench.available(wallet) == 1_000_000 - sum(range(120)) + 40 * 7
    await bench.assert_replay_agrees()


async def test_b21_what_is_held_is_not_available(bench: Bench) -> None:
    """Blnk a709a14: the available balance left out debits that were queued or in flight, and they were spent a second time.

    Here one CHECK and one function know what is free: credits less debits, posted and pending.
    """
    wallet = await bench.wallet(prepaid=70, allowance=30)
    _, first = await bench.hold(wallet, 60)
    assert (first.status, first.available_utok) == (Status.APPLIED, 40)
    _, second = await bench.hold(wallet, 41)
    assert (second.status, second.available_utok) == (Status.REFUSED, 40)
    project = await bench.connection.fetchval("select owner from ledger.accounts where id = $1", wallet.prepaid)
    found = await store.find_wallet(bench.connection, project)
    assert found is not None
    assert (found[1].available_utok, found[1].held_utok) == (40, 60)


async def test_b24_a_plan_made_for_an_empty_table_does_not_read_it_once_for_each_item(
    bench: Bench, owner: asyncpg.Connection, connect: Connect
) -> None:
    """Blnk's get_balances_by_id is declared IMMUTABLE and reads a table; and a plan that PostgreSQL kept from the time when the queue's table
    was empty read all of it for each item, which is the square of the batch.

    Here ``analyze`` sees the table of holds empty, and a batch of 400 settlements reads a few rows for each.
    """
    wallet = await bench.wallet(prepaid=1_000_000)
    await owner.execute("analyze ledger.holds")
    connection = await connect()
    warm_up, _ = await bench.hold(wallet, 1)
    await store.post(connection, 0, [Operation(id=warm_up, kind=Kind.SETTLE, lane=0, amount_utok=1)])
    holds = [hold_on(bench, wallet, 10) for _ in range(400)]
    await store.post(connection, 0, holds)
    async with connection.transaction():
        answers = await store.post(connection, 0, [Operation(id=hold.id, kind=Kind.SETTLE, lane=0, amount_utok=5) for hold in holds])
        read = await connection.fetchval(
            "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_user_tables where schemaname = 'ledger'"
        )
    assert {outcome.status for outcome in answers} == {Status.APPLIED}
    assert 0 < read < 400 * 40
    impure = await owner.fetch(
        "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname in ('ledger', 'metering', 'jobs') and p.provolatile = 'i' and p.prosrc ~* '\\mfrom\\M\\s+(ledger|metering|jobs)\\.'"
    )
    assert impure == []

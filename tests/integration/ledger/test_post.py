"""What the posting function promises, one promise a test."""

import asyncio

import asyncpg
import pytest

from taximeter.db.pool import connect_owner
from taximeter.ledger import AccountCode, Kind, Leg, Operation, SettleCode, Status, operator_account, store
from tests.support.ledger_bench import Bench

pytestmark = pytest.mark.anyio


async def test_a_hold_reserves_and_a_settlement_charges_and_releases_the_rest(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000)
    request, held = await bench.hold(wallet, 300)
    assert (held.status, held.total_utok, held.available_utok) == (Status.APPLIED, 300, 700)
    settled = await bench.settle(request, 120)
    assert (settled.status, settled.total_utok, settled.available_utok) == (Status.APPLIED, 120, 880)
    await bench.assert_replay_agrees()


async def test_the_allowance_is_spent_before_what_was_bought(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000, allowance=100)
    request, held = await bench.hold(wallet, 300)
    assert held.total_utok == 300
    await bench.settle(request, 150)
    balances = await bench.connection.fetch("select id, credits_posted - debits_posted as rest from ledger.accounts where owner is not null")
    assert {row["id"]: row["rest"] for row in balances} == {wallet.allowance: 0, wallet.prepaid: 950}
    await bench.assert_replay_agrees()


async def test_a_hold_above_the_balance_is_refused_and_stays_refused_after_a_top_up(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=100)
    request, refused = await bench.hold(wallet, 101)
    assert (refused.status, refused.available_utok) == (Status.REFUSED, 100)
    await bench.top_up(wallet, wallet.prepaid, 1000)
    assert (await bench.hold(wallet, 101, request))[1].status is Status.REPLAYED_REFUSED
    assert (await bench.hold(wallet, 101))[1].status is Status.APPLIED
    await bench.assert_replay_agrees()


async def test_the_same_operation_again_answers_with_its_first_outcome(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000)
    request, _ = await bench.hold(wallet, 300)
    assert (await bench.hold(wallet, 300, request))[1].status is Status.REPLAYED
    await bench.settle(request, 120)
    again = await bench.settle(request, 120)
    assert (again.status, again.total_utok) == (Status.REPLAYED, 120)
    assert await bench.available(wallet) == 880


async def test_the_same_id_with_another_body_is_refused(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000)
    request, _ = await bench.hold(wallet, 300)
    assert (await bench.hold(wallet, 301, request))[1].status is Status.DIFFERENT_BODY
    await bench.settle(request, 120)
    assert (await bench.settle(request, 121)).status is Status.ALREADY_RESOLVED
    assert await bench.available(wallet) == 880


@pytest.mark.parametrize("kind", [Kind.VOID, Kind.EXPIRE])
async def test_a_released_hold_charges_nothing_and_is_released_once(bench: Bench, kind: Kind) -> None:
    wallet = await bench.wallet(prepaid=1000, allowance=50)
    request, _ = await bench.hold(wallet, 300)
    released = await bench.end(request, kind)
    assert (released.status, released.total_utok, released.available_utok) == (Status.APPLIED, 0, 1050)
    assert (await bench.end(request, kind)).status is Status.REPLAYED
    other = Kind.EXPIRE if kind is Kind.VOID else Kind.VOID
    assert (await bench.end(request, other)).status is Status.ALREADY_RESOLVED
    await bench.assert_replay_agrees()


async def test_nothing_can_be_settled_that_was_never_held(bench: Bench) -> None:
    assert (await bench.settle(bench.ids.new(), 1)).status is Status.NO_SUCH_HOLD


async def test_a_settlement_above_the_hold_takes_what_the_wallet_has_and_books_the_rest_as_shortfall(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000)
    request, _ = await bench.hold(wallet, 300)
    settled = await bench.settle(request, 1500)
    assert (settled.status, settled.total_utok, settled.available_utok) == (Status.APPLIED, 1000, 0)
    assert await bench.shortfall() == 500
    await bench.assert_replay_agrees()


async def test_a_settlement_after_expiry_is_charged_late_and_once(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000)
    request, _ = await bench.hold(wallet, 300)
    await bench.end(request, Kind.EXPIRE)
    late = await bench.settle(request, 200)
    assert (late.status, late.total_utok) == (Status.SETTLED_LATE, 200)
    assert (await bench.settle(request, 200)).status is Status.REPLAYED
    assert await bench.available(wallet) == 800
    await bench.assert_replay_agrees()


async def test_a_void_is_a_verdict_that_a_late_settlement_does_not_overturn_unless_it_says_so(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000)
    request, _ = await bench.hold(wallet, 300)
    await bench.end(request, Kind.VOID)
    assert (await bench.settle(request, 200)).status is Status.ALREADY_RESOLVED
    assert await bench.available(wallet) == 1000
    assert (await bench.settle(request, 200, code=SettleCode.LATE_ALWAYS)).status is Status.SETTLED_LATE
    await bench.assert_replay_agrees()


async def test_a_caller_that_can_no_longer_deliver_is_not_paid_late(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000)
    request, _ = await bench.hold(wallet, 300)
    await bench.end(request, Kind.EXPIRE)
    assert (await bench.settle(request, 200, code=SettleCode.NEVER_LATE)).status is Status.ALREADY_RESOLVED
    assert await bench.available(wallet) == 1000


async def test_legs_of_a_group_succeed_or_fail_together(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000)
    lane = wallet.lane
    budget = await bench.connection.fetchval("select ledger.open_account(4::smallint, 0::smallint, 1::smallint, null)")
    treasury, revenue = operator_account(AccountCode.TREASURY, lane), operator_account(AccountCode.REVENUE, lane)
    await bench.books.submit(
        Operation(id=bench.ids.new(), kind=Kind.DIRECT, lane=lane, amount_utok=250, legs=(Leg(treasury, budget, 250, cascade=False),))
    )

    def group(amount: int) -> Operation:
        legs = (*wallet.legs(), Leg(budget, revenue, amount, cascade=False))
        return Operation(id=bench.ids.new(), kind=Kind.HOLD, lane=lane, amount_utok=amount, legs=legs, ttl_s=60)

    assert (await bench.books.submit(group(251))).status is Status.REFUSED
    assert await bench.available(wallet) == 1000
    held = group(200)
    assert (await bench.books.submit(held)).status is Status.APPLIED
    await bench.settle(held.id, 80)
    spent = await bench.connection.fetchval("select debits_posted from ledger.accounts where id = $1", budget)
    assert (spent, await bench.available(wallet)) == (80, 920)
    await bench.assert_replay_agrees()


async def test_a_closed_account_takes_no_hold_and_still_settles_an_open_one(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000)
    request, _ = await bench.hold(wallet, 300)
    await bench.connection.execute("select ledger.set_account_closed($1, true)", wallet.prepaid)
    assert (await bench.hold(wallet, 10))[1].status is Status.ACCOUNT_CLOSED
    assert (await bench.settle(request, 100)).status is Status.APPLIED
    await bench.assert_replay_agrees()


async def test_a_thousand_parallel_holds_grant_exactly_what_the_wallet_affords(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1000, allowance=50)
    answers = await asyncio.gather(*(bench.hold(wallet, 10) for _ in range(1000)))
    assert sum(outcome.status is Status.APPLIED for _, outcome in answers) == 105
    assert await bench.available(wallet) == 0
    await bench.assert_replay_agrees()


async def test_lanes_that_are_misrouted_still_cannot_overdraw_an_account(bench: Bench) -> None:
    """Row locks and the CHECK hold without the lane's lock."""
    wallet = await bench.wallet(prepaid=1000)

    async def misrouted(number: int) -> Status:
        operation = Operation(id=bench.ids.new(), kind=Kind.HOLD, lane=number % 4, amount_utok=10, legs=wallet.legs(), ttl_s=60)
        return (await bench.books.submit(operation)).status

    answers = await asyncio.gather(*(misrouted(number) for number in range(400)))
    assert answers.count(Status.APPLIED) == 100
    assert await bench.available(wallet) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "update ledger.transfers set amount = amount + 1",
        "delete from ledger.transfers",
        "truncate ledger.transfers",
        "insert into ledger.holds values (gen_random_uuid(), 0, 10000, 1100, 1, true, now())",
        "update ledger.accounts set credits_posted = credits_posted + 1",
    ],
)
async def test_the_application_cannot_write_the_books_by_hand(bench: Bench, statement: str) -> None:
    await bench.wallet(prepaid=10)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await bench.connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "update ledger.transfers set amount = amount + 1",
        "delete from ledger.transfers",
        "truncate ledger.transfers",
        "truncate ledger.transfers_other",
        "delete from ledger.accounts",
    ],
)
async def test_even_the_owner_is_stopped_by_triggers(bench: Bench, database_url: str, statement: str) -> None:
    await bench.wallet(prepaid=10)
    owner = await connect_owner(database_url)
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute(statement)
    await owner.close()


async def test_the_database_itself_refuses_an_overdraft(bench: Bench, database_url: str) -> None:
    wallet = await bench.wallet(prepaid=10)
    owner = await connect_owner(database_url)
    with pytest.raises(asyncpg.CheckViolationError, match="no_overdraft"):
        await owner.execute("update ledger.accounts set debits_posted = 11 where id = $1", wallet.prepaid)
    await owner.close()


async def test_a_batch_may_begin_with_what_the_fast_path_does_not_decide(bench: Bench) -> None:
    wallet = await bench.wallet(prepaid=1_000)
    request, _ = await bench.hold(wallet, 100)
    strange = Operation(id=bench.ids.new(), kind=Kind.SETTLE, lane=0, amount_utok=5)
    replay = Operation(id=request, kind=Kind.HOLD, lane=0, amount_utok=100, legs=wallet.legs(), ttl_s=60)
    hold, refused = (
        Operation(id=bench.ids.new(), kind=Kind.HOLD, lane=0, amount_utok=amount, legs=wallet.legs(), ttl_s=60) for amount in (200, 10_000)
    )
    for batch, statuses in (
        ((strange, hold, refused), [Status.NO_SUCH_HOLD, Status.APPLIED, Status.REFUSED]),
        ((strange, replay, hold, refused), [Status.NO_SUCH_HOLD, Status.REPLAYED, Status.REPLAYED, Status.REPLAYED_REFUSED]),
    ):
        assert [outcome.status for outcome in await store.post(bench.connection, 0, batch)] == statuses
    assert await bench.available(wallet) == 700
    await bench.assert_replay_agrees()

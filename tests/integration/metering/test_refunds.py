"""Refunds: given back once, never more than was charged, and always with their transfer."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from taximeter.db.pool import connect_owner
from taximeter.engines import Chunk, Done, EngineFailed, Event
from taximeter.identity import Caller
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import format_tokens
from taximeter.ledger import AccountClosed, AccountCode, DifferentBody, operator_account
from taximeter.ledger.replay import replay
from taximeter.metering import Receipt
from taximeter.metering.errors import AboveCharge, NothingCharged, ReceiptNotFound, ReceiptNotSettled
from tests.support.tenants import Town, open_town

pytestmark = pytest.mark.anyio

TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
REPORT = Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0})
SCRIPT: Sequence[Event] = (TEXT, REPORT)


async def ride(town: Town, caller: Caller, script: Sequence[Any] = SCRIPT) -> Receipt:
    town.engines["chat"].script = script
    opened = await town.metering.open(town.order(caller))
    items = [item async for item in opened.events()]
    assert isinstance(items[-1], Receipt)
    return items[-1]


async def give_back(town: Town, receipt: Receipt, amount_utok: int | None = None, reference: str = "") -> Any:  # noqa: ANN401
    return await town.records.refunds.make(receipt.id, amount_utok, reason="it was wrong", operator="test", reference=reference)


async def balance(town: Town, caller: Caller) -> tuple[str, str]:
    wallet = await town.wallet(caller)
    return wallet["allowance"], wallet["prepaid"]


async def revenue_utok(town: Town, caller: Caller) -> int:
    account = operator_account(AccountCode.REVENUE, caller.lane)
    found: int = await town.office.pool.fetchval("select credits_posted - debits_posted from ledger.accounts where id = $1", account)
    return found


async def test_a_refund_moves_tokens_from_the_operator_back_to_the_wallet_and_stands_on_the_receipt(town: Town) -> None:
    caller = await town.caller("1000")
    receipt = await ride(town, caller)
    assert receipt.charged_utok > 0
    refund = await give_back(town, receipt)
    assert (await town.wallet(caller))["balance"] == "1000"
    assert await revenue_utok(town, caller) == 0
    stored = await town.records.receipt(caller, receipt.id)
    assert (stored.refunds, stored.refunded_utok, stored.charged_utok) == ((refund,), receipt.charged_utok, receipt.charged_utok)
    shown = stored.to_api()
    assert (shown["tokens_refunded"], shown["tokens_charged"], shown["settlement"]) == (format_tokens(receipt.charged_utok),) * 2 + ("settled",)
    transfer = await town.office.pool.fetchrow("select kind, debit, credit, amount, code from ledger.transfers where id = $1", refund.id)
    revenue = operator_account(AccountCode.REVENUE, caller.lane)
    assert tuple(transfer) == (5, revenue, caller.prepaid_account, receipt.charged_utok, 102)
    assert (await town.records.receipts(caller, None, 10))[0].refunds == (refund,)
    await town.assert_books_agree()


async def test_what_was_bought_goes_back_before_what_was_granted(town: Town) -> None:
    caller = await town.caller("1000")
    # A grant that covers a part of the charge only.
    probe = await ride(town, caller)
    charge = probe.charged_utok
    granted = charge // 3
    await town.office.tenancy.grant(caller.project_id, granted, "")
    receipt = await ride(town, caller)
    assert receipt.charged_utok == charge
    before = await balance(town, caller)
    first = await give_back(town, receipt, charge - granted - 1, "one")
    assert (first.prepaid_utok, first.allowance_utok) == (charge - granted - 1, 0)
    second = await give_back(town, receipt, 3, "two")
    assert (second.prepaid_utok, second.allowance_utok) == (1, 2)
    rest = await give_back(town, receipt, None, "rest")
    assert (rest.prepaid_utok, rest.allowance_utok) == (0, granted - 2)
    after = await balance(town, caller)
    assert before[0] == "0"
    assert after[0] == format_tokens(granted)
    assert [refund.reference for refund in await town.records.refunds.list(receipt.id)] == ["one", "two", "rest"]
    await town.assert_books_agree()


async def test_the_same_refund_again_is_the_first_one_for_ever(town: Town) -> None:
    """B12: new-api PR 6089, Blnk 08715a4: money returned twice for one request."""
    caller = await town.caller("1000")
    receipt = await ride(town, caller)
    first = await give_back(town, receipt, 5)
    again = await give_back(town, receipt, 5)
    assert (again.replayed, first.replayed) == (True, False)
    assert (again.id, again.amount_utok, again.created_at) == (first.id, 5, first.created_at)
    with pytest.raises(DifferentBody) as caught:
        await give_back(town, receipt, 6)
    assert caught.value.param == "reference"
    with pytest.raises(DifferentBody):
        await town.records.refunds.make(receipt.id, 5, reason="another reason", operator="test")
    assert (await give_back(town, receipt, 6, "second")).amount_utok == 6
    # All that is left, asked for again when nothing is left, is the same refund still.
    rest = await give_back(town, receipt, None, "rest")
    assert (await give_back(town, receipt, None, "rest")).id == rest.id
    assert (await town.wallet(caller))["balance"] == "1000"
    await town.assert_books_agree()


async def test_refunds_add_up_to_what_was_charged_and_no_further(town: Town) -> None:
    caller = await town.caller("1000")
    receipt = await ride(town, caller)
    with pytest.raises(AboveCharge) as caught:
        await give_back(town, receipt, receipt.charged_utok + 1)
    assert caught.value.code == "refund_above_charge"
    await give_back(town, receipt, receipt.charged_utok - 1)
    with pytest.raises(AboveCharge):
        await give_back(town, receipt, 2, "more")
    await give_back(town, receipt, 1, "last")
    for amount in (1, None):
        with pytest.raises(AboveCharge):
            await give_back(town, receipt, amount, "one more")
    assert (await town.wallet(caller))["balance"] == "1000"


@pytest.mark.parametrize("towns", [1, 2])
async def test_of_fifty_refunds_at_once_none_is_above_the_charge(database_url: str, tmp_path: Path, towns: int) -> None:
    async with open_town(database_url, tmp_path / "a") as town, open_town(database_url, tmp_path / "b") as other:
        caller = await town.caller("1000")
        receipt = await ride(town, caller)
        part = receipt.charged_utok // 8
        servers = [town, other][:towns]
        outcomes = await asyncio.gather(
            *(give_back(servers[number % towns], receipt, part, f"part {number}") for number in range(50)), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {type(error) for error in refused} == {AboveCharge}
        assert len(outcomes) - len(refused) == receipt.charged_utok // part
        stored = await town.records.receipt(caller, receipt.id)
        assert stored.refunded_utok == part * (len(outcomes) - len(refused)) <= stored.charged_utok
        await town.assert_books_agree()


async def test_fifty_clicks_on_one_refund_are_one(town: Town) -> None:
    caller = await town.caller("1000")
    receipt = await ride(town, caller)
    made = await asyncio.gather(*(give_back(town, receipt, 7) for _ in range(50)))
    assert len({refund.id for refund in made}) == 1
    assert sum(not refund.replayed for refund in made) == 1
    assert (await town.records.receipt(caller, receipt.id)).refunded_utok == 7
    await town.assert_books_agree()


async def test_what_was_not_charged_cannot_be_given_back(town: Town) -> None:
    """eliza 10278: a refund of what was never settled."""
    caller = await town.caller("1000")
    town.engines["chat"].script = SCRIPT
    running = await town.metering.open(town.order(caller))
    with pytest.raises(ReceiptNotSettled) as caught:
        await town.records.refunds.make(running.id, None, reason="early", operator="test")
    assert (caught.value.code, caught.value.status) == ("receipt_not_settled", 409)
    town.engines["chat"].script = (EngineFailed("broken"),)
    void = await town.metering.open(town.order(caller))
    with pytest.raises(EngineFailed):
        _ = [item async for item in void.events()]
    with pytest.raises(NothingCharged):
        await town.records.refunds.make(void.id, None, reason="void", operator="test")
    with pytest.raises(ReceiptNotFound):
        await town.records.refunds.make(UUID(int=5), None, reason="foreign", operator="test")
    with pytest.raises(ReceiptNotFound):
        await town.records.refunds.list(UUID(int=5))
    assert await town.records.refunds.list(void.id) == []
    for reason, reference in (("", "x"), (" ", "x"), ("x" * 501, "x"), ("x", "y" * 256), ("a\0b", "x")):
        with pytest.raises(InvalidRequest):
            await town.records.refunds.make(void.id, 1, reason=reason, operator="test", reference=reference)


async def test_a_late_charge_is_given_back_to_the_account_that_paid_and_the_shortfall_to_nobody(town: Town) -> None:
    caller = await town.caller("1000")
    go = asyncio.Event()
    town.engines["chat"].script = (TEXT, go, REPORT)
    opened = await town.metering.open(town.order(caller))

    async def drain() -> list[Any]:
        return [item async for item in opened.events()]

    running = asyncio.create_task(drain())
    await town.engines["chat"].running.wait()
    await town.office.store.goodbye(town.office.desk.process_id)
    assert await town.sweeper.sweep() == 1
    # Meanwhile nearly all of the wallet is spent elsewhere.
    await _leave_only(town, caller, 2)
    go.set()
    receipt = (await running)[-1]
    assert receipt.charged_utok == 2
    refund = await give_back(town, receipt)
    assert refund.amount_utok == 2
    assert await balance(town, caller) == ("0", format_tokens(2))
    await town.assert_books_agree()


async def _leave_only(town: Town, caller: Caller, amount_utok: int) -> None:
    """Move what is above this from the wallet to the operator."""
    owner = await connect_owner(town.office.settings.database_url)
    treasury = operator_account(AccountCode.TREASURY, caller.lane)
    await owner.execute(
        """
        with gone as (select credits_posted - debits_posted - debits_pending - $3 as utok from ledger.accounts where id = $1)
        select p.* from gone, ledger.post(
            $4::smallint, array[$5::uuid], array[5]::smallint[], array[gone.utok], array[0], array[0], array[decode(repeat('00', 16), 'hex')],
            array[1], array[$1::bigint], array[$2::bigint], array[gone.utok], array[false]
        ) p
        """,
        caller.prepaid_account,
        treasury,
        amount_utok,
        caller.lane,
        town.office.desk.ids.new(),
    )
    await owner.close()


async def test_a_closed_account_takes_no_refund_until_it_is_opened(town: Town) -> None:
    caller = await town.caller("1000")
    receipt = await ride(town, caller)
    await town.office.pool.execute("select ledger.set_account_closed($1, true)", caller.prepaid_account)
    with pytest.raises(AccountClosed):
        await give_back(town, receipt)
    await town.office.pool.execute("select ledger.set_account_closed($1, false)", caller.prepaid_account)
    assert (await give_back(town, receipt)).amount_utok == receipt.charged_utok


async def test_usage_and_figures_tell_what_was_given_back(town: Town) -> None:
    caller = await town.caller("1000")
    receipt = await ride(town, caller)
    await ride(town, caller)
    await give_back(town, receipt, 5)
    stored = await town.records.receipt(caller, receipt.id)
    assert stored.settled_at is not None
    day = stored.settled_at.replace(hour=0, minute=0, second=0, microsecond=0)
    for groups in ([], ["day"], ["model", "key"], ["day", "project"]):
        (row,) = await town.records.usage(caller, groups, day, stored.settled_at.replace(year=stored.settled_at.year + 1))
        assert (row["tokens_charged"], row["tokens_refunded"]) == (format_tokens(2 * receipt.charged_utok), format_tokens(5))
    figures = await town.office.figures()
    assert (figures["taximeter_refunds"][1], figures["taximeter_refunded_utok"][1]) == (1, 5)
    assert figures["taximeter_revenue_utok"][1] == 2 * receipt.charged_utok - 5


INSERT = """
insert into metering.refunds (id, request_id, project_id, reference, requested_utok, amount_utok, prepaid_utok, allowance_utok, reason, operator)
values (gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7, $8, $9)
"""


async def test_the_database_refuses_what_the_function_would_not_do(town: Town, subtests: pytest.Subtests) -> None:
    """The trigger and the constraints, for whoever writes past ``metering.refund``."""
    caller = await town.caller("1000")
    # Two micro-Tokens of the charge are paid by the allowance.
    await town.office.tenancy.grant(caller.project_id, 2, "")
    receipt = await ride(town, caller)
    running = await town.metering.open(town.order(caller))
    charge = receipt.charged_utok
    refund = await give_back(town, receipt, 5, "first")
    wrong: dict[str, tuple[Any, ...]] = {
        "above the charge": (receipt.id, caller.project_id, "a", None, charge, charge - 2, 2, "r", "o"),
        "more than bought Tokens paid": (receipt.id, caller.project_id, "a", None, charge - 6, charge - 6, 0, "r", "o"),
        "more than granted Tokens paid": (receipt.id, caller.project_id, "a", None, 3, 0, 3, "r", "o"),
        "of a request that runs": (running.id, caller.project_id, "a", None, 1, 1, 0, "r", "o"),
        "of another project": (receipt.id, UUID(int=1), "a", None, 1, 1, 0, "r", "o"),
        "of no request": (UUID(int=1), caller.project_id, "a", None, 1, 1, 0, "r", "o"),
        "parts that do not add up": (receipt.id, caller.project_id, "a", None, 2, 1, 0, "r", "o"),
        "another amount than asked for": (receipt.id, caller.project_id, "a", 2, 1, 1, 0, "r", "o"),
        "a negative part": (receipt.id, caller.project_id, "a", None, 1, 2, -1, "r", "o"),
        "a negative other part": (receipt.id, caller.project_id, "a", None, 1, -1, 2, "r", "o"),
        "nothing": (receipt.id, caller.project_id, "a", None, 0, 0, 0, "r", "o"),
        "the same reference": (receipt.id, caller.project_id, "first", None, 1, 1, 0, "r", "o"),
        "no reference": (receipt.id, caller.project_id, "", None, 1, 1, 0, "r", "o"),
        "no reason": (receipt.id, caller.project_id, "a", None, 1, 1, 0, "", "o"),
        "no operator": (receipt.id, caller.project_id, "a", None, 1, 1, 0, "r", ""),
    }
    owner = await connect_owner(town.office.settings.database_url)
    try:
        for name, values in wrong.items():
            with subtests.test(name), pytest.raises(asyncpg.IntegrityConstraintViolationError):
                await owner.execute(INSERT, *values)
        rewrites = ("update metering.refunds set amount_utok = 1", "delete from metering.refunds", "truncate metering.refunds")
        for statement in rewrites:
            with subtests.test(statement), pytest.raises(asyncpg.RestrictViolationError):
                await owner.execute(statement)
    finally:
        await owner.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await town.office.pool.execute(INSERT, receipt.id, caller.project_id, "app", None, 1, 1, 0, "r", "o")
    assert await town.records.refunds.list(receipt.id) == [refund]


async def test_two_writers_past_the_function_are_serialised_by_the_trigger(town: Town) -> None:
    caller = await town.caller("1000")
    receipt = await ride(town, caller)
    charge = receipt.charged_utok
    owners = [await connect_owner(town.office.settings.database_url) for _ in range(3)]
    try:
        outer = owners[0].transaction()
        await outer.start()
        await owners[0].execute(INSERT, receipt.id, caller.project_id, "one", None, charge, charge, 0, "r", "o")
        second = asyncio.create_task(owners[1].execute(INSERT, receipt.id, caller.project_id, "two", None, charge, charge, 0, "r", "o"))
        await _until_waiting(owners[2])
        await outer.commit()
        with pytest.raises(asyncpg.CheckViolationError):
            await second
    finally:
        for owner in owners:
            await owner.close()


async def _until_waiting(owner: asyncpg.Connection) -> None:
    async with asyncio.timeout(10):
        query = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        while not await owner.fetchval(query):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        ("update metering.refunds set amount_utok = amount_utok - 1, prepaid_utok = prepaid_utok - 1", "amount of a refund"),
        ("delete from metering.refunds", "transfer of a refund without its row"),
        ("update metering.refunds set id = gen_random_uuid()", "refund without a transfer"),
    ],
)
async def test_a_refund_that_is_not_its_transfer_is_named_by_replay(town: Town, harm: str, kind: str) -> None:
    caller = await town.caller("1000")
    await give_back(town, await ride(town, caller))
    await town.assert_books_agree()
    owner = await connect_owner(town.office.settings.database_url)
    try:
        await owner.execute(f"set session_replication_role = replica; {harm}")
        assert kind in (await replay(owner)).first
    finally:
        await owner.close()

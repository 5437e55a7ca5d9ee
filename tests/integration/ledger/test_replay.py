"""The independent program names what somebody with the owner's rights changed behind the ledger's back: one test per invariant."""

# ruff: noqa: S608 - the values in the statements are ids that the test made itself

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from taximeter.db.pool import connect_owner
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import encode_id
from taximeter.ledger import AccountCode, Kind, Leg, Operation, Wallet, operator_account
from taximeter.ledger.replay import Report, replay
from tests.support.ledger_bench import Bench

pytestmark = pytest.mark.anyio

REVENUE, TREASURY = operator_account(AccountCode.REVENUE, 0), operator_account(AccountCode.TREASURY, 0)


@dataclass
class History:
    """A ledger with one of everything, and the owner's connection to it."""

    owner: asyncpg.Connection
    bench: Bench
    wallet: Wallet
    settled: UUID
    open: UUID
    overrun: UUID
    late: UUID
    released: UUID
    refused: UUID

    async def after(self, *statements: str, acknowledged: list[dict[str, Any]] | None = None) -> Report:
        """What the replay says when these statements have been run; they are undone then."""
        lines = None if acknowledged is None else [json.dumps(one) for one in acknowledged]
        transaction = self.owner.transaction(isolation="repeatable_read")
        await transaction.start()
        try:
            await self.owner.execute("set local session_replication_role = replica")
            for statement in statements:
                await self.owner.execute(statement)
            return await replay(self.owner, acknowledgements=lines)
        finally:
            await transaction.rollback()


@pytest.fixture
async def history(bench: Bench, database_url: str) -> AsyncIterator[History]:
    wallet = await bench.wallet(prepaid=1000, allowance=100)
    settled, _ = await bench.hold(wallet, 300)
    await bench.settle(settled, 150)
    overrun, _ = await bench.hold(wallet, 100)
    await bench.settle(overrun, 130)
    late, _ = await bench.hold(wallet, 50)
    await bench.end(late, Kind.EXPIRE)
    await bench.settle(late, 40)
    released, _ = await bench.hold(wallet, 50)
    await bench.end(released, Kind.VOID)
    refused, _ = await bench.hold(wallet, 100_000)
    held, _ = await bench.hold(wallet, 200)
    owner = await connect_owner(database_url)
    yield History(owner, bench, wallet, settled, held, overrun, late, released, refused)
    await owner.close()


def found(report: Report) -> dict[str, str]:
    """Kind -> invariant of what differs."""
    return {kind: difference.invariant for kind, difference in report.first.items()}


def first(report: Report, kind: str) -> tuple[dict[str, Any], Any, Any]:
    difference = report.first[kind]
    return dict(difference.ids), difference.expected, difference.found


async def test_an_untouched_history_agrees_and_is_counted(history: History) -> None:
    report = await history.after()
    assert report.differences == []
    assert (report.rows, report.open_holds, report.charged_utok) == (24, 1, 150 + 130 + 40)
    assert report.overdue_holds == 0
    await history.owner.execute("update ledger.holds set expires_at = clock_timestamp() - interval '1 minute'")
    report = await history.after()
    assert (report.differences, report.overdue_holds) == ([], 1)
    assert report.notes == ["no project and no request: the ledger is used without metering, and I8 and I9 have nothing to compare"]


async def test_i1_debits_and_credits_that_do_not_balance(history: History) -> None:
    report = await history.after(f"update ledger.accounts set credits_posted = credits_posted + 5 where id = {REVENUE}")
    assert found(report) == {"sum of posted": "I1", "balance": "I3"}
    assert first(report, "sum of posted") == ({"unit": 1}, "credits of 1420", 1425)
    report = await history.after(f"update ledger.accounts set unit = 2 where id = {history.wallet.prepaid}")
    assert found(report) == {"units": "I1", "sum of posted": "I1", "sum of pending": "I1"}


async def test_i2_an_account_that_was_overdrawn_on_the_way_and_is_not_at_the_end(history: History) -> None:
    report = await history.after("update ledger.transfers set batch = 1000000 where kind = 5")
    assert found(report) == {"overdraft": "I2"}
    assert report.counts["overdraft"] == 2
    assert first(report, "overdraft") == ({"account": history.wallet.allowance, "id": str(history.settled), "leg": 0, "phase": 0}, 0, 100)


async def test_i2_an_account_of_several_lanes_is_checked_at_its_end(history: History) -> None:
    report = await history.after("update ledger.transfers set lane = 1 where kind = 5")
    assert found(report) == {}
    assert any("posted on by several lanes" in note for note in report.notes)
    report = await history.after(
        "update ledger.transfers set lane = 1 where kind = 5",
        "alter table ledger.accounts drop constraint no_overdraft",
        f"update ledger.transfers set amount = amount - 900 where kind = 5 and credit = {history.wallet.prepaid}",
    )
    assert first(report, "overdraft")[0] == {"account": history.wallet.prepaid}


async def test_i3_a_balance_that_the_log_does_not_give(history: History) -> None:
    report = await history.after(
        f"update ledger.accounts set credits_posted = credits_posted + 5 where id = {REVENUE}",
        f"update ledger.accounts set debits_posted = debits_posted + 5 where id = {TREASURY}",
    )
    assert found(report) == {"balance": "I3"}
    assert report.counts["balance"] == 2
    assert first(report, "balance") == ({"account": REVENUE, "sum": "credits_posted"}, 320, 325)
    report = await history.after(f"delete from ledger.accounts where id = {history.wallet.allowance}")
    assert first(report, "account")[0]["account"] == history.wallet.allowance


async def test_i4_open_holds_that_are_not_those_of_the_log(history: History) -> None:
    ids = {"id": str(history.open), "leg": 1}
    report = await history.after("delete from ledger.holds where leg = 1")
    assert found(report) == {"hold that is missing": "I4", "pending": "I4"}
    assert first(report, "hold that is missing") == (ids, f"200 from {history.wallet.prepaid} to {REVENUE} in cascade", "none")
    report = await history.after("update ledger.holds set amount = amount - 1 where leg = 1")
    assert found(report) == {"hold": "I4", "pending": "I4"}
    assert first(report, "hold")[0] == ids
    assert first(report, "pending") == ({"account": REVENUE}, "0 and 199", "0 and 200")
    report = await history.after(f"update ledger.holds set id = '{history.settled}' where leg = 0")
    assert found(report) == {"hold that is missing": "I4", "hold that the log does not have open": "I4"}


async def test_i5_a_hold_that_ends_twice_or_never_was(history: History) -> None:
    columns = "id, leg, debit, credit, hold_amount, cascade, requested, total, code, digest, lane"
    twice = f"""
        insert into ledger.transfers ({columns}, amount, phase, kind, status, batch, pos)
        select {columns}, 0, 1, 3, 0, 1000000, 1 from ledger.transfers where id = '{history.settled}' and phase = 1
    """
    report = await history.after(
        "alter table ledger.transfers drop constraint transfers_pkey",
        twice,
        "update ledger.transfers set total = 0, requested = 0 where kind = 3 and leg = 0",
    )
    assert found(report) == {"resolution without a hold": "I5"}
    assert first(report, "resolution without a hold")[0] == {"id": str(history.settled), "leg": 0, "phase": 1}
    report = await history.after(f"delete from ledger.transfers where id = '{history.overrun}' and phase = 0")
    assert found(report) == {"resolution without a hold": "I5"}
    report = await history.after(f"delete from ledger.transfers where id = '{history.released}' and phase = 1 and leg = 1")
    assert found(report)["leg left open"] == "I5"
    assert first(report, "leg left open")[:2] == ({"id": str(history.released), "leg": 0, "phase": 1}, "leg 1 released")


async def test_i5_a_resolution_for_other_amounts_or_accounts_than_the_hold(history: History) -> None:
    settled = f"id = '{history.settled}' and phase = 1"
    moved = 400
    report = await history.after(
        f"update ledger.transfers set amount = amount + {moved} where {settled} and leg = 1",
        f"update ledger.transfers set requested = requested + {moved}, total = total + {moved} where {settled} and leg = 0",
        f"update ledger.accounts set debits_posted = debits_posted + {moved} where id = {history.wallet.prepaid}",
        f"update ledger.accounts set credits_posted = credits_posted + {moved} where id = {REVENUE}",
    )
    assert found(report) == {"settlement above its hold": "I5"}
    assert first(report, "settlement above its hold") == ({"id": str(history.settled), "leg": 1, "phase": 1}, "at most 200", "450")
    report = await history.after(f"update ledger.transfers set hold_amount = 7 where {settled} and leg = 1")
    assert found(report) == {"released amount": "I5"}
    report = await history.after(f"update ledger.transfers set debit = {TREASURY} where {settled} and leg = 1")
    assert found(report) == {"accounts of a resolution": "I5", "balance": "I3"}
    report = await history.after(f"update ledger.transfers set amount = 7 where id = '{history.released}' and phase = 1 and leg = 1")
    assert found(report) == {"release that charges": "I5", "total": "I5", "done in part": "I5", "balance": "I3"}
    report = await history.after(f"update ledger.transfers set requested = 1000 where {settled} and leg = 0")
    assert found(report) == {"done in part": "I5"}
    report = await history.after(f"update ledger.transfers set total = 299 where id = '{history.settled}' and phase = 0 and leg = 0")
    assert found(report) == {"done in part": "I5", "total": "I5"}


MUTATIONS = (
    "amount = amount + 1", "hold_amount = coalesce(hold_amount, 0) + 1", "total = total + 1", "requested = requested + 1",
    "debit = 1210", "credit = 1210", "cascade = not cascade", "leg = leg + 3", "status = 1 - status", "phase = phase + 3",
)  # fmt: skip
# What moves no money and is no key of anything: how a direct transfer shared its amount, and the numbers of legs that were added later.
MEANINGLESS = {(5, "cascade = not cascade"), (6, "leg = leg + 3"), (8, "leg = leg + 3")}


async def test_no_field_of_the_log_can_be_changed_unnoticed(history: History) -> None:
    """Every amount, account, flag and key of every row that moved something, one at a time, and every row deleted."""
    rows = await history.owner.fetch(
        "select id, leg, phase, kind, total is not null as has_total from ledger.transfers where status = 0 and (kind <> 8 or amount > 0)"
    )
    checks = await history.owner.fetch("select conname from pg_constraint where conrelid = 'ledger.transfers'::regclass and contype in ('c', 'p')")
    for row in checks:
        await history.owner.execute(f'alter table ledger.transfers drop constraint "{row["conname"]}"')
    unnoticed = set()
    for row in rows:
        where = f"where id = '{row['id']}' and leg = {row['leg']} and phase = {row['phase']}"
        changes = [mutation for mutation in MUTATIONS if row["has_total"] or not mutation.startswith(("total", "requested"))]
        for change in changes:
            if (await history.after(f"update ledger.transfers set {change} {where}")).agrees:
                unnoticed.add((row["kind"], change))
        assert not (await history.after(f"delete from ledger.transfers {where}")).agrees
    assert unnoticed == MEANINGLESS


async def test_i5_a_late_settlement_of_what_was_never_released(history: History) -> None:
    report = await history.after("update ledger.transfers set kind = 2 where kind = 4")
    assert found(report) == {"late settlement without a release": "I5"}
    assert first(report, "late settlement without a release")[0] == {"id": str(history.late), "leg": 0, "phase": 2}


async def test_i6_what_was_acknowledged_and_is_not_in_the_log(history: History) -> None:
    told: list[dict[str, Any]] = [
        {"id": str(history.settled), "kind": "hold", "status": "applied", "total_utok": 300},
        {"id": encode_id("rcp", history.settled), "kind": "settle", "status": "replayed", "total_utok": 150},
        {"id": str(history.late), "kind": 2, "status": 9, "total_utok": 40},
        {"id": str(history.released), "kind": "void", "status": "applied"},
        {"id": str(history.refused), "kind": "hold", "status": "refused", "total_utok": 0},
    ]
    report = await history.after(acknowledged=told)
    assert (report.differences, report.acknowledged) == ([], 5)
    settled = {"id": str(history.settled), "operation": "settle", "line": 2}
    report = await history.after(f"delete from ledger.transfers where id = '{history.settled}'", acknowledged=told)
    assert first(report, "acknowledged and lost")[0] == {"id": str(history.settled), "operation": "hold", "line": 1}
    assert report.counts["acknowledged and lost"] == 2
    report = await history.after(acknowledged=[*told, {**told[1], "total_utok": 151}])
    assert found(report) == {"acknowledged otherwise": "I6"}
    assert first(report, "acknowledged otherwise") == ({**settled, "line": 6}, 151, 150)
    report = await history.after(acknowledged=[{**told[0], "status": "refused"}])
    assert found(report) == {"refused and applied": "I6"}
    report = await history.after("update ledger.transfers set amount = 5 where status = 1")
    assert found(report) == {"refusal": "I6"}
    assert first(report, "refusal")[0] == {"id": str(history.refused), "leg": 0, "phase": 0}


async def test_i6_a_line_that_is_no_acknowledgement_is_named(history: History) -> None:
    told = {"id": str(history.settled), "kind": "settle", "status": "applied", "total_utok": 150}
    wrong = (
        *("[]", "1", '"x"', "null", "{}", "[" * 100_000, json.dumps(told)[:-1]),
        *(
            json.dumps(told | change)
            for change in ({"id": "nobody"}, {"id": 7}, {"kind": "flight"}, {"kind": 2.0}, {"status": True}, {"status": None})
        ),
        *(json.dumps(told).replace("150}", f"{total}}}") for total in ("150.5", "150.0", "1e400", '"150"', "true", "NaN")),
    )
    for line in wrong:
        with pytest.raises(InvalidRequest, match="line 3 of the acknowledgements"):
            await replay(history.owner, acknowledgements=["\n", json.dumps(told), line])


async def test_i7_an_operation_that_a_retry_could_not_be_told_about(history: History) -> None:
    report = await history.after(f"update ledger.transfers set digest = '' where id = '{history.open}' and leg = 0")
    assert found(report) == {"unanswerable": "I7"}
    assert first(report, "unanswerable")[0] == {"id": str(history.open), "leg": 0, "phase": 0}


async def test_a_refund_from_revenue_to_a_wallet_is_a_direct_transfer_like_any_other(history: History) -> None:
    bench = history.bench
    leg = Leg(REVENUE, history.wallet.prepaid, 70, cascade=False)
    await bench.books.submit(Operation(id=bench.ids.new(), kind=Kind.DIRECT, lane=0, amount_utok=70, legs=(leg,), code=200))
    await bench.assert_replay_agrees()


async def test_the_snapshot_and_the_json_name_the_first_of_many(history: History) -> None:
    report = await history.after("update ledger.transfers set digest = ''")
    assert report.counts == {"unanswerable": 13}
    assert report.differences == [f"{report.first['unanswerable'].sentence()} (and 12 more)"]
    (shown,) = report.to_json()["differences"]
    assert (shown["invariant"], shown["kind"], shown["count"]) == ("I7", "unanswerable", 13)

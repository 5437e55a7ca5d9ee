"""Every way in which a hold ends, one row each: what the wallet, the operator, the receipts and the job say afterwards.

The ledger's part, the receipt and the job's end are written by one transaction, which the test checks by its number.
"""

from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import pytest

from taximeter.engines import Chunk, Done, Event, Media, Modality, Vectors
from taximeter.identity import Caller
from taximeter.kernel.units import format_tokens
from taximeter.ledger import AccountCode, Kind, Leg, Operation, Outcome, SettleCode, Status, operator_account
from taximeter.metering import Receipt
from taximeter.metering.desk import wallet_of
from taximeter.metering.rules import NOTHING, encode_fact, receipt_fact
from tests.support.tenants import Town

pytestmark = pytest.mark.anyio

A, P, HELD = 40, 100, 60  # allowance, prepaid and hold of every row: the hold takes the allowance and 20 of what was bought
BUDGET = 90
FREE = A + P - HELD


@dataclass(frozen=True)
class Step:
    """One thing that happens to the hold, or to the wallet meanwhile."""

    do: Literal["settle", "void", "expire", "spend"]
    amount: int = 0
    code: int = 0
    status: Status = Status.APPLIED


@dataclass(frozen=True)
class Row:
    """What happens after the hold, and what is left of it.

    Attributes:
        receipts: phase, outcome, charged and shortfall of each.
        left: on the allowance, of what was bought, and in the budget.
        job: its state, or None while it waits.
    """

    steps: tuple[Step, ...]
    receipts: tuple[tuple[int, str, int, int], ...]
    left: tuple[int, int, int]
    job: str = "completed"
    shortfall: int = 0


def settle(amount: int, status: Status = Status.APPLIED, code: int = 0) -> Step:
    return Step("settle", amount, code, status)


VOID, EXPIRE, SPEND_ALL = Step("void"), Step("expire"), Step("spend", FREE)
LATE, AGAIN, OTHERWISE = Status.SETTLED_LATE, Status.REPLAYED, Status.ALREADY_RESOLVED
ROWS = {
    "a settlement of the whole hold": Row((settle(60),), ((1, "completed", 60, 0),), (0, 80, 30)),
    "a partial settlement releases the rest": Row((settle(25),), ((1, "completed", 25, 0),), (15, 100, 65)),
    "one that reaches into both accounts": Row((settle(47),), ((1, "completed", 47, 0),), (0, 93, 43)),
    "a settlement of nothing": Row((settle(0),), ((1, "completed", 0, 0),), (40, 100, 90)),
    "a settlement again": Row((settle(25), settle(25, AGAIN)), ((1, "completed", 25, 0),), (15, 100, 65)),
    "another settlement": Row((settle(25), settle(26, OTHERWISE)), ((1, "completed", 25, 0),), (15, 100, 65)),
    "a release": Row((VOID,), ((1, "failed", 0, 0),), (40, 100, 90), job="failed"),
    "a release again": Row((VOID, Step("void", status=AGAIN)), ((1, "failed", 0, 0),), (40, 100, 90), job="failed"),
    "a release of what was settled": Row((settle(25), Step("void", status=OTHERWISE)), ((1, "completed", 25, 0),), (15, 100, 65)),
    "an expiry": Row((EXPIRE,), ((1, "expired", 0, 0),), (40, 100, 90), job="failed"),
    "an expiry of what was settled": Row((settle(25), Step("expire", status=OTHERWISE)), ((1, "completed", 25, 0),), (15, 100, 65)),
    "an overrun that the wallet covers": Row((settle(75),), ((1, "completed", 75, 0),), (0, 65, 15)),
    "an overrun beyond the budget": Row((settle(100),), ((1, "completed", 100, 0),), (0, 40, 0)),
    "an overrun that empties the wallet": Row((settle(145),), ((1, "completed", 140, 5),), (0, 0, 0), shortfall=5),
    "an overrun of a wallet that was spent": Row((SPEND_ALL, settle(75)), ((1, "completed", 60, 15),), (0, 0, 15), shortfall=15),
    "a settlement after the expiry": Row((EXPIRE, settle(50, LATE)), ((1, "expired", 0, 0), (2, "completed", 50, 0)), (0, 90, 40), job="failed"),
    "a settlement after the expiry, twice": Row(
        (EXPIRE, settle(50, LATE), settle(50, AGAIN)), ((1, "expired", 0, 0), (2, "completed", 50, 0)), (0, 90, 40), job="failed"
    ),
    "after the expiry, with the wallet spent": Row(
        (EXPIRE, Step("spend", P), settle(50, LATE)), ((1, "expired", 0, 0), (2, "completed", 40, 10)), (0, 0, 40), job="failed", shortfall=10
    ),
    "after the expiry, above the hold": Row((EXPIRE, settle(75, LATE)), ((1, "expired", 0, 0), (2, "completed", 75, 0)), (0, 65, 15), job="failed"),
    "after the expiry, where that is a verdict": Row(
        (EXPIRE, settle(50, OTHERWISE, SettleCode.NEVER_LATE)), ((1, "expired", 0, 0),), (40, 100, 90), job="failed"
    ),
    "a settlement after the release": Row((VOID, settle(50, OTHERWISE)), ((1, "failed", 0, 0),), (40, 100, 90), job="failed"),
    "after the release, for what was delivered": Row(
        (VOID, settle(50, LATE, SettleCode.LATE_ALWAYS)), ((1, "failed", 0, 0), (2, "completed", 50, 0)), (0, 90, 40), job="failed"
    ),
}


@dataclass
class Stage:
    """A wallet with a budget, and a job's hold on both."""

    town: Town
    caller: Caller
    budget: int
    job: UUID
    seen: list[Outcome] = field(default_factory=list)

    @property
    def lane(self) -> int:
        return self.caller.lane

    async def submit(self, **values: Any) -> Outcome:  # noqa: ANN401 - an operation's fields
        return await self.town.office.desk.books.submit(Operation(lane=self.lane, **values))

    async def move(self, debit: int, credit: int, amount: int) -> Outcome:
        return await self.submit(
            id=self.town.office.desk.ids.new(), kind=Kind.DIRECT, amount_utok=amount, legs=(Leg(debit, credit, amount, cascade=False),)
        )

    async def hold(self) -> None:
        request: dict[str, Any] = {
            "project_id": str(self.caller.project_id), "key_id": str(self.caller.key_id), "process_id": None, "model": "m", "modality": "video",
            "rate_card": "c@1", "tariff": "t@1", "multiplier": "1", "fare": {}, "end_user": None,
        }  # fmt: skip
        job = {"project_id": str(self.caller.project_id), "kind": "video", "payload": {}}
        revenue = operator_account(AccountCode.REVENUE, self.lane)
        legs = (*wallet_of(self.caller).legs(), Leg(self.budget, revenue, HELD, cascade=False))
        fact = encode_fact({"request": request, "job": job})
        held = await self.submit(id=self.job, kind=Kind.HOLD, amount_utok=HELD, legs=legs, ttl_s=60, fact=fact)
        assert (held.status, held.total_utok) == (Status.APPLIED, HELD)

    async def do(self, step: Step) -> None:
        if step.do == "spend":
            treasury = operator_account(AccountCode.TREASURY, self.lane)
            outcome = await self.move(self.caller.prepaid_account, treasury, step.amount)
        else:
            kind = {"settle": Kind.SETTLE, "void": Kind.VOID, "expire": Kind.EXPIRE}[step.do]
            outcome = await self.submit(id=self.job, kind=kind, amount_utok=step.amount, code=step.code, fact=fact_of(step))
        assert outcome.status is step.status, step

    async def left(self) -> tuple[int, int, int]:
        query = "select credits_posted - debits_posted from ledger.accounts where id = $1 and debits_pending = 0"
        accounts = (self.caller.allowance_account, self.caller.prepaid_account, self.budget)
        return tuple([await self.town.office.pool.fetchval(query, account) for account in accounts])

    async def transactions(self, phase: int) -> set[int]:
        """The transactions that wrote a resolution: its legs, its receipt, and for the first one the job's end."""
        written = await self.town.office.pool.fetch(
            """
            select xid::text::bigint % 4294967296 as number from ledger.transfers where id = $1 and phase = $2
            union select xmin::text::bigint from metering.receipts where id = $1 and phase = $2
            union select xmin::text::bigint from jobs.jobs where id = $1 and $2 = 1
            """,
            self.job,
            phase,
        )
        return {row["number"] for row in written}


def fact_of(step: Step) -> str:
    outcome: Any = {"settle": "completed", "void": "failed", "expire": "expired"}[step.do]
    job: dict[str, Any] = {"state": "completed", "object_key": "k", "object_bytes": 1, "result": {}, "keep_s": 60}
    if step.do != "settle":
        job = {"state": "failed", "error_code": outcome, "error_message": "as the row says"}
    return encode_fact({"receipt": receipt_fact(NOTHING, outcome, None, {}, 0), "job": job})


async def open_stage(town: Town) -> Stage:
    caller = await town.caller("0")
    budget = await town.office.pool.fetchval("select ledger.open_account(4::smallint, $1, 1::smallint, null)", caller.lane)
    stage = Stage(town, caller, budget, town.office.desk.ids.new())
    treasury = operator_account(AccountCode.TREASURY, caller.lane)
    for account, amount in ((caller.allowance_account, A), (caller.prepaid_account, P), (budget, BUDGET)):
        await stage.move(treasury, account, amount)
    await stage.hold()
    return stage


async def test_every_way_in_which_a_hold_ends(town: Town, subtests: pytest.Subtests) -> None:
    expected_shortfall = 0
    for name, row in ROWS.items():
        with subtests.test(name):
            stage = await open_stage(town)
            for step in row.steps:
                await stage.do(step)
            receipts = await town.office.pool.fetch(
                "select phase, outcome, charged_utok, shortfall_utok from metering.receipts where id = $1 order by phase", stage.job
            )
            assert tuple(tuple(receipt) for receipt in receipts) == row.receipts
            assert await stage.left() == row.left
            assert await town.office.pool.fetchval("select state from jobs.jobs where id = $1", stage.job) == row.job
            for phase, *_ in row.receipts:
                assert len(await stage.transactions(phase)) == 1
            expected_shortfall += row.shortfall
            assert await shortfall_utok(town) == expected_shortfall
    assert await town.open_holds() == 0
    # No worker charges for a job that has failed; here the ledger is asked to.
    await town.assert_books_agree(but={"failed job that was not released"})


async def shortfall_utok(town: Town) -> int:
    return int((await town.office.figures())["taximeter_shortfall_utok"][1])


async def test_a_refund_and_its_transfer_are_one_transaction(town: Town) -> None:
    stage = await open_stage(town)
    await stage.do(settle(47))
    refund = await town.records.refunds.make(stage.job, 20, reason="a part of it", operator="test")
    # What was bought goes back first; the budget has counted what was spent in its time.
    assert await stage.left() == (13, 100, 43)
    numbers = await town.office.pool.fetch(
        """
        select xid::text::bigint % 4294967296 as number from ledger.transfers where id = $1
        union select xmin::text::bigint from metering.refunds where id = $1
        """,
        refund.id,
    )
    assert len(numbers) == 1
    await town.assert_books_agree()


async def test_a_hold_past_its_end_counts_until_the_expiry_is_posted_and_the_figures_say_so(town: Town) -> None:
    """B22: TigerBeetle 2118: expiry is an event in the log and no rule of reading."""
    stage = await open_stage(town)
    await stage.submit(id=stage.job, kind=Kind.VOID)
    stage.job = town.office.desk.ids.new()
    await _hold_for_no_time(stage)
    figures = await town.office.figures()
    assert (figures["taximeter_holds_open"][1], figures["taximeter_holds_overdue"][1]) == (1, 1)
    assert (await town.wallet(stage.caller))["held"] == format_tokens(HELD)
    assert await town.sweeper.sweep() == 1
    figures = await town.office.figures()
    assert (figures["taximeter_holds_open"][1], figures["taximeter_holds_overdue"][1]) == (0, 0)
    assert (await town.wallet(stage.caller))["held"] == "0"
    kinds = await town.office.pool.fetch("select distinct kind from ledger.transfers where id = $1 and phase = 1", stage.job)
    assert [row["kind"] for row in kinds] == [Kind.EXPIRE]


async def _hold_for_no_time(stage: Stage) -> None:
    await stage.submit(id=stage.job, kind=Kind.HOLD, amount_utok=HELD, legs=wallet_of(stage.caller).legs(), ttl_s=1)
    query = "select true from ledger.holds where id = $1 and expires_at < clock_timestamp()"
    async with stage.town.office.pool.acquire() as connection:
        while not await connection.fetchval(query, stage.job):
            await connection.execute("select pg_sleep(0.05)")


async def test_with_the_sweeper_off_two_resolutions_of_one_hold_are_one(town: Town) -> None:
    """B8: TigerBeetle 2000: an expired hold was resolved twice, and the tests had always swept before."""
    stage = await open_stage(town)
    await stage.submit(id=stage.job, kind=Kind.VOID)
    stage.job = town.office.desk.ids.new()
    await _hold_for_no_time(stage)
    settled = await stage.submit(id=stage.job, kind=Kind.SETTLE, amount_utok=50)
    assert settled.status is Status.APPLIED
    for kind in (Kind.EXPIRE, Kind.VOID):
        assert (await stage.submit(id=stage.job, kind=kind)).status is Status.ALREADY_RESOLVED
    assert await town.sweeper.sweep() == 0
    assert (await stage.left())[:2] == (0, 90)
    # These operations came without the facts that the product writes with them.
    await town.assert_books_agree(but={"hold without a request", "settlement without a receipt", "unfinished job without a hold"})


HALF: dict[Modality, tuple[Event, Done]] = {
    "chat": (
        Chunk(choices=[{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}], output_tokens=1),
        Done(work={"prompt_tokens": 4, "cached_tokens": 2, "output_tokens": 2, "reasoning_tokens": 0}),
    ),
    "embeddings": (Vectors(vectors=[b"\0" * 8] * 2), Done(work={"prompt_tokens": 2, "inputs": 2})),
    "speech": (Media(data=b"RIFF"), Done(work={"characters": 12, "phoneme_tokens": 3, "audio_frames": 2})),
}


@pytest.mark.parametrize("modality", [*HALF, "video"])
async def test_a_request_that_takes_less_than_its_hold_gives_the_rest_back_to_both_accounts(town: Town, modality: Modality) -> None:
    caller = await town.caller("1000")
    # A grant of one micro-Token: the hold, and the charge, reach into both accounts.
    await town.office.tenancy.grant(caller.project_id, 1, "")
    receipt = await (_film if modality == "video" else _ride)(town, caller, modality)
    assert 1 < receipt.charged_utok < receipt.held_utok
    wallet = await town.wallet(caller)
    assert (wallet["held"], wallet["allowance"]) == ("0", "0")
    assert wallet["prepaid"] == format_tokens(1_000_000_000 + 1 - receipt.charged_utok)
    legs = await town.office.pool.fetch("select amount, hold_amount from ledger.transfers where id = $1 and phase = 1 order by leg", receipt.id)
    assert [tuple(leg) for leg in legs] == [(1, 1), (receipt.charged_utok - 1, receipt.held_utok - 1)]
    await town.assert_books_agree()


async def _ride(town: Town, caller: Caller, modality: Modality) -> Receipt:
    town.engines[modality].script = HALF[modality]
    ride = await town.metering.open(town.order(caller, modality))
    (receipt,) = [item async for item in ride.events() if isinstance(item, Receipt)]
    return receipt


async def _film(town: Town, caller: Caller, modality: Modality) -> Receipt:
    view = await town.videos.submit(town.order(caller, modality))
    job = await town.office.jobs.claim("video", 5)
    assert job is not None
    request = job.payload["request"]
    work = {"steps": request["steps"] // 2, "frames": request["frames"], "width": request["width"], "height": request["height"]}
    town.engines["video"].script = (Media(data=b"ftyp"), Done(work=work, truncated=True))
    await town.runner.run_job(job)
    return (await town.videos.find(caller, view.id)).receipt

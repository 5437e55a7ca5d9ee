"""What must hold after every schedule, from the callers' own notes, the log, the tables and the disk."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from taximeter.db.pool import DATABASE_ERRORS
from taximeter.kernel.errors import Refusal
from taximeter.ledger import Kind
from taximeter.metering import Receipt
from tests.support.ledger_model import LATE, OVERRUN, SHORTFALL, Account, Row

if TYPE_CHECKING:
    from tests.support.simulator.callers import Deal
    from tests.support.simulator.schedule import World

EXPECTED_ERRORS = (Refusal, *DATABASE_ERRORS)


def violations(world: "World") -> list[str]:
    """Sentences; empty when everything was kept."""
    tables = world.ground.server.tables
    log = list(tables.ledger.log.values())
    ends = {(row.id, row.phase): row for row in log if row.leg == 0 and row.phase > 0}
    return [
        *world.loop.problems,
        *_errors(world),
        *_books(world, log),
        *_facts(world, ends),
        *(sentence for deal in world.deals for sentence in _deal(deal, ends)),
        *_disk(world),
    ]


def _errors(world: "World") -> Iterator[str]:
    """Nothing raised what nobody expects, seen or not."""
    for tasks in (world.loop.tasks, *(process.tasks for process in world.processes)):
        for task in tasks:
            error = task.exception() if task.done() and not task.cancelled() else None
            if error is not None and not isinstance(error, EXPECTED_ERRORS):
                yield f"{task.get_coro()!r} raised {error!r}"


def _books(world: "World", log: list[Row]) -> Iterator[str]:
    """The balances follow from the log, no wallet was overdrawn at any moment, and no hold ended twice."""
    accounts = world.ground.server.tables.ledger.accounts
    sums = {number: Account() for number in accounts}
    held: Counter[tuple[UUID, int]] = Counter()
    for row in log:
        if row.status == 0:
            yield from _apply(row, sums[row.debit], sums[row.credit], held)
        if accounts[row.debit].limited and sums[row.debit].free < 0:
            yield f"account {row.debit} was overdrawn by {row.id}"
        if row.kind == OVERRUN or (row.kind == SHORTFALL and row.phase != 2):
            yield f"{row.id} was charged above its hold"
        if row.id not in world.ground.ids.made:
            yield f"{row.id} stands in the log, and nobody asked for it"
    for number, account in accounts.items():
        if sums[number].sums() != account.sums():
            yield f"account {number} is {account.sums()}, the log gives {sums[number].sums()}"


def _apply(row: Row, debit: Account, credit: Account, held: Counter[tuple[UUID, int]]) -> Iterator[str]:
    if row.kind == Kind.HOLD:
        held[row.id, row.leg] += row.amount
        debit.debits_pending += row.amount
        credit.credits_pending += row.amount
        return
    if row.kind in (Kind.SETTLE, Kind.VOID, Kind.EXPIRE):
        released = held.pop((row.id, row.leg), None)
        if released is None or released != row.hold_amount:
            yield f"{row.id} leg {row.leg} released {row.hold_amount} of {released}"
        debit.debits_pending -= row.hold_amount or 0
        credit.credits_pending -= row.hold_amount or 0
    debit.debits_posted += row.amount
    credit.credits_posted += row.amount


def _facts(world: "World", ends: dict[tuple[UUID, int], Row]) -> Iterator[str]:
    """Requests, receipts, jobs and files say what the log says."""
    tables = world.ground.server.tables
    for key in tables.receipts.keys() - ends.keys():
        yield f"receipt {key} has no resolution"
    for key, row in ends.items():
        receipt = tables.receipts.get(key)
        if receipt is None:
            yield f"{key} was resolved by kind {row.kind} without a receipt"
        elif receipt["charged_utok"] != row.total:
            yield f"receipt {key} says {receipt['charged_utok']}, the log {row.total}"
    granted = {row.id for row in tables.ledger.log.values() if row.kind == Kind.HOLD and row.status == 0}
    if granted != set(tables.requests):
        yield f"holds without a request, or requests without a hold: {granted ^ set(tables.requests)}"
    for job in tables.jobs.values():
        end = ends.get((job.id, 1))
        charged = end is not None and end.kind == Kind.SETTLE
        if (job.state == "completed") != charged or (job.id, 2) in ends:
            yield f"job {job.id} is {job.state}, and its hold was ended by {end}"
        if job.state == "completed" and not job.deleted and job.object_key not in world.ground.objects.files:
            yield f"job {job.id} is completed and its file is gone"


def _deal(deal: "Deal", ends: dict[tuple[UUID, int], Row]) -> Iterator[str]:
    """What a caller was told is what happened."""
    if deal.request_id is None:
        return
    mine = [row for (id_, _), row in ends.items() if id_ == deal.request_id]
    charges = [row for row in mine if row.kind in (Kind.SETTLE, LATE)]
    who = f"caller {deal.number} ({deal.request_id}) was told {deal.told} {deal.refusal}"
    if len(charges) > 1:
        yield f"{who}, and charged {len(charges)} times"
    if deal.key is not None:
        all_charges = [row for (id_, _), row in ends.items() if id_ in deal.ids and row.kind in (Kind.SETTLE, LATE)]
        if len(all_charges) > 1:
            yield f"{who}, and its key {deal.key} was charged {len(all_charges)} times"
    if not mine:
        yield f"{who}, and its hold never ended"
    if deal.receipt is not None and deal.told == "receipt":
        yield from _receipt(who, deal.receipt, charges)
    elif deal.told == "refused" and charges:
        yield f"{who}, and was charged"
    elif deal.told == "left" and charges and deal.modality != "video" and not _delivered(deal):
        yield f"{who} before anything was delivered, and was charged"


def _receipt(who: str, receipt: Receipt, charges: list[Row]) -> Iterator[str]:
    """A settled receipt says what was charged; a pending one, what is asked for later."""
    promised = receipt.charged_utok
    if not charges:
        yield f"{who} {receipt.settlement}, and was never charged"
    elif receipt.settlement == "settled" and promised != charges[0].total:
        yield f"{who} that {promised} were charged, the log says {charges[0].total}"
    elif receipt.settlement == "pending" and promised != charges[0].requested:
        yield f"{who} that {promised} will be charged, {charges[0].requested} were asked for"


def _delivered(deal: "Deal") -> bool:
    """A reader of a stream got something; a plain answer may have been complete at the moment when its caller was cut off."""
    streamed = deal.stream and deal.modality == "chat" and deal.pieces > 0
    return streamed or deal.cut_after_s is not None or (deal.program is not None and deal.program.stopping)


def _disk(world: "World") -> Iterator[str]:
    """Nothing was put aside for a person."""
    for name in world.disk.names:
        if not name.endswith(".log"):
            yield f"{name} was kept aside"

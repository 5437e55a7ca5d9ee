"""What tests of plans do again and again: grants, rides of a known fare, and callers as their next verdict knows them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from taximeter.admission.plans import By, Grant, GrantOrder
from taximeter.engines import Chunk, Done
from taximeter.identity import Caller
from taximeter.kernel.units import parse_tokens
from taximeter.ledger import Kind, Operation, Outcome
from taximeter.metering import Receipt
from tests.support.tenants import Town

OPERATOR = By(operator="test")
TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
SCRIPT = (TEXT, Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0}))


def ahead(**span: float) -> datetime:
    """A moment to come."""
    return datetime.now(UTC) + timedelta(**span)


async def known(town: Town, caller: Caller) -> Caller:
    """The caller as his next verdict will know him."""
    return replace(caller, terms=await town.office.plans.fresh_terms(caller))


async def give(town: Town, caller: Caller, amount: str | int, reference: str = "", *, now: datetime | None = None, **terms: Any) -> Grant:  # noqa: ANN401
    amount_utok = parse_tokens(amount) if isinstance(amount, str) else amount
    by = By(operator="test", reference=reference)
    grant, _ = await town.office.plans.give(caller.project_id, GrantOrder(amount_utok=amount_utok, **terms), by, now)
    return grant


async def ride(town: Town, caller: Caller) -> Receipt:
    """A chat that always costs the same."""
    town.engines["chat"].script = SCRIPT
    opened = await town.metering.open(town.order(caller))
    items = [item async for item in opened.events()]
    assert isinstance(items[-1], Receipt)
    return items[-1]


async def left(town: Town, caller: Caller, *grants: Grant) -> list[int]:
    """What each grant has left, in micro-Tokens."""
    found = {grant.id: grant.free_utok for grant in (await town.office.tenancy.purse(caller.project_id, ended=True)).grants}
    return [found[grant.id] for grant in grants]


async def post(town: Town, caller: Caller, kind: Kind, request_id: Any, amount_utok: int = 0, legs: Sequence[Any] = ()) -> Outcome:  # noqa: ANN401
    """One operation on the books, without a request: replays of these differ in I9 alone."""
    operation = Operation(id=request_id, kind=kind, lane=caller.lane, amount_utok=amount_utok, legs=tuple(legs), ttl_s=600 if legs else 0)
    return await town.office.desk.books.submit(operation)

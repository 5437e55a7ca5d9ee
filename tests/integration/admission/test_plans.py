"""Plans, grants and credit lines, over whole rides; every test ends with a replay of the log."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taximeter.admission import plans
from taximeter.admission.plans import By, GrantOrder
from taximeter.engines import Chunk, Done
from taximeter.identity import Caller
from taximeter.kernel.units import parse_tokens
from taximeter.metering import Receipt
from tests.support.tenants import Town

pytestmark = pytest.mark.anyio

OPERATOR = By(operator="test")
TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
SCRIPT = (TEXT, Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0}))


def tokens(text: str) -> int:
    return parse_tokens(text)


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def terms_of(town: Town, caller: Caller) -> Caller:
    """The caller as his next verdict will know him."""
    return replace(caller, terms=await town.office.plans.fresh_terms(caller))


async def give(town: Town, caller: Caller, amount: str, reference: str = "", **terms: Any) -> plans.Grant:  # noqa: ANN401
    grant, _ = await town.office.plans.give(
        caller.project_id, GrantOrder(amount_utok=tokens(amount), **terms), By(operator="test", reference=reference)
    )
    return grant


async def ride(town: Town, caller: Caller) -> Receipt:
    town.engines["chat"].script = SCRIPT
    opened = await town.metering.open(town.order(caller))
    items = [item async for item in opened.events()]
    assert isinstance(items[-1], Receipt)
    return items[-1]


async def test_what_expires_first_is_spent_first(town: Town) -> None:
    caller = await town.caller("1000")
    late = await give(town, caller, "5", expires_at=soon(7200))
    early = await give(town, caller, "5", expires_at=soon(3600))
    receipt = await ride(town, caller)
    wallet = await town.wallet(caller)
    assert [entry["remaining"] for entry in wallet["grants"]] != []
    assert receipt.charged_utok > 0
    await town.assert_books_agree()

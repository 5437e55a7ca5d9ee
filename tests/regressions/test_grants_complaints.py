"""What users of other gateways complain about, tried on a wallet of several grants.  docs/operating/bugs-of-others.md lists all."""

import asyncio
from collections import Counter

import pytest

from taximeter.admission import Ask, wallet_legs
from taximeter.ledger import Kind, Operation, Status
from tests.support.plans import ahead, give, known
from tests.support.tenants import Town

pytestmark = pytest.mark.anyio


async def test_complaint_05_a_thousand_requests_at_once_get_exactly_the_sum_of_several_grants(town: Town) -> None:
    """new-api #5690, #6609, one-api #2440, #505: quota was compared first and deducted later, and went below zero.

    Here each grant is an account of its own, and one request may be held on several of them: together they grant their sum, to the
    last micro-Token, whatever grant a request begins in.
    """
    caller = await town.caller("0")
    amounts = [1_003, 2_011, 3_001, 997, 5_003]
    grants = [await give(town, caller, amount, expires_at=ahead(days=days)) for days, amount in enumerate(amounts, start=1)]
    caller = await known(town, caller)
    each = 41
    legs = wallet_legs(
        Ask(caller=caller, model="m", engine="e", modality="chat", tier="standard", maximum_utok=each), town.office.desk.clock.now_ms()
    )
    calls = [Operation(id=town.office.desk.ids.new(), kind=Kind.HOLD, lane=caller.lane, amount_utok=each, legs=legs, ttl_s=60) for _ in range(1000)]
    answers = await asyncio.gather(*(town.office.desk.books.submit(call) for call in calls))
    affordable = sum(amounts) // each
    assert Counter(answer.status for answer in answers) == {Status.APPLIED: affordable, Status.REFUSED: 1000 - affordable}
    purse = await town.office.tenancy.purse(caller.project_id)
    assert sum(grant.held_utok for grant in purse.grants) == affordable * each
    assert sum(grant.free_utok for grant in purse.grants) == sum(amounts) - affordable * each
    # All of it is in the last grant: the others are held to the last micro-Token.
    assert [grant.free_utok for grant in purse.grants[:-1]] == [0] * (len(grants) - 1)
    await town.assert_books_agree(but={"hold without a request"})

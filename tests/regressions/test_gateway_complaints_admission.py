"""What users of other gateways complain about when requests are let in, each tried on ours.  docs/operating/bugs-of-others.md lists all."""
# ruff: noqa: ANN401 - the gateway's fixtures, and JSON

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from taximeter.ledger import AccountCode, Kind, Leg, Operation, Status, operator_account
from tests.support.asking import ask_chat
from tests.support.ledger_bench import Bench
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CHAT = {"model": "teller", "messages": [{"role": "user", "content": "Hi"}]}
PAID: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/embeddings", {"model": "mapper", "input": "Hi"}),
    ("/v1/audio/speech", {"model": "speaker", "input": "Hi", "voice": "alloy"}),
    ("/v1/audio/speech", {"model": "speaker", "input": "Hi", "voice": "alloy", "stream_format": "sse"}),
    ("/v1/videos", {"model": "painter", "prompt": "a ball"}),
]


async def most_of_a_chat(gateway: Any, key: str) -> Decimal:
    """What a chat may cost at most, in Tokens."""
    _, _, quote = await gateway.call("POST", "/v1/quotes", key, json={"model": "teller", "request": CHAT})
    return Decimal(quote["tokens_max"])


async def tenant_for(gateway: Any, chats: int) -> Any:
    """A project whose wallet affords so many chats at once, and half of another one."""
    tenant = await gateway.tenant("Small", tokens=None)
    most = await most_of_a_chat(gateway, tenant.key)
    await gateway.admin("POST", f"/projects/{tenant.id}/top-ups", json={"tokens": str(most * chats + most // 2)})
    return tenant


async def until_decided(gateway: Any, calls: list[asyncio.Task[Any]], running: int) -> None:
    """Wait until so many of the calls run in the engine and all the others have been answered."""
    await until(lambda: len(gateway.engine.jobs) >= running and sum(not call.done() for call in calls) <= running)


async def test_complaint_01_a_budget_is_not_passed_by_requests_that_come_together(bench: Bench, rival: Bench) -> None:
    """litellm #34732: the budget of a session was compared before the call and added to after it, and nothing was reserved in between.

    Here a budget is a leg of the hold beside the wallet's: both hold or neither does.
    """
    wallet = await bench.wallet(prepaid=1_000_000)
    budget = await bench.connection.fetchval("select ledger.open_account(4::smallint, 0::smallint, 1::smallint, null)")
    treasury, revenue = operator_account(AccountCode.TREASURY, 0), operator_account(AccountCode.REVENUE, 0)
    legs: tuple[Leg, ...] = (Leg(treasury, budget, 75, cascade=False),)
    await bench.books.submit(Operation(id=bench.ids.new(), kind=Kind.DIRECT, lane=0, amount_utok=75, legs=legs))
    legs = (*wallet.legs(), Leg(budget, revenue, 10, cascade=False))
    calls = [Operation(id=bench.ids.new(), kind=Kind.HOLD, lane=0, amount_utok=10, legs=legs, ttl_s=60) for _ in range(200)]
    answers = await asyncio.gather(*((bench, rival)[number % 2].books.submit(call) for number, call in enumerate(calls)))
    granted = [call for call, outcome in zip(calls, answers, strict=True) if outcome.status is Status.APPLIED]
    assert len(granted) == 7
    assert await bench.available(wallet) == 1_000_000 - 70
    # What was not used of the reservation comes back to the budget.
    await asyncio.gather(*(bench.settle(call.id, 4) for call in granted))
    spent = await bench.connection.fetchval("select debits_posted + debits_pending from ledger.accounts where id = $1", budget)
    assert (spent, await bench.available(wallet)) == (28, 1_000_000 - 28)
    await bench.assert_replay_agrees()


async def test_complaint_02_spent_is_spent_for_every_key_and_every_route(gateway: Any) -> None:
    """litellm #26672: keys and users went on although their recorded spend was above their maximum.

    Here every key of a project draws on one wallet, and an empty one refuses each of them before anything runs.
    """
    tenant = await tenant_for(gateway, 1)
    second = await gateway.admin("POST", f"/projects/{tenant.id}/keys", json={"name": "second"})
    while (await ask_chat(gateway.http, gateway.url, tenant.key, max_tokens=20)).status == 200:
        pass
    ran = len(gateway.engine.jobs)
    assert ran > 0
    for key in (tenant.key, second["key"]):
        for stream in (False, True):
            told = await ask_chat(gateway.http, gateway.url, key, max_tokens=20, stream=stream)
            assert (told.status, told.error["code"]) == (402, "insufficient_balance")
    assert len(gateway.engine.jobs) == ran
    balance, held = await gateway.wallet(tenant)
    assert (Decimal(balance) >= 0, held) == (True, "0")


async def test_complaint_03_first_requests_of_unknown_end_users_are_held_like_any_other(gateway: Any) -> None:
    """litellm #40095: the first requests of an end user that was not known yet ran together past the default budget, since the row that
    counts them was only being made.

    Here nothing is made on first sight: the wallet is there before its key, and who the end user is changes nothing.
    """
    tenant = await tenant_for(gateway, 3)
    gateway.engine.gate = asyncio.Event()
    ask = [gateway.call("POST", "/v1/chat/completions", tenant.key, json={**CHAT, "user": f"new {number}"}) for number in range(40)]
    calls = [asyncio.create_task(one) for one in ask]
    await until_decided(gateway, calls, 3)
    gateway.engine.gate.set()
    assert Counter(status for status, _, _ in await asyncio.gather(*calls)) == {200: 3, 402: 37}


async def test_complaint_04_parallel_streams_are_counted_by_what_they_may_produce_before_they_start(gateway: Any) -> None:
    """litellm #18730, #40291, #16011 and #41610: parallel requests passed a limit of 100 tokens with 663, streams were never counted, and
    each replica counted for itself.

    Here a stream takes the price of its whole bound from its key's minute, and from the wallet, before its first token, in the database that
    all processes share; what it did not use comes back.
    """
    tenant = await gateway.tenant("Rich", tokens="1000000")
    most = await most_of_a_chat(gateway, tenant.key)
    limit = {"name": "limited", "tokens_per_minute": str(most * 4 + most / 10)}
    key = (await gateway.admin("POST", f"/projects/{tenant.id}/keys", json=limit))["key"]
    gateway.engine.gate = asyncio.Event()
    ask = [ask_chat(gateway.http, gateway.url, key, stream=True, max_tokens=20, messages=CHAT["messages"]) for _ in range(20)]
    calls = [asyncio.create_task(one) for one in ask]
    await until_decided(gateway, calls, 4)
    assert sum(job.bound["output_tokens"] for job in gateway.engine.jobs) == 4 * 20
    assert (await gateway.wallet(tenant))[1] == str(most * 4)
    gateway.engine.gate.set()
    answers = await asyncio.gather(*calls)
    assert Counter(told.status for told in answers) == {200: 4, 429: 16}
    assert all(told.headers["retry-after"] for told in answers if told.status == 429)
    # They produced 3 of 20 tokens each; the rest of what they took is there for the next.
    told = await ask_chat(gateway.http, gateway.url, key, stream=True, max_tokens=20, messages=CHAT["messages"])
    assert told.status == 200


async def test_complaint_05_a_balance_never_goes_below_zero_and_an_empty_one_is_not_charged(bench: Bench, rival: Bench) -> None:
    """new-api #5690 and #6609, one-api #2440 and #505: quota was read, then reduced, so that many requests at once overdrew it without
    limit, and a negative balance went on being charged.

    Here not even settlements above their holds lead below zero, looked at all the time.
    """
    wallet = await bench.wallet(prepaid=500)
    lowest = await bench.available(wallet)

    async def spend(side: Bench) -> int:
        request, held = await side.hold(wallet, 10)
        return (await side.settle(request, 25)).total_utok if held.status is Status.APPLIED else 0

    spending = asyncio.gather(*(spend(side) for side in (bench, rival) for _ in range(100)))
    while not spending.done():
        lowest = min(lowest, await bench.available(wallet))
    charged = sum(await spending)
    assert (lowest >= 0, charged, await bench.available(wallet)) == (True, 500, 0)
    assert (await bench.hold(wallet, 1))[1].status is Status.REFUSED
    await bench.assert_replay_agrees()


async def test_complaint_06_no_paid_route_goes_past_the_wallet(gateway: Any, subtests: pytest.Subtests) -> None:
    """bifrost #3547, #2873 and #5673: each replica kept budgets in its own memory, passthrough routes asked no budget at all, and a
    budget given with a new key was neither saved nor refused.

    Here the one wallet stands in the database, every route that runs an engine holds on it, and a field that a key does not have is refused.
    """
    poor = await gateway.tenant("Poor", tokens=None)
    for path, ask in PAID:
        with subtests.test(path, **ask):
            status, _, refusal = await gateway.call("POST", path, poor.key, json=ask)
            assert (status, refusal["error"]["code"]) == (402, "insufficient_balance")
    assert gateway.engine.jobs == []
    path = f"/v1/admin/projects/{poor.id}/keys"
    status, _, problem = await gateway.call("POST", path, "the admin key", json={"name": "limited", "budget": 5})
    assert (status, problem["param"]) == (400, "budget")


async def test_complaint_07_the_balance_falls_with_each_request_that_starts_and_a_stream_stops_at_its_bound(gateway: Any) -> None:
    """envoy ai-gateway #680, #2394 and #1754: parallel requests passed the token limit, a stream was only counted when it was over, and
    the header with the remaining tokens did not fall.

    Here the hold is taken at the start and shown in the same answer's headers, and the engine stops where the hold ends.
    """
    tenant = await gateway.tenant("Streams")
    gateway.engine.gate, gateway.engine.tokens = asyncio.Event(), 10_000
    headers = {"Authorization": f"Bearer {tenant.key}"}
    body = {**CHAT, "stream": True, "max_tokens": 5}
    streams = [await gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers) for _ in range(5)]
    balances = [Decimal(stream.headers["taximeter-balance"]) for stream in streams]
    held = Decimal(streams[0].headers["taximeter-tokens-held"])
    assert balances == [1000 - held * number for number in range(1, 6)]
    gateway.engine.gate.set()
    texts = [(await stream.read()).decode() for stream in streams]
    assert all(text.count('"content":"w') == 5 and '"finish_reason":"length"' in text for text in texts)
    charged = [Decimal(receipt["tokens_charged"]) for receipt in await gateway.receipts(tenant)]
    assert all(0 < each <= held for each in charged)
    balance, open_holds = await gateway.wallet(tenant)
    assert (Decimal(balance), open_holds) == (1000 - sum(charged), "0")

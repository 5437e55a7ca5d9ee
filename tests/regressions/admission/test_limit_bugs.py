"""How limits of other gateways are passed, each tried on ours.  docs/operating/bugs-of-others.md lists all."""
# ruff: noqa: ANN401 - the gateway's fixtures

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.support.asking import Told, ask_chat
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CALLS = 40
# Nothing comes back while a test runs: 200 Tokens in a day are one in seven minutes.
MINUTE = {"kind": "tokens", "most": "200", "window": 86_400}


async def ask_at_once(gateway: Any, key: str, *, stream: bool) -> tuple[list[Told], int]:
    """Many calls whose engine waits until all are decided; what they were told, and how many ran."""
    gate = gateway.engine.gate = asyncio.Event()
    calls = [asyncio.create_task(ask_chat(gateway.http, gateway.url, key, stream=stream)) for _ in range(CALLS)]
    await until(lambda: len(gateway.engine.jobs) > 0 and sum(not call.done() for call in calls) == len(gateway.engine.jobs))
    ran = len(gateway.engine.jobs)
    gate.set()
    return await asyncio.gather(*calls), ran


async def assert_as_many_ran_as_their_maxima_allow(gateway: Any, key: str, *, stream: bool) -> None:
    _, _, quote = await gateway.call("POST", "/v1/quotes", key, json={"model": "teller", "request": body()})
    allowed = 200 // int(quote["tokens_max"])
    answers, ran = await ask_at_once(gateway, key, stream=stream)
    assert ran == allowed > 0
    assert Counter((told.status, told.error.get("code")) for told in answers) == {(200, None): ran, (429, "rate_limit_exceeded"): CALLS - ran}
    # They used less than they might have: there is room for more, without any wait.
    assert (await ask_chat(gateway.http, gateway.url, key)).status == 200


def body() -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "tell me more"}], "max_tokens": 9}


async def test_litellm_18730_envoy_680_parallel_requests_do_not_pass_a_token_limit(gateway: Any) -> None:
    """litellm #18730: 663 tokens ran against a limit of 100; envoy ai-gateway #680: tokens are counted when an answer has ended.

    Here a request takes its maximum from its limits with its hold, and gives back what it did not use.
    """
    tenant = await gateway.tenant("Parallel")
    await gateway.admin("POST", "/limits", json={"scope": "project", "project_id": tenant.id, **MINUTE})
    await assert_as_many_ran_as_their_maxima_allow(gateway, tenant.key, stream=False)


async def test_litellm_41610_envoy_2394_streams_are_in_a_models_token_limit_before_they_start(gateway: Any) -> None:
    """litellm #41610: a deployment's tokens a minute are not kept for streams; envoy ai-gateway #2394: streams are limited after the fact.

    Here a stream takes its maximum before it starts, as any other request does.
    """
    tenant = await gateway.tenant("Streams")
    await gateway.admin("POST", "/limits", json={"scope": "model", "model": "teller", **MINUTE})
    await assert_as_many_ran_as_their_maxima_allow(gateway, tenant.key, stream=True)

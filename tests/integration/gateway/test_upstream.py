"""The official client through the gateway to an OpenAI-compatible upstream, and back with its price."""
# ruff: noqa: ANN401 - fixtures of the conftest, and JSON

from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI

from taximeter.engines.openai_http import OpenAIEngine, OpenAIVideoEngine, VideoOptions
from tests.support.mock_openai import Behaviour, MockOpenAI
from tests.support.mock_videos import FILM, MockVideos
from tests.support.waiting import until

pytestmark = [
    pytest.mark.anyio,
    # The official client warns about OpenAI's own service, on every call of its video routes.
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
]

MESSAGES: list[Any] = [{"role": "user", "content": "tell me more"}]


@pytest.fixture
async def upstream(gateway: Any) -> AsyncIterator[MockOpenAI]:
    async with MockOpenAI() as mock:
        engine = OpenAIEngine("script", mock.url)
        gateway.office.desk.engines = {"script": engine}
        yield mock
        await engine.close()


@pytest.fixture
async def client(gateway: Any, tenant: Any) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=tenant.key, max_retries=0) as opened:
        yield opened


async def streamed(client: AsyncOpenAI, **more: Any) -> tuple[str, list[Any]]:
    chunks = [chunk async for chunk in await client.chat.completions.create(model="teller", messages=MESSAGES, max_tokens=9, stream=True, **more)]
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), chunks


async def test_a_plain_answer_has_the_text_of_the_upstream(client: AsyncOpenAI, upstream: MockOpenAI) -> None:
    answer = await client.chat.completions.create(model="teller", messages=MESSAGES, max_tokens=9)
    text, _ = await streamed(client)
    assert answer.choices[0].message.content == text != ""
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 9
    assert [request.body["stream"] for request in upstream.requests] == [False, True]


async def test_usage_is_asked_for_upstream_and_kept_from_a_caller_who_did_not_ask(client: AsyncOpenAI, upstream: MockOpenAI) -> None:
    _, chunks = await streamed(client)
    assert upstream.requests[0].body["stream_options"] == {"include_usage": True}
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert chunks[-1].model_extra["taximeter"]["outcome"] == "truncated"
    _, chunks = await streamed(client, stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 9


async def test_a_stream_that_goes_on_after_its_bound_is_cut_and_charged_for_the_bound(
    client: AsyncOpenAI, upstream: MockOpenAI, gateway: Any, tenant: Any
) -> None:
    upstream.behaviour = Behaviour(ignore_max_tokens=True, talk=500)
    _, chunks = await streamed(client)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["length"]
    (receipt,) = await gateway.receipts(tenant)
    assert receipt["work"]["output_tokens"] == 9
    assert float(receipt["tokens_charged"]) <= float(receipt["tokens_held"])


async def test_cached_and_reasoning_tokens_reach_the_receipt_as_buckets_that_do_not_overlap(
    client: AsyncOpenAI, upstream: MockOpenAI, gateway: Any, tenant: Any
) -> None:
    upstream.behaviour = Behaviour(cached_tokens=2, reasoning_tokens=3)
    answer = await client.chat.completions.create(model="teller", messages=MESSAGES, max_tokens=9)
    (receipt,) = await gateway.receipts(tenant)
    work, usage = receipt["work"], answer.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    assert (work["cached_prompt_tokens"], work["reasoning_tokens"]) == (2, 3)
    assert usage.prompt_tokens == work["fresh_prompt_tokens"] + work["cached_prompt_tokens"]
    assert usage.completion_tokens == work["output_tokens"] + work["reasoning_tokens"]
    assert (usage.prompt_tokens_details.cached_tokens, usage.completion_tokens_details.reasoning_tokens) == (2, 3)


@pytest.mark.parametrize("usage", ["missing", {"prompt_tokens": -1, "completion_tokens": 5, "total_tokens": 4}])
async def test_usage_that_is_missing_or_makes_no_sense_is_counted_and_says_so(
    client: AsyncOpenAI, upstream: MockOpenAI, gateway: Any, tenant: Any, usage: Any
) -> None:
    upstream.behaviour = Behaviour(usage=usage)
    await streamed(client)
    (receipt,) = await gateway.receipts(tenant)
    assert receipt["measured"] is False
    assert receipt["work"]["output_tokens"] == 9


FAULTS = [
    (False, Behaviour(status=500)),
    (False, Behaviour(error_inside=True, error={"message": "no"})),
    (True, Behaviour(status=500)),
    (True, Behaviour(error_inside=True, error={"message": "no"}, break_after=2)),
    (True, Behaviour(break_after=2)),
]


@pytest.mark.parametrize(("stream", "fault"), FAULTS)
async def test_an_upstream_that_fails_costs_nothing(
    client: AsyncOpenAI, upstream: MockOpenAI, gateway: Any, tenant: Any, fault: Behaviour, *, stream: bool
) -> None:
    upstream.behaviour = fault
    with pytest.raises(APIError):
        await (streamed(client) if stream else client.chat.completions.create(model="teller", messages=MESSAGES, max_tokens=9))
    assert await gateway.wallet(tenant) == ("1000", "0")
    (receipt,) = await gateway.receipts(tenant)
    assert (receipt["outcome"], receipt["tokens_charged"]) == ("failed", "0")


@pytest.fixture
async def film_upstream(gateway: Any) -> AsyncIterator[MockVideos]:
    async with MockVideos() as mock:
        engine = OpenAIVideoEngine("script", mock.url, options=VideoOptions(poll_s=0.02))
        gateway.office.desk.engines = {"script": engine}
        yield mock
        await engine.close()


async def test_the_official_client_gets_a_video_that_an_upstream_made(client: AsyncOpenAI, film_upstream: MockVideos, gateway: Any) -> None:
    video = await client.videos.create(model="painter", prompt="a red sun", seconds="4", size="640x360")  # type: ignore[arg-type]
    await until(lambda: bool(film_upstream.films))
    film_upstream.film.finish()

    async def is_completed() -> bool:
        return (await client.videos.retrieve(video.id)).status == "completed"

    await until(is_completed)
    assert (await client.videos.download_content(video.id)).content == FILM
    assert film_upstream.orders[0][0]["seconds"] == "4"
    assert await gateway.holds_open() == 0


async def test_a_video_whose_upstream_gives_no_answer_is_in_progress_for_its_owner_and_unknown_for_the_operator(
    client: AsyncOpenAI, film_upstream: MockVideos, gateway: Any, tenant: Any
) -> None:
    film_upstream.silent = True
    video = await client.videos.create(model="painter", prompt="a red sun")

    async def listed() -> list[Any]:
        found: list[Any] = (await gateway.admin("GET", "/jobs"))["data"]
        return found

    async def is_unknown() -> bool:
        return bool(await listed())

    await until(is_unknown)
    (job,) = await listed()
    assert (job["id"], job["project_id"], job["state"], job["provider_job"]) == (video.id, tenant.id, "unknown", film_upstream.film.id)
    shown = await client.videos.retrieve(video.id)
    assert (shown.status, shown.error, (shown.model_extra or {})["taximeter"]["state"]) == ("in_progress", None, "unknown")
    _, _, metrics = await gateway.call("GET", "/metrics", "")
    assert b"taximeter_jobs_unknown 1.0" in metrics
    assert (await gateway.admin("GET", "/jobs?state=never_known"))["data"] == []
    assert await gateway.holds_open() == 1
    got, _, answer = await gateway.call("GET", "/v1/admin/jobs?state=lost", "the admin key")
    assert (got, answer["param"]) == (400, "state")

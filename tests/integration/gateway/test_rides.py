"""One ride per modality with the official client: the answer, its price, the receipt and the wallet agree."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

from decimal import Decimal
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

pytestmark = [
    pytest.mark.anyio,
    # The client announces the end of OpenAI's own video service; the shape lives on in others, and here.
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
]

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
async def client(gateway: Any, tenant: Any) -> Any:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=tenant.key) as made:
        yield made


async def settled(gateway: Any, tenant: Any, receipt_id: str) -> dict[str, Any]:
    """The receipt, checked against the wallet: of 1,000 Tokens, what it charged is gone and nothing is held."""
    status, _, receipt = await gateway.call("GET", f"/v1/receipts/{receipt_id}", tenant.key)
    assert status == 200
    assert receipt["settlement"] == "settled"
    balance, held = await gateway.wallet(tenant)
    assert (Decimal(balance), held) == (1000 - Decimal(receipt["tokens_charged"]), "0")
    assert sum(Decimal(line["tokens"]) for line in receipt["lines"]) == Decimal(receipt["tokens_consumed"])
    body: dict[str, Any] = receipt
    return body


async def test_a_plain_chat(gateway: Any, tenant: Any, client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="teller", messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content == "w0 w1 w2 "
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 3, 13)
    extra = answer.model_extra["taximeter"]  # type: ignore[index]
    # 6 fresh at 1, 4 cached at 0.1, 3 out at 2.
    assert (extra["tokens_charged"], extra["balance"], raw.headers["taximeter-tokens-charged"]) == ("12.4", "987.6", "12.4")
    receipt = await settled(gateway, tenant, extra["receipt"])
    assert receipt["tokens_held"] == extra["tokens_held"]
    assert receipt["outcome"] == "completed"


@pytest.mark.parametrize("with_usage", [False, True])
async def test_a_streamed_chat(gateway: Any, tenant: Any, client: AsyncOpenAI, with_usage: object) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if with_usage else {}
    chunks = [chunk async for chunk in await client.chat.completions.create(model="teller", messages=HELLO, stream=True, **options)]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "w0 w1 w2 "
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [bool(with_usage)]
    assert all(chunk.choices for chunk in (chunks[:-1] if with_usage else chunks))
    extra = chunks[-1].model_extra["taximeter"]
    assert extra["tokens_charged"] == "12.4"
    await settled(gateway, tenant, extra["receipt"])


async def test_the_clients_own_stream_helper(gateway: Any, tenant: Any, client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model="teller", messages=HELLO) as stream:
        types = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "w0 w1 w2 "
    assert "content.done" in types
    receipts = await gateway.receipts(tenant)
    await settled(gateway, tenant, receipts[0]["id"])


async def test_a_stream_is_cut_at_its_hold(gateway: Any, tenant: Any, client: AsyncOpenAI) -> None:
    gateway.engine.tokens = 1000
    chunks = [chunk async for chunk in await client.chat.completions.create(model="teller", messages=HELLO, stream=True, max_tokens=5)]
    assert chunks[-1].choices[0].finish_reason == "length"
    extra = chunks[-1].model_extra["taximeter"]  # type: ignore[index]
    assert (extra["outcome"], extra["tokens_charged"]) == ("truncated", "16.4")
    assert Decimal(extra["tokens_charged"]) <= Decimal(extra["tokens_held"])
    await settled(gateway, tenant, extra["receipt"])


async def test_embeddings(gateway: Any, tenant: Any, client: AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="mapper", input=["ab", "cde"])
    assert [item.embedding for item in answer.data] == [[0.0, 0.5, -1.0], [1.0, 0.5, -1.0]]
    plain = await client.embeddings.create(model="mapper", input="x", encoding_format="float")
    assert plain.data[0].embedding == [0.0, 0.5, -1.0]
    assert answer.usage.prompt_tokens == 5
    assert answer.model_extra["taximeter"]["tokens_charged"] == "5"  # type: ignore[index]
    assert await gateway.wallet(tenant) == ("994", "0")


async def test_speech(gateway: Any, tenant: Any, client: AsyncOpenAI) -> None:
    raw = await client.audio.speech.with_raw_response.create(model="speaker", voice="alloy", input="Hello", response_format="wav")
    assert await raw.parse().aread() == b"sound of alloy"
    assert (raw.headers["content-type"], raw.headers["taximeter-tokens-charged"]) == ("audio/wav", "0.3")
    await settled(gateway, tenant, raw.headers["taximeter-receipt"])


async def test_a_video(gateway: Any, tenant: Any, client: AsyncOpenAI) -> None:
    video = await client.videos.create_and_poll(model="painter", prompt="a red ball", seconds="4", size="640x360")  # type: ignore[arg-type]
    assert (video.status, video.progress, video.seconds, video.size, video.error) == ("completed", 100, "4", "640x360", None)
    content = await client.videos.download_content(video.id)
    assert content.content == gateway.engine.film
    extra = video.model_extra["taximeter"]  # type: ignore[index]
    receipt = await settled(gateway, tenant, extra["receipt"])
    assert (receipt["tokens_charged"], extra["tokens_charged"]) == ("10", "10")
    assert [listed.id async for listed in await client.videos.list()] == [video.id]
    deleted = await client.videos.delete(video.id)
    assert deleted.deleted
    with pytest.raises(openai.NotFoundError):
        await client.videos.retrieve(video.id)
    await settled(gateway, tenant, extra["receipt"])


async def test_videos_can_be_deleted_while_they_are_listed(gateway: Any, tenant: Any, client: AsyncOpenAI) -> None:
    made = {(await client.videos.create(model="painter", prompt=f"ball {number}")).id for number in range(5)}
    deleted = set()
    async for video in client.videos.list(limit=2):
        await client.videos.delete(video.id)
        deleted.add(video.id)
    assert deleted == made
    # A stranger learns nothing about them, and the oldest one marks a place as well as any.
    other = await gateway.tenant("Other")
    assert (await gateway.call("GET", f"/v1/videos?after={min(made)}", other.key))[0] == 404
    assert (await gateway.call("GET", f"/v1/videos?after={min(made)}&order=asc", tenant.key))[0] == 200


async def test_a_video_has_every_key_of_openais(gateway: Any, tenant: Any) -> None:
    status, headers, video = await gateway.call("POST", "/v1/videos", tenant.key, json={"model": "painter", "prompt": "a ball"})
    assert status == 200
    required = "id object model status progress created_at completed_at expires_at prompt size seconds remixed_from_video_id error"
    assert set(required.split()) <= set(video)
    assert (video["object"], video["status"], video["taximeter"]["settlement"]) == ("video", "queued", "pending")
    assert headers["taximeter-tokens-held"] == "10"
    assert headers["taximeter-receipt"] == video["taximeter"]["receipt"]


async def test_parts_of_a_video(gateway: Any, tenant: Any, client: AsyncOpenAI) -> None:
    video = await client.videos.create_and_poll(model="painter", prompt="a red ball")
    path = f"/v1/videos/{video.id}/content"
    status, headers, part = await gateway.call("GET", path, tenant.key, headers={"Range": "bytes=100-199"})
    assert (status, part, headers["Content-Range"]) == (206, gateway.engine.film[100:200], "bytes 100-199/5120")
    assert (await gateway.call("GET", path, tenant.key, headers={"Range": "bytes=6000-"}))[0] == 416
    status, headers, empty = await gateway.call("HEAD", path, tenant.key)
    assert (status, headers["Content-Length"], empty) == (200, "5120", b"")
    assert (await gateway.call("GET", path, tenant.key, headers={"If-None-Match": headers["ETag"]}))[0] == 304


async def test_models_are_listed_with_their_prices(client: AsyncOpenAI) -> None:
    models = {model.id: model async for model in client.models.list()}
    assert set(models) == {"teller", "orphan", "mapper", "speaker", "painter"}
    extra = models["painter"].model_extra
    assert extra is not None
    assert (extra["modality"], extra["price"]["rate_card"], extra["price"]["basis"]) == ("video", "film@1", "list")
    assert (await client.models.retrieve("teller")).id == "teller"


async def test_a_quote_tells_the_price_before(gateway: Any, tenant: Any) -> None:
    ask = {"model": "painter", "request": {"model": "painter", "prompt": "a ball", "seconds": "2", "steps": 8}}
    status, _, quote = await gateway.call("POST", "/v1/quotes", tenant.key, json=ask)
    assert status == 200
    assert (quote["tokens_expected"], quote["tokens_max"], quote["rate_card"], quote["tariff"]) == ("4", "4", "film@1", "standard@1")
    assert quote["basis"] == "list"
    assert quote["breakdown"][0]["label"] == "Steps"
    assert await gateway.wallet(tenant) == ("1000", "0")
    # What cannot run here can still be quoted.
    ask = {"model": "orphan", "request": {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}}
    assert (await gateway.call("POST", "/v1/quotes", tenant.key, json=ask))[0] == 200


async def test_usage_adds_up_to_what_the_wallet_lost(gateway: Any, tenant: Any, client: AsyncOpenAI) -> None:
    for _ in range(3):
        await client.chat.completions.create(model="teller", messages=HELLO)
    await client.embeddings.create(model="mapper", input="abc")
    status, _, usage = await gateway.call("GET", "/v1/usage?group_by=day,model", tenant.key)
    assert status == 200
    rows = {row["model"]: row for row in usage["data"]}
    assert (rows["teller"]["requests"], rows["teller"]["tokens_charged"]) == (3, "37.2")
    balance, _ = await gateway.wallet(tenant)
    assert sum(Decimal(row["tokens_charged"]) for row in usage["data"]) == 1000 - Decimal(balance)


async def test_receipts_are_paged(gateway: Any, tenant: Any, client: AsyncOpenAI) -> None:
    for _ in range(3):
        await client.embeddings.create(model="mapper", input="abc")
    _, _, first = await gateway.call("GET", "/v1/receipts?limit=2", tenant.key)
    _, _, rest = await gateway.call("GET", f"/v1/receipts?limit=2&cursor={first['next_cursor']}", tenant.key)
    assert (len(first["data"]), len(rest["data"]), rest["next_cursor"]) == (2, 1, None)
    assert len({receipt["id"] for receipt in first["data"] + rest["data"]}) == 3

"""Speech: the file with its price in the headers, and the events."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from taximeter.engines import EngineFailed, Media
from taximeter.metering import Receipt

pytestmark = pytest.mark.anyio

URL = "/v1/audio/speech"
ASK = {"model": "tiny", "input": "Hello", "voice": "alloy"}


@pytest.fixture
def spoken(receipt: Receipt) -> Receipt:
    return replace(receipt, modality="speech", work={"characters": 5, "phoneme_tokens": 7, "audio_frames": 40})


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        (None, "audio/mpeg"),
        ("mp3", "audio/mpeg"),
        ("opus", "audio/ogg; codecs=opus"),
        ("aac", "audio/aac"),
        ("flac", "audio/flac"),
        ("wav", "audio/wav"),
        ("pcm", "audio/pcm"),
    ],
)
async def test_the_file_comes_whole_with_its_settled_price(
    client: Any, rides: Callable[..., Any], spoken: Receipt, form: str | None, content_type: str
) -> None:
    rides(Media(b"RIFF"), Media(b"data"), spoken)
    answer = await client("POST", URL, {**ASK, "response_format": form})
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"RIFFdata", content_type)
    assert answer.headers["taximeter-tokens-charged"] == "1.5"
    assert answer.headers["content-length"] == "8"


async def test_a_failure_half_way_is_an_error_and_no_half_file(client: Any, rides: Callable[..., Any]) -> None:
    rides(Media(b"RIFF"), EngineFailed("the voice broke"))
    answer = await client("POST", URL, ASK)
    assert (answer.status, answer.error["code"]) == (502, "engine_failed")


async def test_events_carry_the_audio_and_end_with_usage_and_price(client: Any, rides: Callable[..., Any], spoken: Receipt, metering: Any) -> None:
    rides(Media(b"RIFF"), Media(b"data"), spoken)
    answer = await client("POST", URL, {**ASK, "stream_format": "sse"})
    *deltas, done = answer.events
    assert [(event["type"], base64.b64decode(event["audio"])) for event in deltas] == [
        ("speech.audio.delta", b"RIFF"),
        ("speech.audio.delta", b"data"),
    ]
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": 7, "output_tokens": 40, "total_tokens": 47},
        "taximeter": spoken.extra(),
    }
    assert metering.orders[0].stream
    assert metering.orders[0].request == {"input": "Hello", "voice": "alloy"}


async def test_a_client_that_leaves_closes_the_ride(client: Any, rides: Callable[..., Any]) -> None:
    ride = rides(Media(b"RIFF"), asyncio.Event())
    task = asyncio.create_task(client("POST", URL, ASK))
    asyncio.get_running_loop().call_later(0.01, client.leave)
    async with asyncio.timeout(5):
        await task
    assert ride.closed


async def test_another_stream_format_is_refused(client: Any) -> None:
    answer = await client("POST", URL, {**ASK, "stream_format": "websocket"})
    assert (answer.status, answer.error["param"]) == (400, "stream_format")

"""Embeddings: numbers, base64, and what is refused."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import base64
import struct
from collections.abc import Callable
from typing import Any

import pytest

from taximeter.engines import Vectors
from taximeter.metering import Receipt

pytestmark = pytest.mark.anyio

URL = "/v1/embeddings"
ASK = {"model": "tiny", "input": ["a", "b"]}
FIRST, SECOND = struct.pack("<3f", 0.5, -1.0, 0.1), struct.pack("<3f", 1.0, 2.0, 3.0)


async def test_numbers_are_the_default(client: Any, rides: Callable[..., Any], receipt: Receipt) -> None:
    rides(Vectors([FIRST, SECOND]), receipt)
    answer = await client("POST", URL, ASK)
    assert answer.status == 200
    first, second = answer.json["data"]
    assert (first["object"], first["index"], second["index"]) == ("embedding", 0, 1)
    assert first["embedding"] == pytest.approx([0.5, -1.0, 0.1])
    assert (answer.json["object"], answer.json["model"]) == ("list", "tiny")
    assert answer.json["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    assert answer.json["taximeter"] == receipt.extra()
    assert answer.headers["taximeter-tokens-charged"] == "1.5"


async def test_base64_is_the_engines_bytes(client: Any, rides: Callable[..., Any], receipt: Receipt) -> None:
    rides(Vectors([FIRST]), Vectors([SECOND]), receipt)
    answer = await client("POST", URL, {**ASK, "encoding_format": "base64"})
    assert [base64.b64decode(item["embedding"]) for item in answer.json["data"]] == [FIRST, SECOND]


async def test_the_encoding_does_not_reach_the_engine(client: Any, rides: Callable[..., Any], receipt: Receipt, metering: Any) -> None:
    rides(Vectors([FIRST]), receipt)
    await client("POST", URL, {**ASK, "encoding_format": "base64", "dimensions": 3})
    assert metering.orders[0].request == {"input": ["a", "b"], "dimensions": 3}


async def test_another_encoding_is_refused(client: Any, metering: Any) -> None:
    answer = await client("POST", URL, {**ASK, "encoding_format": "hex"})
    assert (answer.status, answer.error["param"]) == (400, "encoding_format")
    assert metering.orders == []

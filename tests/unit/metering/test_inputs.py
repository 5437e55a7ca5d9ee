"""What is kept of a fare is enough to compute its receipt again."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from taximeter import meters
from taximeter.metering.fares import quote_fare, read_catalog
from taximeter.metering.inputs import fare_fact, read_inputs
from taximeter.pricing import Buyer, Catalog
from taximeter.pricing.tariffs import Multiplier

CATALOG = read_catalog(None, datetime(2026, 12, 1, tzinfo=UTC))
REQUESTS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "a secret"}], "max_tokens": 20, "user": "somebody"},
    "embeddings": {"input": ["a secret"]},
    "speech": {"input": "a secret", "voice": "alloy"},
    "video": {"prompt": "secret"},
}
# What engines of all kinds report, in one.
REPORT = {
    "prompt_tokens": 7, "cached_tokens": 2, "output_tokens": 5, "reasoning_tokens": 1, "inputs": 1, "characters": 8, "phoneme_tokens": 9,
    "audio_frames": 30, "steps": 3, "decode_steps": 12, "prefill_positions": 9, "solver_evaluations": 120, "frames": 5, "passes": 6,
    "width": 640, "height": 360, "activations": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(name for name, entry in CATALOG.models.items() if entry.modality in REQUESTS))
def test_the_meter_finds_all_that_it_needs_in_what_was_kept(name: str) -> None:
    entry = CATALOG.models[name]
    request = dict(REQUESTS[entry.modality])
    if entry.modality == "speech":
        request["voice"] = entry.profile["voices"][0]
    fare = quote_fare(CATALOG, name, request)
    text = msgspec.json.encode(fare_fact(fare)).decode()
    assert "secret" not in text
    assert "somebody" not in text
    inputs = read_inputs(json.loads(text))
    assert inputs is not None
    meter = meters.get(entry.meter)

    def outcome(estimate: meters.Estimate) -> object:
        try:
            return meter.actual(REPORT, estimate, entry.profile)
        except meters.BadReport as error:
            return error.message

    assert outcome(inputs.estimate()) == outcome(fare.estimate)
    assert (inputs.expected_utok, inputs.maximum_utok) == (fare.expected_utok, fare.maximum_utok)
    assert (inputs.model, inputs.currency, inputs.price_nano) == (fare.model_id, fare.money.currency, fare.money.price_nano)


def test_factors_are_kept_when_there_are_any() -> None:
    surge = Multiplier("surge", "Busy hour", "1.25")
    for buyer, expected in ((Buyer(), 0), (Buyer(extra=(surge,)), 1)):
        fare = quote_fare(CATALOG, "sketch-video", REQUESTS["video"], buyer=buyer)
        inputs = read_inputs(json.loads(msgspec.json.encode(fare_fact(fare))))
        assert inputs is not None
        assert len(inputs.factors.fixed) == expected
        assert inputs.factors == fare.parts.factors


def test_an_earlier_releases_fare_is_told_apart() -> None:
    assert read_inputs({"work_expected": {}, "work_max": {}, "expected_utok": 1, "maximum_utok": 1}) is None


def test_the_catalog_has_every_version_by_its_id() -> None:
    assert isinstance(CATALOG, Catalog)
    assert {"sketch-video@1", "sketch-video@2"} <= CATALOG.models_by_id.keys()

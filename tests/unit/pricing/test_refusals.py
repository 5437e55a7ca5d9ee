"""What a catalog must not say is refused with the line that says it."""

from pathlib import Path

import pytest

from taximeter.metering.fares import METERS
from taximeter.pricing import checks
from taximeter.pricing.documents import from_body
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.yaml_source import load_dir, load_text

# Each line has its number, so that a fault can be found.
CATALOG = """kind: rate_card
name: card
version: 1
effective_from: 2026-01-01
lines:
  - {label: Prompt, quantity: fresh_prompt_tokens, tokens: 1}
  - {label: Cached, quantity: cached_prompt_tokens, tokens: 0.1}
  - {label: Answer, quantity: output_tokens, tokens: 5}
  - {label: Reasoning, quantity: reasoning_tokens, tokens: 5}
unpriced: [prompt_tokens, total_tokens]
---
kind: tariff
name: t
version: 1
effective_from: 2026-01-01
prices:
  - {currency: USD, price_per_token: 0.0003}
  - {plan: big, currency: EUR, price_per_token: 0.0002}
multipliers: {base: "1"}
service_tiers: {batch: 0.5, priority: 2}
size_classes: {small: 1, large: 2}
context_bands:
  - {quantity: prompt_tokens, above: 1000, factor: 2}
  - {quantity: prompt_tokens, above: 2000, factor: 3}
committed_volume:
  mode: volume
  tiers:
    - {up_to_tokens: 100, factor: 1}
    - {factor: 0.5}
multiplier_max: 4
---
kind: plan
name: big
version: 1
effective_from: 2026-01-01
allowance_period: month
allowance_tokens: 5
allowance_modality: chat
request_caps: {chat: 4, m: 3}
above_cap: approve
tokens_per_minute: 6
postpaid: true
credit_line_tokens: 7
queue_weight: 2
---
kind: model
name: m
version: 1
effective_from: 2026-01-01
modality: chat
meter: {id: text.tokens/1, tokenizer: bytes, context_tokens: 10, default_output_tokens: 5}
tiers: [standard, batch]
size_class: large
default_card: now
cards: {now: {rate_card: card, tariff: t}}
"""

# What is written instead of what, at which line it is refused, and with which words.
REFUSALS = [
    # missing price
    ("  - {currency: USD, price_per_token: 0.0003}\n", "  - {currency: USD}\n", 17, "price_per_token is missing"),
    ("  - {label: Answer, quantity: output_tokens, tokens: 5}\n", "", 5, "neither prices output_tokens"),
    ("quantity: output_tokens, tokens: 5}", "quantity: output_tokens}", 8, "tokens is missing"),
    # zero price by accident
    ("price_per_token: 0.0003", "price_per_token: 0", 17, "write free: true if that is meant"),
    ("quantity: output_tokens, tokens: 5", "quantity: output_tokens, tokens: 0", 8, "write free: true on the line"),
    ("batch: 0.5", "batch: 0", 20, "the factor of service tier batch must be a decimal above 0"),
    # what a hold counts as something that costs nothing
    (
        "  - {label: Answer, quantity: output_tokens, tokens: 5}\n  - {label: Reasoning, quantity: reasoning_tokens, tokens: 5}\nunpriced: [",
        "  - {label: Reasoning, quantity: reasoning_tokens, tokens: 5}\nunpriced: [output_tokens, ",
        8,
        "prices reasoning_tokens and lists output_tokens as unpriced; a hold of m@1 counts the one as the other",
    ),
    # unit mismatch
    ("quantity: output_tokens,", "quantity: audio_frames,", 8, "prices 'audio_frames', which the meter text.tokens/1 of m@1 does not produce"),
    ("quantity: prompt_tokens, above: 1000", "quantity: promt_tokens, above: 1000", 23, "produces 'promt_tokens', so the band would never count"),
    ("0.0002", "0.00020000001", 18, "at most nine decimals"),
    # wrong currency
    ("currency: USD", "currency: USX", 17, "none by ISO 4217"),
    ("currency: EUR", "currency: euro", 18, "three capital letters"),
    ("plan: big, currency: EUR", "currency: USD", 18, "two prices in USD for every other plan"),
    ("plan: big, currency", "plan: bigger, currency", 18, "there is no plan 'bigger'"),
    # negative weight
    ("quantity: output_tokens, tokens: 5", "quantity: output_tokens, tokens: -5", 8, "tokens must not be negative"),
    ("0.0002", "-0.0002", 18, "price_per_token must not be negative"),
    ('base: "1"', 'base: "-1"', 19, "multiplier base must be a decimal above 0"),
    ("priority: 2", "priority: -2", 20, "above 0"),
    # factors that would not hold
    ('{base: "1"}', '{base: "1", surge: "2"}', 19, "there is no multiplier 'surge'; there is base"),
    ("quantity: prompt_tokens, above: 2000", "quantity: reasoning_tokens, above: 2000", 24, "a hold of m@1 counts reasoning_tokens as output_tokens"),
    ("quantity: prompt_tokens, above: 1000", "quantity: cached_prompt_tokens, above: 1000", 23, "could never be charged"),
    # a line that could not be told from the one of a rounded total
    ("label: Answer", "label: Rounding to whole Tokens", 8, "is what the line of a rounded total is called"),
    ("batch: 0.5", "turbo: 0.5", 20, "there is no service tier 'turbo'"),
    ("above: 2000, factor: 3", "above: 900, factor: 3", 24, "must rise"),
    ("above: 2000, factor: 3", "above: 2000, factor: 1.5", 24, "must not be cheaper than what lies below it"),
    ("above: 1000, factor: 2", "above: 1000, factor: 0.5", 23, "must not be cheaper"),
    ("up_to_tokens: 100, ", "", 28, "up_to_tokens is missing"),
    ("    - {factor: 0.5}", "    - {up_to_tokens: 200, factor: 0.5}", 29, "the last tier has no limit"),
    ("mode: volume", "mode: steps", 26, "one of volume, graduated"),
    ("multiplier_max: 4", "multiplier_max: 0.9", 30, "must be at least 1"),
    ("multiplier_max: 4", "currency: USD", 30, "stands in each of the prices"),
    # what a model offers and nobody prices
    ("tiers: [standard, batch]", "tiers: [standard, flex]", 52, "offers flex, for which the tariff t@1 has no factor"),
    ("tiers: [standard, batch]", "tiers: [batch]", 52, "tiers must hold standard"),
    ("tiers: [standard, batch]", "tiers: [standard, quick]", 52, "there is no service tier 'quick'"),
    ("size_class: large", "size_class: huge", 53, "is of size class huge, for which the tariff t@1 has no factor"),
    # plans that would not do what they say
    ("{chat: 4", "{chats: 4", 39, "'chats' is neither a modality nor a model, so the cap would never count"),
    ("m: 3}", "n: 3}", 39, "'n' is neither a modality nor a model"),
    ("{chat: 4", "{chat: 0.0000001", 39, "at most six decimals"),
    ("allowance_modality: chat", "allowance_modality: talk", 38, "it must be one of chat"),
    ("allowance_period: month\nallowance_tokens: 5\n", "allowance_period: none\n", 37, "says what an allowance is for, and this plan has none"),
    ("above_cap: approve", "above_cap: ask", 40, "it must be one of refuse, approve"),
    ("postpaid: true\n", "", 42, "credit_line_tokens counts for postpaid plans alone"),
    ("queue_weight: 2", "queue_weight: 0", 44, "queue_weight"),
]
NEXT = """---
kind: {kind}
name: {name}
version: 2
effective_from: {day}
{body}"""


def faults(folder: Path, text: str) -> list[str]:
    (folder / "catalog.yaml").write_text(text)
    with pytest.raises(CatalogInvalid) as caught:
        load_dir(folder, METERS)
    return [str(problem) for problem in caught.value.problems]


def test_the_catalog_of_these_tests_is_sound(tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text(CATALOG)
    assert len(load_dir(tmp_path, METERS)) == 4


@pytest.mark.parametrize(("old", "new", "line", "words"), REFUSALS, ids=[f"{line}: {words[:40]}" for _, _, line, words in REFUSALS])
def test_it_is_refused_with_its_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert CATALOG.count(old) == 1
    found = faults(tmp_path, CATALOG.replace(old, new))
    assert [fault for fault in found if fault.startswith(f"catalog.yaml:{line}: ") and words in fault], found


@pytest.mark.parametrize("day", ["2025-12-31", "2026-01-01"])
@pytest.mark.parametrize(
    ("kind", "name", "body"),
    [("plan", "big", "allowance_period: none\n"), ("tariff", "t", "currency: USD\nprice_per_token: 1\nservice_tiers: {batch: 1}\n")],
)
def test_two_versions_must_not_overlap(tmp_path: Path, kind: str, name: str, body: str, day: str) -> None:
    text = CATALOG + NEXT.format(kind=kind, name=name, day=day, body=body)
    line = text[: text.index("version: 2")].count("\n") + 2
    expected = f"catalog.yaml:{line}: {kind} {name}@2 overlaps {name}@1, which comes into force on 2026-01-01; effective_from must be later than that"
    assert expected in faults(tmp_path, text)
    (tmp_path / "catalog.yaml").write_text(text.replace(f"version: 2\neffective_from: {day}", "version: 2\neffective_from: 2026-01-02"))
    assert len(load_dir(tmp_path, METERS)) == 5


def test_what_an_earlier_release_has_published_is_read_and_left_alone() -> None:
    text = CATALOG.replace('{base: "1"}', '{base: "1", surge: "2"}').replace("label: Answer", "label: Rounding to whole Tokens")
    documents = load_text(text.replace("quantity: prompt_tokens, above: 2000", "quantity: reasoning_tokens, above: 2000"))
    stored = [from_body(document.body) for document in documents]
    assert [document.entry for document in stored] == [document.entry for document in documents]
    assert checks.problems(documents, stored, METERS) == []
    assert len(checks.problems(documents, (), METERS)) == 3


def test_a_published_card_that_is_held_for_nothing_stays_and_a_new_model_must_not_name_it() -> None:
    answer = "  - {label: Answer, quantity: output_tokens, tokens: 5}\n"
    cached = "  - {label: Cached, quantity: cached_prompt_tokens, tokens: 0.1}\n"
    text = CATALOG.replace(answer, "").replace(cached, "").replace("unpriced: [", "unpriced: [cached_prompt_tokens, output_tokens, ")
    documents = load_text(text)
    published = [from_body(document.body) for document in documents]
    assert checks.problems(documents, published, METERS) == []
    fresh = load_text(text.replace("kind: model\nname: m\n", "kind: model\nname: m2\n"))
    [problem] = checks.problems(fresh, published, METERS)
    assert "cards.now.rate_card" in fresh[-1].lines
    assert problem.line == fresh[-1].lines["cards.now.rate_card"]
    assert "price output_tokens at least as high" in problem.message

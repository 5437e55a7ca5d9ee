"""Documents: what a catalog may hold."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar

import pytest

from taximeter.pricing.documents import from_body
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.model import ModelEntry, Plan, RateCard, Tariff
from taximeter.pricing.yaml_source import load_text

Kind = TypeVar("Kind", RateCard, Tariff, Plan, ModelEntry)
HEAD = "version: 1\neffective_from: 2026-01-01\n"
CARD = f"kind: rate_card\nname: card\n{HEAD}lines:\n  - {{label: Prompt, quantity: prompt, tokens: 0.5}}\n"
TARIFF = f"kind: tariff\nname: t\n{HEAD}currency: USD\nprice_per_token: 0.0003\n"
PLAN = f"kind: plan\nname: free\n{HEAD}allowance_period: once\nallowance_tokens: 1000\n"
MODEL = f"""kind: model
name: m
{HEAD}modality: chat
engine: {{name: e, model: em}}
meter: {{id: text.tokens/1, tokenizer: bytes, context_tokens: 10, default_output_tokens: 5}}
default_card: a
cards:
  a: {{rate_card: card, tariff: t@1}}
"""


def entry(text: str, kind: type[Kind]) -> Kind:
    (document,) = load_text(text)
    assert isinstance(document.entry, kind)
    return document.entry


def faults(text: str) -> list[str]:
    with pytest.raises(CatalogInvalid) as caught:
        load_text(text, "x.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_a_rate_card_is_read_exactly() -> None:
    card = entry(CARD + "factor: 0.7\nround_to: token\nunpriced: [total]\nnotes: why\n", RateCard)
    assert card.id == "card@1"
    assert card.effective_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert (card.lines[0].terms[0].tokens, card.factor, card.round_to) == (Fraction(1, 2), Fraction(7, 10), "token")
    assert (card.unpriced, card.notes) == (frozenset({"total"}), "why")


def test_a_line_may_have_several_terms_and_a_factor() -> None:
    text = CARD + '  - {label: Two, factor: "0.5", terms: [{quantity: a, tokens: 4, per: "281.6e12"}, {quantity: b, tokens: 4}]}\n'
    line = entry(text, RateCard).lines[1]
    assert line.factor == Fraction(1, 2)
    assert [(term.quantity, term.tokens / term.per) for term in line.terms] == [("a", Fraction(4, 281_600_000_000_000)), ("b", Fraction(4))]


def test_a_tariff_is_read_in_billionths() -> None:
    tariff = entry(TARIFF + "multipliers: {peak: 1.5}\n", Tariff)
    assert tariff.price_nano == 300_000
    assert tariff.multipliers == {"base": Decimal(1), "peak": Decimal("1.5")}


def test_a_plan_is_read_in_micro_tokens() -> None:
    plan = entry(PLAN + "request_tokens_max: 20.5\nconcurrent_max: 4\n", Plan)
    assert (plan.allowance_utok, plan.allowance_period, plan.request_utok_max) == (10**9, "once", 20_500_000)
    assert (plan.concurrent_max, plan.requests_per_minute, plan.postpaid) == (4, None, False)
    assert (plan.request_caps, plan.above_cap, plan.allowance_modality, plan.tokens_per_minute_utok) == ({}, "refuse", None, None)
    assert (plan.credit_line_utok, plan.queue_weight) == (None, 1)


def test_what_a_plan_says_about_caps_credit_and_queues_is_read() -> None:
    text = "request_caps: {video: 20000, big-model: 0.5}\nabove_cap: approve\nallowance_modality: speech\ntokens_per_minute: 6\n"
    plan = entry(PLAN + text + "postpaid: true\ncredit_line_tokens: 7\nqueue_weight: 3\n", Plan)
    assert (plan.request_caps, plan.above_cap) == ({"video": 20_000_000_000, "big-model": 500_000}, "approve")
    assert (plan.allowance_modality, plan.tokens_per_minute_utok, plan.postpaid, plan.credit_line_utok, plan.queue_weight) == (
        "speech", 6_000_000, True, 7_000_000, 3,
    )  # fmt: skip


def test_a_model_keeps_its_profile_and_cards() -> None:
    model = entry(MODEL, ModelEntry)
    assert (model.engine, model.engine_model, model.meter) == ("e", "em", "text.tokens/1")
    assert model.profile == {"tokenizer": "bytes", "context_tokens": 10, "default_output_tokens": 5}
    assert (model.cards["a"].rate_card, model.cards["a"].tariff, model.default_card) == ("card", "t@1", "a")


def test_a_model_without_an_engine_is_only_quoted() -> None:
    assert entry(MODEL.replace("engine: {name: e, model: em}\n", ""), ModelEntry).engine is None


def test_a_time_needs_its_zone_and_a_date_is_midnight_utc() -> None:
    assert entry(CARD.replace("2026-01-01", "2026-01-31T12:00:00+02:00"), RateCard).effective_from == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert "effective_from must be a date" in faults(CARD.replace("2026-01-01", "2026-01-31T12:00:00"))[0]


def test_stored_text_gives_the_same_document_back() -> None:
    for text in (CARD, TARIFF, PLAN, MODEL):
        (document,) = load_text(text)
        again = from_body(document.body)
        assert (again.entry, again.body, again.sha256) == (document.entry, document.body, document.sha256)


def test_the_order_of_keys_and_the_way_numbers_are_written_do_not_matter() -> None:
    (one,) = load_text(CARD)
    (two,) = load_text(
        "version: 1\nlines:\n  - {tokens: 0.50, quantity: prompt, label: 'Prompt'}\nname: 'card'\neffective_from: 2026-01-01\nkind: rate_card\n"
    )
    assert one.sha256 == two.sha256


def test_unreadable_stored_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="kind"):
        from_body("{}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (CARD.replace("kind: rate_card", "kind: ratecard"), "x.yaml:1: kind is 'ratecard'; it must be one of model, rate_card, tariff, plan; did"),
        (CARD.replace("name: card\n", ""), "x.yaml:1: name is missing"),
        (CARD.replace("name: card", "name: Big Card"), "x.yaml:2: name must be lower-case"),
        (CARD.replace("version: 1", "version: 0"), "x.yaml:3: version must be a whole number from 1"),
        (CARD.replace("version: 1", "version: true"), "x.yaml:3: version must be a whole number"),
        (CARD.replace("2026-01-01", "soon"), "x.yaml:4: effective_from must be a date"),
        (CARD.replace("2026-01-01", "0001-01-01T00:00:00+14:00"), "x.yaml:4: effective_from must be a date"),
        (CARD.replace("2026-01-01", "9999-12-31T23:59:59-01:00"), "x.yaml:4: effective_from must be a date"),
        (CARD + "unprised: [a]\n", "x.yaml:7: unknown key 'unprised'; did you mean 'unpriced'?"),
        (CARD.replace("tokens: 0.5", "tokens: -0.5"), "x.yaml:6: tokens must not be negative"),
        (CARD.replace("tokens: 0.5", "tokens: 0"), "x.yaml:6: tokens is 0; write free: true"),
        (CARD.replace("tokens: 0.5", "tokens: .nan"), "x.yaml:6: '.nan' is not a number that can be used here"),
        (CARD.replace("tokens: 0.5", "tokens: nan"), "x.yaml:6: tokens must be a decimal number"),
        (CARD.replace("tokens: 0.5", "tokens: '1e99'"), "x.yaml:6: tokens must be a decimal number"),
        (CARD.replace("tokens: 0.5", "tokens: yes"), "x.yaml:6: tokens must be a decimal number"),
        (CARD.replace("tokens: 0.5", "tokens: 1, per: 0"), "x.yaml:6: per must be above 0"),
        (CARD.replace("quantity: prompt, ", ""), "x.yaml:6: quantity is missing"),
        (CARD.replace("label: Prompt", "label: ''"), "x.yaml:6: label must be a text"),
        (CARD + "  - {label: Prompt, quantity: b, tokens: 1}\n", "x.yaml:5: the label 'Prompt' stands twice"),
        (CARD + "  - {label: Two, terms: []}\n", "x.yaml:7: terms must hold 1 to 50 terms"),
        (CARD + "unpriced: [prompt]\n", "x.yaml:7: prompt is priced and listed as unpriced"),
        (CARD + "unpriced: prompt\n", "x.yaml:7: unpriced must be a list"),
        (CARD + "factor: 0\n", "x.yaml:7: factor must be above 0"),
        (CARD + "round_to: cent\n", "x.yaml:7: round_to is 'cent'; it must be one of micro_token, token"),
        (CARD[: CARD.index("  - ")], "x.yaml:5: lines must be a list"),
        (TARIFF.replace("USD", "usd"), "x.yaml:5: currency must be a code of three capital letters"),
        (TARIFF.replace("0.0003", "0"), "x.yaml:6: price_per_token is 0; write free: true"),
        (TARIFF.replace("0.0003", "-1"), "x.yaml:6: price_per_token must not be negative"),
        (TARIFF.replace("0.0003", "0.0000000001"), "x.yaml:6: price_per_token must have at most nine decimals"),
        (TARIFF + "multipliers: {peak: 0}\n", "x.yaml:7: multiplier peak must be a decimal above 0"),
        (PLAN.replace("once", "daily"), "x.yaml:5: allowance_period is 'daily'"),
        (PLAN.replace("allowance_tokens: 1000\n", ""), "x.yaml:1: allowance_tokens is missing"),
        (PLAN.replace("1000", "0.0000001"), "x.yaml:6: allowance_tokens must be a number of Tokens with at most six decimals"),
        (PLAN + "concurrent_max: 0\n", "x.yaml:7: concurrent_max must be a whole number from 1"),
        (PLAN + "postpaid: 1\n", "x.yaml:7: postpaid must be true or false"),
        (MODEL.replace("modality: chat", "modality: smell"), "x.yaml:5: modality is 'smell'"),
        (MODEL.replace("id: text.tokens/1, ", ""), "x.yaml:7: meter must have an id"),
        (MODEL.replace("default_card: a", "default_card: b"), "x.yaml:8: default_card is 'b', which is not among the cards (a)"),
        (MODEL.replace("rate_card: card", "rate_card: card@x"), "x.yaml:10: rate_card must be a name, or a name and version"),
        (MODEL.replace("  a: {rate_card: card, tariff: t@1}\n", "").replace("cards:", "cards: {}"), "x.yaml:9: cards must hold at least one card"),
        (MODEL.replace("engine: {name: e, model: em}", "engine: e"), "x.yaml:6: this must be a mapping"),
        ("- a\n- b\n", "x.yaml:1: this must be a mapping"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_file_and_line(text: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults(text)), faults(text)


def test_free_is_allowed_when_it_is_said() -> None:
    assert entry(CARD.replace("tokens: 0.5", "tokens: 0, free: true"), RateCard).lines[0].terms[0].tokens == 0
    assert entry(TARIFF.replace("0.0003", "0") + "free: true\n", Tariff).price_nano == 0


def test_every_fault_is_told_at_once() -> None:
    text = CARD.replace("version: 1", "version: x").replace("tokens: 0.5", "tokens: -1, colour: red") + "---\n" + TARIFF.replace("USD", "dollars")
    assert len(faults(text)) == 4


BORNE = """kind: rate_card
name: bearing
version: 1
effective_from: 2026-01-01
lines:
  - {label: Steps, quantity: decode_steps, tokens: 1}
  - {label: Thrown away, quantity: retried_steps, tokens: 1, borne: true}
"""


def test_a_line_can_be_borne_but_not_all_of_them_and_not_where_totals_are_rounded() -> None:
    [document] = load_text(BORNE)
    card = document.entry
    assert isinstance(card, RateCard)
    assert card.bears
    assert [line.borne for line in card.lines] == [False, True]
    assert from_body(document.body).entry == card
    with pytest.raises(CatalogInvalid, match=r"catalog.yaml:5: every line is borne, so nothing would ever be charged"):
        load_text(BORNE.replace("  - {label: Steps, quantity: decode_steps, tokens: 1}\n", ""))
    with pytest.raises(CatalogInvalid, match=r"round_to must be micro_token where a line is borne"):
        load_text(BORNE + "round_to: token\n")

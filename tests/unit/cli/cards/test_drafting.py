"""From what a model's files say and a GPU profile to a catalog file."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.cli.cards import drafting
from taximeter.cli.cards.published import builtin_documents, check_text
from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.metering.fares import quote_fare
from taximeter.meters.draft import Cost, Draft
from taximeter.pricing import ModelEntry, RateCard
from taximeter.pricing.gpus import Gpu, GpuPrice, builtin_gpus, find_gpu
from taximeter.pricing.model import Document
from taximeter.pricing.store import snapshot

BUILTIN = builtin_documents()
NOW = utc_from_ms(SystemClock().now_ms())
H100 = builtin_gpus()["H100"]
WAN = snapshot(BUILTIN, NOW).models["wan2.2-t2v-a14b"]
GIGA = 10**9


def draft_of(*costs: Cost, model: ModelEntry = WAN, resident_bytes: int = 57_153_966_336, assumptions: tuple[str, ...] = ()) -> Draft:
    """A draft whose model is a built-in one, and whose card prices these quantities and no others."""
    card = snapshot(BUILTIN, NOW).priced(model.name).card
    priced = {cost.quantity for cost in costs}
    return Draft(
        family="Wan",
        modality=model.modality,
        meter=model.meter,
        profile=model.profile,
        costs=costs,
        unpriced=tuple(sorted(card.known - priced)),
        resident_bytes=resident_bytes,
        assumptions=assumptions,
    )


FLOPS = (
    Cost(quantity="linear_flop", label="Linear work", linear_flop=1),
    Cost(quantity="attention_flop", label="Attention", attention_flop=1),
)


def plan_for(gpu: Gpu, price: GpuPrice | None = None, name: str = "my-wan") -> drafting.Plan:
    paid = price or gpu.price
    assert paid is not None
    assert H100.price is not None
    return drafting.Plan(name=name, gpu=gpu, price=paid, reference=H100.price, tariff="standard", effective_from="2026-01-02")


def published(draft: Draft, plan: drafting.Plan) -> tuple[str, ModelEntry, RateCard]:
    text = drafting.draft_text(draft, plan)
    documents: tuple[Document, ...] = check_text(text, "draft.yaml", BUILTIN)
    model, card = (document.entry for document in documents)
    assert isinstance(model, ModelEntry)
    assert isinstance(card, RateCard)
    return text, model, card


@pytest.mark.parametrize("name", ["A100", "H100", "H200", "RTX4090"])
def test_a_draft_can_be_applied_beside_the_built_in_catalog(name: str) -> None:
    _, model, card = published(draft_of(*FLOPS), plan_for(find_gpu(name)))
    assert (model.engine, model.default_card, model.cards["indicative"].rate_card) == (None, "indicative", card.name)
    assert card.name == f"my-wan-{name.lower()}"


def test_on_the_reference_gpu_a_draft_prices_as_the_built_in_card_does() -> None:
    documents = check_text(drafting.draft_text(draft_of(*FLOPS), plan_for(H100)), "draft.yaml", BUILTIN)
    catalog = snapshot([*BUILTIN, *documents], NOW)
    request = {"prompt": "x", "size": "1280x720", "frames": 81, "steps": 40}
    drafted, built_in = (quote_fare(catalog, name, request).parts.expected for name in ("my-wan", WAN.name))
    # The draft has a line more, so it is rounded once more.
    assert drafted.exact == built_in.exact
    assert abs(drafted.total_utok - 4_166_110_792) <= 1


def test_half_the_price_is_half_the_tokens_and_a_rate_per_operation_is_exact() -> None:
    _, _, dear = published(draft_of(*FLOPS), plan_for(H100))
    _, _, cheap = published(draft_of(*FLOPS), plan_for(H100, GpuPrice(per_hour=Fraction(5, 4), currency="USD")))
    assert dear.tokens_per_unit("linear_flop") == Fraction(4 * 10, 2816 * 10**12)
    assert cheap.tokens_per_unit("linear_flop") == Fraction(2 * 10, 2816 * 10**12)


def test_a_price_that_is_a_third_of_another_makes_exact_rates_too() -> None:
    plan = drafting.Plan("my-wan", H100, GpuPrice(Fraction(7, 10), "EUR"), GpuPrice(Fraction(21, 10), "EUR"), "standard", "2026-01-02")
    text, _, card = published(draft_of(*FLOPS), plan)
    assert "tokens: '4', per: 844.8e12" in text
    assert card.tokens_per_unit("linear_flop") == Fraction(4, 3) / H100.linear_flop_s
    assert card.tokens_per_unit("attention_flop") == Fraction(4, 3) / H100.attention_flop_s
    assert "0.70 EUR an hour, the reference GPU (H100) 2.10: a second of it is 4/3 Tokens." in card.notes
    assert "ounded to" not in card.notes


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_what_is_not_exact_is_named_as_rounded(paid: int, usual: int) -> None:
    plan = drafting.Plan("x", H100, GpuPrice(Fraction(paid, 10**6), "USD"), GpuPrice(Fraction(usual, 10**6), "USD"), "standard", "2026-01-02")
    notes = " ".join(drafting.card_sentences(draft_of(*FLOPS), plan))
    for cost in FLOPS:
        term = drafting.rate(cost, plan)
        exact = Fraction(term["tokens"]) / Fraction(term.get("per", "1")) == drafting.tokens_per_unit(cost, plan)
        assert exact or f"Rounded to 6 significant digits: the rates of {FLOPS[0].label}, {FLOPS[1].label}." in notes


def test_a_price_has_the_decimals_of_its_currency() -> None:
    assert [drafting.money(Fraction(250), currency) for currency in ("JPY", "USD", "KWD")] == ["250", "250.00", "250.000"]
    assert drafting.money(Fraction("2.123456"), "JPY") == "2.123456"


def test_a_unit_takes_the_longer_of_computing_and_moving() -> None:
    computing = Cost(quantity="passes", label="Computing", linear_flop=2816 * 10**11, bytes_moved=1)
    moving = Cost(quantity="frames", label="Moving", linear_flop=1, bytes_moved=3350 * GIGA)
    text, _, card = published(draft_of(computing, moving), plan_for(H100))
    assert card.tokens_per_unit("passes") == 4
    assert card.tokens_per_unit("frames") == 4
    assert "Bound by memory: Moving." in " ".join(text.split())
    assert "Rounded to 6 significant digits: the rates of Computing, Moving." in " ".join(text.split())


def test_a_byte_costs_the_bandwidths_exact_quotient() -> None:
    text, _, card = published(draft_of(Cost(quantity="frames", label="Memory", bytes_moved=1)), plan_for(H100))
    assert "tokens: '4', per: 3.35e12" in text
    assert card.tokens_per_unit("frames") == Fraction(4, 3350 * GIGA)


def test_a_quantity_that_costs_nothing_is_listed_as_unpriced() -> None:
    _, _, card = published(draft_of(*FLOPS, Cost(quantity="frames", label="Nothing")), plan_for(H100))
    assert "frames" in card.unpriced
    assert [line.label for line in card.lines] == ["Linear work", "Attention"]


def test_every_assumption_stands_in_the_notes_and_an_unmeasured_gpu_says_so() -> None:
    said = ("Frames are made 4 at a time.", "The text is padded to 512 positions.")
    _, model, card = published(draft_of(*FLOPS, assumptions=said), plan_for(find_gpu("H200")))
    assert all(sentence in model.notes for sentence in said)
    assert "no engine runs it here" in model.notes
    assert card.notes.startswith("Indicative. Nobody has measured the H200")
    assert "the rates are those of the H100" in card.notes
    assert "989.4 TFLOP/s, is a bound that no program reaches" in card.notes
    assert card.basis == "indicative"
    # The same work as on the reference GPU, at another price.
    _, _, reference = published(draft_of(*FLOPS, assumptions=said), plan_for(H100))
    assert card.tokens_per_unit("linear_flop") == reference.tokens_per_unit("linear_flop") * Fraction(4, 1) / Fraction(5, 2)
    assert "4.00 USD an hour (2026-05-01), the reference GPU (H100) 2.50" in card.notes


def test_a_calibrated_gpu_makes_a_calibrated_card() -> None:
    values = {name: getattr(H100, name) for name in Gpu.__dataclass_fields__}
    _, model, card = published(draft_of(*FLOPS), plan_for(Gpu(**{**values, "status": "calibrated"})))
    assert model.default_card == card.basis == "calibrated"
    assert card.notes.startswith("Calibrated. The rates of the H100 were fitted to runs of our own.")


@pytest.mark.parametrize(
    ("resident_bytes", "gpu", "said"),
    [
        (57_153_966_336, "H100", "The weights take 57.2 GB of the 80 GB of one H100; 22.8 GB are left"),
        (57_153_966_336, "RTX4090", "do not fit into the 24 GB of one RTX4090: it takes 3 of them"),
        (80 * GIGA, "H100", "0 GB are left"),
        (80 * GIGA + 1, "H100", "it takes 2 of them"),
        (0, "H100", "do not say how much memory"),
    ],
)
def test_the_notes_say_whether_the_weights_fit(resident_bytes: int, gpu: str, said: str) -> None:
    assert said in drafting.residency(resident_bytes, find_gpu(gpu))


def test_notes_that_are_too_long_end_with_a_whole_sentence() -> None:
    _, model, _ = published(draft_of(*FLOPS, assumptions=("A sentence of some words.",) * 300), plan_for(H100))
    assert model.notes.endswith("A sentence of some words. The rest is left out here.")


@given(st.fractions(min_value=Fraction(1, 10**12), max_value=10**12))
def test_a_rounded_rate_has_six_digits_and_lies_within_half_of_the_last(value: Fraction) -> None:
    rounded = drafting.rounded(value)
    assert abs(rounded / value - 1) <= Fraction(1, 2 * 10**5)
    assert drafting.rounded(rounded) == rounded


def test_numbers_with_a_fraction_in_a_profile_never_become_floats() -> None:
    text = drafting.draft_text(
        Draft(family="F", modality="video", meter="m/1", profile={"scale": 0.1, "parts": ({"a": 1e-07},)}, costs=FLOPS, unpriced=()), plan_for(H100)
    )
    assert "scale: '0.1'" in text
    assert "a: '0.0000001'" in text

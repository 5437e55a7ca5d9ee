"""References, units and prices that a hold could not cover."""

from pathlib import Path

import pytest

from taximeter.metering.fares import METERS
from taximeter.meters import IDS
from taximeter.pricing.checks import MODALITIES
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.yaml_source import load_dir, load_text

HEAD = "version: 1\neffective_from: 2026-01-01\n"
TARIFF = f"kind: tariff\nname: t\n{HEAD}currency: USD\nprice_per_token: 0.0003\n"
CARD = f"""kind: rate_card
name: card
{HEAD}lines:
  - {{label: Fresh, quantity: fresh_prompt_tokens, tokens: 1}}
  - {{label: Cached, quantity: cached_prompt_tokens, tokens: 0.1}}
  - {{label: Answer, quantity: output_tokens, tokens: 5}}
  - {{label: Reasoning, quantity: reasoning_tokens, tokens: 5}}
unpriced: [prompt_tokens, total_tokens]
"""
MODEL = f"""kind: model
name: m
{HEAD}modality: chat
meter:
  id: text.tokens/1
  tokenizer: bytes
  context_tokens: 10
  default_output_tokens: 5
default_card: a
cards:
  a:
    rate_card: card
    tariff: t
"""


def load(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    try:
        load_dir(folder, METERS)
    except CatalogInvalid as error:
        return [str(problem) for problem in error.problems]
    return []


def test_a_sound_catalog_has_no_faults(tmp_path: Path) -> None:
    assert load(tmp_path, card=CARD, model=MODEL, tariff=TARIFF) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("model", "rate_card: card", "rate_card: cart"), "model.yaml:14: there is no rate card 'cart'"),
        (("model", "tariff: t", "tariff: t@2"), "model.yaml:15: there is no tariff 't@2'"),
        (("model", "text.tokens/1", "text.tokens/9"), "model.yaml:7: there is no meter 'text.tokens/9'"),
        (("model", "tokenizer: bytes", "tokenizer: abacus"), "model.yaml:8: tokenizer: unknown tokenizer 'abacus'"),
        (("model", "modality: chat", "modality: speech"), "model.yaml:7: the meter text.tokens/1 measures chat, and modality is speech"),
        (("model", "modality: chat", "modality: other"), "model.yaml:7: the meter text.tokens/1 measures chat, and modality is other"),
        (("model", "context_tokens: 10", "context_tokens: '10'"), "model.yaml:9: context_tokens: Expected `int`, got `str`"),
        (("model", "  context_tokens: 10\n", ""), "model.yaml:6: context_tokens: "),
        (("card", "quantity: output_tokens", "quantity: outptu_tokens"), "card.yaml:8: card card@1 prices 'outptu_tokens', which the meter"),
        (
            ("card", "unpriced: [prompt_tokens, total_tokens]", "unpriced: [prompt_tokens]"),
            "card.yaml:5: card card@1 neither prices total_tokens",
        ),
        (
            ("card", "cached_prompt_tokens, tokens: 0.1", "cached_prompt_tokens, tokens: 2"),
            "card.yaml:7: card card@1 prices cached_prompt_tokens above",
        ),
    ],
)
def test_what_does_not_fit_together_is_told_where_it_stands(change: tuple[str, str, str], fault: str, tmp_path: Path) -> None:
    texts = {"card": CARD, "model": MODEL, "tariff": TARIFF}
    name, old, new = change
    assert old in texts[name]
    found = load(tmp_path, **{**texts, name: texts[name].replace(old, new)})
    assert any(each.startswith(fault) for each in found), found


def test_a_fault_of_a_card_is_told_once_however_many_models_use_it(tmp_path: Path) -> None:
    card = CARD.replace("cached_prompt_tokens, tokens: 0.1", "cached_prompt_tokens, tokens: 2")
    found = load(tmp_path, card=card, model=MODEL, more=MODEL.replace("name: m", "name: n"), tariff=TARIFF)
    assert found == [
        "card.yaml:7: card card@1 prices cached_prompt_tokens above fresh_prompt_tokens; a hold counts the one as the other, so it could be exceeded"
    ]


def test_a_tariff_that_lacks_a_tier_of_many_models_is_told_once(tmp_path: Path) -> None:
    models = "---\n".join(MODEL.replace("name: m", f"name: m{number}") + "tiers: [standard, batch]\n" for number in range(5))
    existing = load_text(CARD + "---\n" + TARIFF + "service_tiers: {batch: 0.5}\n---\n" + models)
    (tmp_path / "t.yaml").write_text("# The next one\n" + TARIFF.replace("version: 1", "version: 2").replace("2026-01-01", "2026-02-01"))
    with pytest.raises(CatalogInvalid) as caught:
        load_dir(tmp_path, METERS, existing)
    assert str(caught.value) == "t.yaml:2: the tariff t@2 has no factor under service_tiers for batch, which m0@1, m1@1, m2@1 and 2 more offer"


def test_every_meter_of_ours_is_named_after_a_modality() -> None:
    assert {meter.partition(".")[0] for meter in IDS} == set(MODALITIES)


def test_a_document_may_refer_to_what_is_published_already(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(MODEL)
    existing = load_text(CARD + "---\n" + TARIFF)
    assert len(load_dir(tmp_path, METERS, existing)) == 1
    with pytest.raises(CatalogInvalid):
        load_dir(tmp_path, METERS)


def test_a_new_card_is_checked_against_the_models_that_use_it(tmp_path: Path) -> None:
    (tmp_path / "card.yaml").write_text(CARD.replace("version: 1", "version: 2").replace("[prompt_tokens, total_tokens]", "[]"))
    with pytest.raises(CatalogInvalid, match=r"card card@2 neither prices prompt_tokens, total_tokens"):
        load_dir(tmp_path, METERS, load_text(CARD + "---\n" + TARIFF + "---\n" + MODEL))

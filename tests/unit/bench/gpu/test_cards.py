"""Cards: calibrated only when everything allows it, and valid in the catalog."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.gpu.cards import NotAccepted, draft
from bench.gpu.scales import TINY, Scale
from bench.gpu.verdict import judge
from taximeter.metering.fares import METERS, quote_fare
from taximeter.pricing import Catalog, builtin_dir, read_dir
from tests.support.gpu_journal import DERATE, RATES, Pretended

DAY = "2026-11-21"
# Profiles of the built-in models whose cards the drafts may take the place of.
PROFILES = {"wan2.2": ("wan2.2-t2v-a14b",), "voxcpm": ("voxcpm-0.5b", "voxcpm-1.5"), "language": ("llama-3.1-8b", "smollm2-135m")}
RESULTS = Path(__file__).parents[4] / "bench" / "gpu" / "results"


def documents(text: str) -> dict[str, Any]:
    return {document["name"]: document for document in yaml.safe_load_all(text)}


def test_accepted_results_become_calibrated_cards_with_their_origin(pretended: Pretended) -> None:
    report = judge(pretended.run().journal)
    cards = documents(draft(report, 1.0, DAY, wanted="calibrated"))
    voices = {f"calibrated-h200-voxcpm-{size}-{mode}" for size in ("0.5b", "1.5") for mode in ("eager", "graph")}
    assert set(cards) == {"calibrated-h200-wan2.2-t2v-a14b", "calibrated-h200-language-8b"} | voices
    video = cards["calibrated-h200-wan2.2-t2v-a14b"]
    rates = {line["quantity"]: float(line["per"]) / float(line["tokens"]) * 4 for line in video["lines"]}
    assert rates["attention_flop"] == pytest.approx(1e12 / RATES["video"]["attention_tflop"] / DERATE, rel=0.1)
    assert rates["vae_flop"] == pytest.approx(1e12 / RATES["video"]["vae_fp32_tflop"] / DERATE, rel=0.1)
    assert {line["quantity"] for line in video["lines"]}.isdisjoint(video["unpriced"])
    for said in ("Calibrated", "2026-11-21", "NVIDIA H200", "MAPE", report["families"]["video"]["registration"]["sha256"]):
        assert said in video["notes"]


def published(cards: str, folder: Path) -> Catalog:
    """The built-in catalog with the cards and, for each, the next version of every model that it is for, which names it."""
    when = datetime(2027, 1, 1, tzinfo=UTC)
    models = [yaml.safe_load_all(file.read_text(encoding="utf-8")) for file in builtin_dir().glob("*.yaml")]
    # The last version stands last.
    newest = {document["name"]: document for file in models for document in file if document["kind"] == "model"}
    texts = [cards]
    for name in documents(cards):
        family = next(family for family in PROFILES if family in name)
        for model in PROFILES[family]:
            entry = newest[model] | {"name": f"{model}.{name}", "version": 1, "effective_from": DAY, "default_card": "drafted"}
            texts.append(yaml.safe_dump(entry | {"cards": {"drafted": {"rate_card": name, "tariff": "standard"}}}))
    shutil.copytree(builtin_dir(), folder)
    (folder / "90-drafted.yaml").write_text("---\n".join(texts), encoding="utf-8")
    return read_dir(folder, when, METERS)


def test_calibrated_cards_are_valid_in_the_catalog_for_the_newest_versions_of_the_models(pretended: Pretended, tmp_path: Path) -> None:
    cards = draft(judge(pretended.run().journal), 0.9, DAY)
    catalog = published(cards, tmp_path / "catalog")
    meters = {model.meter for name, model in catalog.models.items() if "calibrated-h200" in name}
    assert meters == {"video.dit/2", "speech.steps/2", "text.flops/1", "text.tokens/2"}
    wanted = {f"voxcpm-1.5.calibrated-h200-voxcpm-1.5-{mode}" for mode in ("eager", "graph")}
    assert wanted <= set(catalog.models)


def test_a_card_with_a_rate_of_nothing_is_valid_too(pretended: Pretended, tmp_path: Path) -> None:
    report = judge(pretended.run().journal)
    for fitted in report["families"]["speech"]["models"].values():
        fitted["rates_s"]["steps"] = 0.0
    report["families"]["video"]["models"]["video"]["rates_s"]["blocks"] = 0.0
    cards = draft(report, 1.0, DAY)
    assert all("decode_steps" in card["unpriced"] for name, card in documents(cards).items() if "voxcpm" in name)
    assert published(cards, tmp_path / "catalog").models


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/cards.yaml")), ids=lambda path: path.parent.name)
def test_the_cards_beside_every_published_result_are_valid_in_the_catalog(path: Path, tmp_path: Path) -> None:
    cards = path.read_text(encoding="utf-8")
    models = published(cards, tmp_path / "catalog").models
    assert all(any(model.endswith(f".{name}") for model in models) for name in documents(cards))


def test_every_drafted_card_prices_a_request_of_the_models_it_is_for(pretended: Pretended, tmp_path: Path) -> None:
    catalog = published(draft(judge(pretended.run().journal), 1.0, DAY), tmp_path / "catalog")
    requests: dict[str, dict[str, Any]] = {
        "speech": {"input": "Good morning, and welcome aboard.", "voice": "alloy"},
        "chat": {"messages": [{"role": "user", "content": "What is a Taximeter?"}]},
        "video": {"prompt": "a yellow cab at night"},
    }
    drafted = [(name, model.modality) for name, model in catalog.models.items() if "calibrated-h200" in name]
    for name, modality in drafted:
        assert quote_fare(catalog, name, {"model": name, **requests[modality]}).expected_utok > 0, name


def test_an_hour_that_costs_more_makes_every_line_dearer(pretended: Pretended) -> None:
    report = judge(pretended.run().journal)
    cheap, dear = (documents(draft(report, ratio, DAY)) for ratio in (1.0, 1.5))
    for name, card in cheap.items():
        for line, other in zip(card["lines"], dear[name]["lines"], strict=True):
            assert float(other["tokens"]) == 1.5 * float(line["tokens"])


@pytest.mark.parametrize(
    ("device", "wrong", "only", "because"),
    [("cpu", 1.0, "", "processor"), ("NVIDIA H200", 1.2, "", "MAPE"), ("NVIDIA H200", 1.0, "A", "cells have not run")],
)
def test_what_may_not_be_called_calibrated_is_refused_and_else_indicative(
    full: Scale, tmp_path: Path, device: str, wrong: float, only: str, because: str
) -> None:
    report = judge(Pretended(tmp_path, full, device, wrong).run(only=only).journal)
    with pytest.raises(NotAccepted, match=because):
        draft(report, 1.0, DAY, wanted="calibrated")
    cards = documents(draft(report, 1.0, DAY))
    assert cards
    assert all(name.startswith("indicative-") for name in cards)
    assert all(card["notes"].startswith("Indicative.") for card in cards.values())


def test_tiny_dimensions_never_make_a_calibrated_card(tmp_path: Path) -> None:
    report = judge(Pretended(tmp_path, TINY).run().journal)
    with pytest.raises(NotAccepted, match="dimensions were tiny"):
        draft(report, 1.0, DAY, wanted="calibrated")
    assert all(name.startswith("indicative-h200-tiny-") for name in documents(draft(report, 1.0, DAY)))

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
from taximeter.pricing import builtin_dir, read_dir
from tests.support.gpu_journal import DERATE, RATES, Pretended

DAY = "2026-11-21"
MODELS = """
kind: model
name: spoken
version: 1
effective_from: 2026-01-01
title: Spoken
modality: speech
meter: {id: speech.steps/1, voices: [alloy]}
default_card: drafted
cards:
  drafted: {rate_card: calibrated-h200-voxcpm-1.5-graph, tariff: standard}
---
kind: model
name: written
version: 1
effective_from: 2026-01-01
title: Written
modality: chat
meter: {id: text.tokens/1, tokenizer: smollm2, context_tokens: 4096, default_output_tokens: 512}
default_card: drafted
cards:
  drafted: {rate_card: calibrated-h200-language-8b, tariff: standard}
"""


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


def test_calibrated_cards_are_valid_in_the_catalog(pretended: Pretended, tmp_path: Path) -> None:
    cards = draft(judge(pretended.run().journal), 0.9, DAY)
    folder = tmp_path / "catalog"
    shutil.copytree(builtin_dir(), folder)
    (folder / "90-drafted.yaml").write_text(f"{cards}---{MODELS}", encoding="utf-8")
    catalog = read_dir(folder, datetime(2026, 12, 1, tzinfo=UTC))
    assert {"spoken", "written"} <= set(catalog.models)


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

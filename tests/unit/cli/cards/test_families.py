"""``taximeter cards new`` on the published configurations of real models, of every family."""

import json
from pathlib import Path
from typing import Any

import pytest

from taximeter.cli import main
from taximeter.cli.cards import families
from taximeter.cli.cards.published import builtin_documents, check_text
from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest
from taximeter.metering.fares import quote_fare
from taximeter.pricing import Catalog
from taximeter.pricing.store import snapshot

CONFIGS = Path(__file__).parents[3] / "vectors" / "configs"
FILMS = sorted(folder.name for folder in CONFIGS.iterdir() if (folder / "model_index.json").exists())
LLAMA_3_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
VOXCPM_1_5 = {
    "architecture": "voxcpm",
    "lm_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "num_hidden_layers": 24,
        "vocab_size": 73448,
    },
    "patch_size": 4,
    "feat_dim": 64,
    "residual_lm_num_layers": 8,
    "encoder_config": {"hidden_dim": 1024, "ffn_dim": 4096, "num_heads": 16, "num_layers": 8},
    "dit_config": {"hidden_dim": 1024, "ffn_dim": 4096, "num_heads": 16, "num_layers": 8, "cfm_config": {}},
    "audio_vae_config": {
        "encoder_dim": 64,
        "encoder_rates": [2, 3, 6, 7, 7],
        "latent_dim": 64,
        "decoder_dim": 2048,
        "decoder_rates": [7, 7, 6, 3, 2],
        "sample_rate": 44100,
    },
    "max_length": 4096,
}
REQUESTS: dict[str, dict[str, Any]] = {
    "video": {"prompt": "a red sun"},
    "chat": {"messages": [{"role": "user", "content": "Hello"}]},
    "speech": {"input": "Hello there.", "voice": "default"},
}


def drafted(folder: Path, gpu: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, Catalog]:
    """What the command prints, and the built-in catalog with it."""
    assert main(["cards", "new", "--from-config", str(folder), "--gpu", gpu, "--name", "drafted"]) == 0
    text = capsys.readouterr().out
    builtin = builtin_documents()
    documents = check_text(text, "draft.yaml", builtin)
    return text, snapshot([*builtin, *documents], utc_from_ms(SystemClock().now_ms()))


def one_file(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", FILMS)
def test_the_configuration_of_a_film_model_gives_a_card_that_quotes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, catalog = drafted(CONFIGS / name, "H100", capsys)
    assert quote_fare(catalog, "drafted", REQUESTS["video"]).expected_utok > 0
    assert "The weights take" in text


def test_a_draft_of_wan_for_the_reference_gpu_prices_as_the_built_in_card(capsys: pytest.CaptureFixture[str]) -> None:
    _, catalog = drafted(CONFIGS / "wan2.2-t2v-a14b", "H100", capsys)
    request = {"prompt": "x", "size": "1280x720", "frames": 81, "steps": 40}
    mine, built_in = (quote_fare(catalog, name, request).parts.expected for name in ("drafted", "wan2.2-t2v-a14b"))
    # The built-in card is for the reference code, which embeds the time for every token; diffusers does so once.
    assert 0 <= built_in.total_utok / mine.total_utok - 1 < 0.01


@pytest.mark.parametrize(("modality", "config"), [("chat", LLAMA_3_8B), ("speech", VOXCPM_1_5)])
@pytest.mark.parametrize("gpu", ["H100", "H200", "RTX4090"])
def test_one_configuration_file_is_enough(
    modality: str, config: dict[str, Any], gpu: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, catalog = drafted(one_file(tmp_path, config), gpu, capsys)
    assert catalog.models["drafted"].modality == modality
    assert quote_fare(catalog, "drafted", REQUESTS[modality]).expected_utok > 0
    assert "Bound by memory: " in " ".join(text.split())


def test_a_model_that_is_larger_than_the_gpu_says_how_many_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, _ = drafted(one_file(tmp_path, {**LLAMA_3_8B, "num_hidden_layers": 320}), "H100", capsys)
    assert "do not fit into the 80 GB of one H100: it takes 2 of them" in " ".join(text.split())


@pytest.mark.parametrize("config", [{"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}, {"a": 1}])
def test_a_model_that_nobody_knows_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="no reader knows this model"):
        families.recognise({"config.json": config}, families.readers())


def test_a_file_that_lacks_a_key_is_told_by_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lacking = {key: value for key, value in LLAMA_3_8B.items() if key != "num_hidden_layers"}
    assert main(["cards", "new", "--from-config", str(one_file(tmp_path, lacking)), "--gpu", "H100"]) == 1
    said = capsys.readouterr().err
    assert "config.json" in said
    assert "num_hidden_layers" in said

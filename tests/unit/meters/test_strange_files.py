"""Configuration files with anything in them: what cannot be a model is refused by name, at once."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.meters import BadProfile, diffusion, get, language, voxcpm

DRAFTS = (diffusion.draft, language.draft, voxcpm.draft)
TRANSFORMER, VAE = "transformer/config.json", "vae/config.json"
MOE = {
    "model_type": "qwen3_moe",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 128,
    "intermediate_size": 64,
    "moe_intermediate_size": 16,
    "num_experts": 8,
    "num_experts_per_tok": 2,
}
LLAMA = {**MOE, "model_type": "llama", "torch_dtype": "bfloat16"}
VOX = {"architecture": "voxcpm", "lm_config": {}, "dit_config": {}, "encoder_config": {}, "patch_size": 4, "max_length": 10, "feat_dim": 8}
WAN = {
    "_class_name": "WanTransformer3DModel",
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 2,
    "ffn_dim": 32,
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": [1, 2, 2],
}
SEEDS: list[dict[str, dict[str, Any]]] = [
    {"config.json": MOE},
    {"config.json": {**LLAMA, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}},
    {"config.json": {"text_config": MOE}},
    {"config.json": VOX},
    {TRANSFORMER: WAN, VAE: {"_class_name": "AutoencoderKLWan", "base_dim": 8, "z_dim": 16}, "model_index.json": {}},
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(1, 5).map(lambda kilo: 10 ** (800 * kilo))
    | st.integers(10**8, 10**10)
    | st.floats()
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    files = {path: dict(content) for path, content in draw(st.sampled_from(SEEDS)).items()}
    for _ in range(draw(st.integers(1, 3))):
        content = files[draw(st.sampled_from(sorted(files)))]
        content[draw(st.sampled_from(sorted(content) or ["boundary_ratio"]) | st.sampled_from(["_class_name", "quantization_config"]))] = draw(VALUES)
    return files


@given(spoilt())
@settings(max_examples=300, deadline=None)
def test_anything_in_a_file_gives_a_draft_none_or_a_named_refusal(files: dict[str, dict[str, Any]]) -> None:
    for draft in DRAFTS:
        try:
            found = draft(files)
        except BadProfile as refusal:
            assert str(refusal)  # noqa: PT017 - either of three ends is right
        else:
            if found is not None:
                get(found.meter).check(found.profile)


def test_a_class_name_that_is_a_list_is_no_model() -> None:
    assert diffusion.draft({TRANSFORMER: {"_class_name": ["x"]}}) is None


def test_a_number_of_layers_that_no_model_has_is_refused_before_they_are_counted() -> None:
    with pytest.raises(BadProfile, match="num_hidden_layers: must be a whole number from 1 to 10000"):
        language.draft({"config.json": {**MOE, "num_hidden_layers": 10**9}})


def test_a_number_that_has_no_text_is_refused() -> None:
    with pytest.raises(BadProfile, match=r"hidden_size: .* far beyond"):
        language.draft({"config.json": {**MOE, "hidden_size": 10**5000}})


@pytest.mark.parametrize("patch", [[1, 2, 1], [1, 1, 2], [1, 0, 0], [1, 2]])
def test_patches_that_are_not_square_are_refused(patch: list[int]) -> None:
    with pytest.raises(BadProfile, match=r"patch_size|expected `int`|length"):
        diffusion.draft({**SEEDS[-1], TRANSFORMER: {**WAN, "patch_size": patch}})


@pytest.mark.parametrize(
    ("quantised", "of_layers", "said"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "4 + 20/128", "take 4 bits .gptq, with a scale and a zero for each 128."),
        ({"quant_method": "awq", "bits": 4, "group_size": -1}, "4", "take 4 bits .awq."),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "4", "take 4 bits .bitsandbytes."),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "8", "take 8 bits .bitsandbytes."),
        ({"quant_method": "fp8"}, "8", "take 8 bits .fp8."),
        ({"quant_method": "compressed-tensors"}, "16", "compressed-tensors. in a way that is not counted"),
    ],
)
def test_quantised_weights_take_the_bits_that_the_file_names(quantised: dict[str, Any], of_layers: str, said: str) -> None:
    plain = language.draft({"config.json": LLAMA})
    found = language.draft({"config.json": {**LLAMA, "quantization_config": quantised}})
    assert plain is not None
    assert found is not None
    embeddings = 2 * 100 * 64
    weights = plain.resident_bytes // 2 - embeddings
    bits = {"4 + 20/128": weights * 4 + -(-weights * 20 // 128), "4": weights * 4, "8": weights * 8, "16": weights * 16}[of_layers]
    assert found.resident_bytes == -(-bits // 8) + 2 * embeddings
    assert any(re.search(said, note) for note in found.assumptions)

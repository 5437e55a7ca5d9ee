"""One pass of every text encoder: operations and parameters are those of the real classes, exactly."""

import importlib
from typing import Any

import msgspec
import pytest

from taximeter.meters.diffusion.pipeline import TextEncoder
from tests.support.flops import counted, parameters, text_encoder

T5: dict[str, Any] = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 3, "vocab_size": 50, "feed_forward_proj": "gated-gelu"}
LLAMA = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50}
CLIP = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 50}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
ENCODERS: list[tuple[str, str, dict[str, Any]]] = [
    ("T5EncoderModel", "T5Config", T5),
    ("T5EncoderModel", "T5Config", {**T5, "feed_forward_proj": "relu"}),
    ("UMT5EncoderModel", "UMT5Config", T5),
    ("LlamaModel", "LlamaConfig", {**LLAMA, **SPECIAL}),
    ("LlamaModel", "LlamaConfig", {**LLAMA, **SPECIAL, "head_dim": 6}),
    ("CLIPTextModel", "CLIPTextConfig", {**CLIP, **SPECIAL, "max_position_embeddings": 9}),
]


@pytest.mark.parametrize(("name", "kind", "entries"), ENCODERS)
@pytest.mark.parametrize("positions", [1, 7])
def test_a_text_encoder_agrees_with_the_counter(name: str, kind: str, entries: dict[str, Any], positions: int) -> None:
    model, config = text_encoder(name, kind, **entries)
    kinds = {known.__struct_config__.tag: known for known in TextEncoder.__args__}
    found = kinds[config["model_type"]]
    read = msgspec.convert({key: config[key] for key in ("model_type", *found.__struct_fields__) if config.get(key) is not None}, found)
    torch: Any = importlib.import_module("torch")
    tokens = torch.arange(2, 2 + positions)[None]
    flop, _ = counted(lambda: model(tokens, attention_mask=torch.ones_like(tokens)))
    load = read.load(positions)
    assert load.total.at(0) == flop
    assert load.weights == parameters(model)

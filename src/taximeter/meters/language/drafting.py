"""A chat model's entry in the catalog, and what its work costs a GPU, from its ``config.json``."""

import msgspec

from taximeter.meters.draft import Cost, Draft, Files
from taximeter.meters.language.families import FAMILIES, read
from taximeter.meters.language.settings import Settings
from taximeter.meters.text_work import QUANTITIES

FILE = "config.json"
METER = "text.flops/1"
BATCH = 32
"""Requests that are assumed to share each reading of the weights."""
DEFAULT_OUTPUT_TOKENS = 1024
FLOP_QUANTITIES: dict[str, str] = {
    "prefill_linear_flop": "operations in matrix products while the prompt is read",
    "prefill_attention_flop": "operations in attention while the prompt is read",
    "decode_linear_flop": "operations in matrix products while the answer is written",
    "decode_attention_flop": "operations in attention while the answer is written",
    "kv_byte_steps": "bytes of the model's cache, times the tokens for which they were read",
}


def draft(files: Files) -> Draft | None:
    """What the files of a language model say of it; None when it is no language model that is known.

    Raises BadProfile naming the file and the key when something is missing or nonsense.
    """
    config = _language_part(files)
    family = None if config is None else FAMILIES.get(config.text("model_type"))
    if config is None or family is None:
        return None
    architecture, assumptions = read(config, family)
    context = config.whole("max_position_embeddings")
    answer_bytes = -(-architecture.weight_bytes // BATCH)
    answer = {"linear_flop": 2 * architecture.active_parameters, "bytes_moved": answer_bytes}
    costs = (
        Cost(quantity="prefill_linear_flop", label="Reading: matrix products", linear_flop=1),
        Cost(quantity="prefill_attention_flop", label="Reading: attention", attention_flop=1),
        Cost(quantity="output_tokens", label="Writing the answer", **answer),
        Cost(quantity="reasoning_tokens", label="Writing the reasoning", **answer),
        Cost(quantity="audio_output_tokens", label="Writing sound", **answer),
        Cost(quantity="kv_byte_steps", label="Memory of the conversation", bytes_moved=1),
    )
    priced = {cost.quantity for cost in costs}
    return Draft(
        family=family.name,
        modality="chat",
        meter=METER,
        profile={
            "tokenizer": "bytes",
            "context_tokens": context,
            "default_output_tokens": min(DEFAULT_OUTPUT_TOKENS, context),
            "architecture": msgspec.to_builtins(architecture),
        },
        costs=costs,
        unpriced=tuple(name for name in (*QUANTITIES, *FLOP_QUANTITIES) if name not in priced),
        resident_bytes=architecture.weight_bytes,
        assumptions=(
            *assumptions,
            f"{BATCH} requests are answered at a time and share each reading of all weights.",
            "Attention of the answer is bound by reading the conversation's keys and values, which kv_byte_steps counts.",
            "The prompt is counted by its bytes until `tokenizer` names the model's own (file:PATH of its tokenizer.json).",
            "Embeddings are looked up for nothing; norms and biases count two operations for each weight.",
        ),
    )


def _language_part(files: Files) -> Settings | None:
    """The file, or the part of it that is about text, in models that also see."""
    if FILE not in files:
        return None
    config = Settings(files[FILE], FILE)
    inner = config.inner("text_config")
    return config if inner is None else inner

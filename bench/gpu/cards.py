"""Drafts of rate cards from a report: ``calibrated`` only what was accepted on a GPU at the true dimensions, else ``indicative``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.gpu import forms
from bench.gpu.plan import cells
from bench.gpu.scales import SCALES, Scale
from bench.gpu.verdict import fitted_s

# A Token is a quarter of a second of the reference GPU.
TOKENS_PER_REFERENCE_S = 4
# What the published cards charge for reading a position of the text, as a share of a decode step; it is not measured here.
PREFILL_SHARE = 0.05
# A token read from a cache, as a share of one that is read afresh: the usual price, not measured here.
CACHED_SHARE = 0.1
# What the cards leave free, of the meters that they are for: counted for display, in the founding units, or not measured here.
VIDEO_UNPRICED = (
    *("latent_tokens", "passes", "high_passes", "low_passes", "frames", "linear_flop"),
    *("article_input_tokens", "article_units", "activations"),
)
SPEECH_UNPRICED = ("characters", "retried_steps", "retried_positions", "vae_steps", "article_steps", "steps_per_100_s")
TEXT_UNPRICED = (
    *("audio_input_tokens", "image_input_tokens", "audio_output_tokens", "prompt_tokens", "total_tokens"),
    *("prefill_linear_flop", "prefill_attention_flop", "decode_linear_flop", "decode_attention_flop", "kv_byte_steps"),
)


class NotAccepted(Exception):
    """A card must not be called calibrated; the message says why."""


@dataclass(frozen=True)
class Line:
    """A line of a card: label, quantity and Tokens for one of it."""

    label: str
    quantity: str
    tokens: float


@dataclass(frozen=True)
class Terms:
    """What a card charges and what it leaves out."""

    model: str
    lines: Sequence[Line]
    unpriced: Sequence[str]
    note: str


def name_of(model: str, report: Mapping[str, Any], family: str, wanted: str = "") -> str:
    """The name that the card may have: ``calibrated-h200-...`` or ``indicative-...``.

    Raises NotAccepted when ``wanted`` says calibrated and the report does not allow it.
    """
    device = report["device"].lower().removeprefix("nvidia ").replace(" ", "-")
    calibrated = report["families"][family]["accepted"] and report["scale"] == "full" and device != "cpu" and not report["remaining"]
    if wanted == "calibrated" and not calibrated:
        reasons = list(report["families"][family]["why"])
        if device == "cpu":
            reasons.append("it ran on a processor")
        if report["scale"] != "full":
            reasons.append(f"the dimensions were {report['scale']}")
        if report["remaining"]:
            reasons.append(f"{len(report['remaining'])} cells have not run")
        message = f"{model} must not be called calibrated: {'; '.join(reasons)}"
        raise NotAccepted(message)
    scale = "" if report["scale"] == "full" else f"-{report['scale']}"
    return f"{'calibrated' if calibrated else 'indicative'}-{device}{scale}-{model}"


def draft(report: Mapping[str, Any], price_ratio: float, effective_from: str, wanted: str = "") -> str:
    """All cards as one file of the catalog.

    Args:
        report: what ``verdict.judge`` found.
        effective_from: the day from which the cards hold.
        price_ratio: what an hour of this device costs, divided by that of the reference GPU.
        wanted: ``calibrated`` to be refused rather than given an indicative card.

    Raises:
        NotAccepted: a card would have to be indicative.
    """
    scale = SCALES[report["scale"]]
    documents = []
    for family, writer in (("video", _video), ("speech", _speech), ("text", _text)):
        facts = report["families"][family]
        if "models" not in facts:
            continue
        for terms in writer(facts, scale):
            name = name_of(terms.model, report, family, wanted)
            documents.append(_document(name, terms, price_ratio, effective_from, _note(report, family, price_ratio, name)))
    return "---\n".join(documents)


def _video(facts: Mapping[str, Any], scale: Scale) -> list[Terms]:
    """Every part by its own rate, at the clock that a long run settles at."""
    if "video" not in facts["models"]:
        return []
    rates, settled = facts["models"]["video"]["rates_s"], facts["derate"]
    lines = [
        Line("Transformer", "transformer_flop", rates["linear_tflop"] / 1e12 * settled),
        Line("Conditioning", "conditioning_flop", rates["linear_tflop"] / 1e12 * settled),
        Line("Self-attention", "attention_flop", rates["attention_tflop"] / 1e12 * settled),
        Line("Decoding the film", "vae_flop", rates["vae_fp32_tflop"] / 1e12 * settled),
        Line("Reading the text", "text_encoder_flop", rates["encoder_tflop"] / 1e12 * settled),
        Line("Forward passes", "passes", rates["blocks"] * scale.dit.layers * settled),
    ]
    note = f"For meter video.dit/2; bf16, decoder in single precision (TF32). Times the settled clock's derate, {settled:.4f}."
    return [Terms("wan2.2-t2v-a14b", lines, VIDEO_UNPRICED, note)]


def _speech(facts: Mapping[str, Any], scale: Scale) -> list[Terms]:
    terms = []
    for model, fitted in facts["models"].items():
        _, name, mode = model.split("/")
        rates = fitted["rates_s"]
        step = rates["steps"] + rates["evaluations"] * forms.solver_evaluations(scale.timesteps[1])
        lines = [
            Line("Reading the text", "prefill_positions", step * PREFILL_SHARE),
            Line("Hearing the example", "prompt_audio_positions", step * PREFILL_SHARE),
            Line("Decode steps", "decode_steps", rates["steps"]),
            Line("Evaluations of the diffusion head", "solver_evaluations", rates["evaluations"]),
        ]
        note = f"For meter speech.steps/2. Run {'as a CUDA graph' if mode == 'graph' else 'eagerly'}, one stream, without the audio decoder. "
        note += f"Assumed: reading a position costs {PREFILL_SHARE:g} of a step at {scale.timesteps[1]} solver steps. "
        note += "Attempts that are thrown away are not billed."
        terms.append(Terms(f"{name}-{mode}", lines, SPEECH_UNPRICED, note))
    return terms


def _text(facts: Mapping[str, Any], scale: Scale) -> list[Terms]:
    if not {"text/prefill", "text/decode"} <= set(facts["models"]):
        return []
    prompt, (batch, context) = scale.prompts[-2], scale.decode_holdout
    found = {cell.id: cell for cell in cells(scale) if cell.family == "text"}
    read = fitted_s(found[f"C2/prefill-{prompt}"], facts["models"]["text/prefill"]["rates_s"], scale) / prompt
    said = fitted_s(found[f"C2/decode-{batch}x{context}"], facts["models"]["text/decode"]["rates_s"], scale) / batch
    lines = [
        Line("Prompt", "fresh_prompt_tokens", read),
        Line("Prompt from cache", "cached_prompt_tokens", read * CACHED_SHARE),
        Line("Prompt kept for five minutes", "cache_write_5m_tokens", read),
        Line("Prompt kept for an hour", "cache_write_1h_tokens", read),
        Line("Answer", "output_tokens", said),
        Line("Reasoning", "reasoning_tokens", said),
    ]
    note = "For meters text.flops/1 and text.tokens/2, of a model of text alone. "
    note += f"A prompt of {prompt} tokens; a token of {batch} answers at once with {context} tokens of context each. "
    note += f"Assumed: a token from the cache costs {CACHED_SHARE:g} of one that is read; to keep one costs nothing more."
    return [Terms("language-8b", lines, TEXT_UNPRICED, note)]


def _note(report: Mapping[str, Any], family: str, price_ratio: float, name: str) -> str:
    facts = report["families"][family]
    state = name.partition("-")[0].capitalize()
    found = facts["holdout"]
    size = "no hold-out ran" if found is None else f"hold-out n {found['cells']}, MAPE {found['mape']:.2%}, greatest {found['max_ape']:.2%}"
    samples = sum(model["samples"] for model in facts["models"].values())
    return (
        f"{state}. Measured {report['sessions'][-1]['at'][:10]} on {report['device']}, scale {report['scale']}, "
        f"torch {report['sessions'][-1]['torch']}, n {samples}, {size}. Predictions SHA-256 {facts['registration']['sha256']}. "
        f"{TOKENS_PER_REFERENCE_S} Tokens a second of the reference GPU; an hour of this device is taken to cost {price_ratio:g} of the reference's."
    )


def _document(name: str, terms: Terms, price_ratio: float, effective_from: str, note: str) -> str:
    """One document, written by hand: numbers as exact decimals in quotes."""
    priced = [line for line in terms.lines if line.tokens > 0]
    free = [line.quantity for line in terms.lines if line.tokens <= 0]
    unpriced = [quantity for quantity in terms.unpriced if quantity not in {line.quantity for line in priced}]
    unpriced += [quantity for quantity in free if quantity not in unpriced]
    rows = [
        f'  - {{label: {line.label}, quantity: {line.quantity}, tokens: "{TOKENS_PER_REFERENCE_S * price_ratio:g}", per: "{1 / line.tokens:.4e}"}}'
        for line in priced
    ]
    basis = name.partition("-")[0]
    head = f"kind: rate_card\nname: {name}\nversion: 1\neffective_from: {effective_from}\nbasis: {basis}\nlines:\n"
    return head + "\n".join(rows) + f"\nunpriced: [{', '.join(unpriced)}]\nnotes: >-\n  {note}\n  {terms.note}\n"

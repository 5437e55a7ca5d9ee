"""What drives the time of a cell: the columns of its regression, and the one column that the founding formulas have."""

from collections.abc import Callable, Mapping

from bench.gpu.forms import solver_evaluations
from bench.gpu.plan import Cell, film_of
from bench.gpu.scales import Scale

TERA = 1e12
GIGA = 1e9
Drivers = Mapping[str, float]


def drivers(cell: Cell, scale: Scale) -> Drivers:
    """Name and amount of everything the cell's time is a sum of."""
    return _DRIVERS[cell.kind](cell, scale)


def founding(cell: Cell, scale: Scale) -> float:
    """What a founding formula would count: units of output, whatever they cost."""
    args = cell.args
    if cell.kind == "speech":
        return float(args["steps"])
    if cell.kind in ("prefill", "decode"):
        return float(args["prompt"] if cell.kind == "prefill" else args["batch"])
    if cell.kind in ("block", "expert"):
        return film_of(cell).founding_units / (scale.dit.layers if cell.kind == "block" else 1)
    if cell.kind == "request":
        # The founding formula knows steps, not guidance; passes are counted here, in its favour.
        return float(film_of(cell).founding_units * int(args["steps"]) * (2 if args["guidance"] else 1))
    return 0.0


def _block(cell: Cell, scale: Scale) -> Drivers:
    tokens = film_of(cell).tokens
    return _transformer(1, scale.dit.block_linear(tokens), scale.dit.block_attention(tokens))


def _expert(cell: Cell, scale: Scale) -> Drivers:
    tokens = film_of(cell).tokens
    return _transformer(scale.dit.layers, scale.dit.pass_linear(tokens), scale.dit.pass_attention(tokens))


def _transformer(blocks: int, linear: int, attention: int) -> dict[str, float]:
    return {"blocks": float(blocks), "linear_tflop": linear / TERA, "attention_tflop": attention / TERA}


def _vae(cell: Cell, scale: Scale) -> Drivers:
    return {f"vae_{cell.args['precision']}_tflop": scale.vae.decode(film_of(cell)) / TERA}


def _encoder(cell: Cell, scale: Scale) -> Drivers:
    return {"encoder_tflop": scale.encoder.encode(int(cell.args["texts"])) / TERA}


def _request(cell: Cell, scale: Scale) -> Drivers:
    texts = 2 if cell.args["guidance"] else 1
    passes, film = texts * int(cell.args["steps"]), film_of(cell)
    tokens = film.tokens
    whole = _transformer(passes * scale.dit.layers, passes * scale.dit.pass_linear(tokens), passes * scale.dit.pass_attention(tokens))
    return whole | {"vae_fp32_tflop": scale.vae.decode(film) / TERA, "encoder_tflop": scale.encoder.encode(texts) / TERA}


def _speech(cell: Cell, _scale: Scale) -> Drivers:
    steps = int(cell.args["steps"])
    return {"stretches": 1.0, "steps": float(steps), "evaluations": float(steps * solver_evaluations(int(cell.args["timesteps"])))}


def _prefill(cell: Cell, scale: Scale) -> Drivers:
    prompt, stack = int(cell.args["prompt"]), scale.language.stack
    attention = stack.layers * 4 * stack.heads * stack.head_dim * prompt * (prompt + 1) // 2
    linear = 2 * stack.layers * stack.weights * prompt + 2 * stack.dim * scale.language.vocabulary
    return {"prompts": 1.0, "linear_tflop": linear / TERA, "attention_tflop": attention / TERA}


def _decode(cell: Cell, scale: Scale) -> Drivers:
    batch, context = int(cell.args["batch"]), int(cell.args["context"])
    return {"steps": 1.0, "tokens": float(batch), "kv_gnumbers": batch * context * scale.language.stack.kv_numbers / GIGA}


_DRIVERS: Mapping[str, Callable[[Cell, Scale], Drivers]] = {
    "block": _block,
    "soak": _block,
    "expert": _expert,
    "vae": _vae,
    "encoder": _encoder,
    "request": _request,
    "speech": _speech,
    "prefill": _prefill,
    "decode": _decode,
}

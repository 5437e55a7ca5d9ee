"""A cell of the plan as something that can be run: on a GPU, on a processor, or as shapes alone for counting."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from bench.gpu.dit import Block, Expert, rotation
from bench.gpu.encoder import TextEncoder
from bench.gpu.forms import Film, Vae
from bench.gpu.language import Decode, Prefill, Reader
from bench.gpu.place import Place
from bench.gpu.plan import Cell, film_of
from bench.gpu.scales import Scale
from bench.gpu.speech import Speaker
from bench.gpu.vae import Decoder

Result = torch.Tensor | None
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
GUIDANCE = 4.0


class NotHere(Exception):
    """This machine has no way to run the cell; the message says why."""


@dataclass(frozen=True)
class Load:
    """Something to run.

    Attributes:
        run: one repetition.
        flop: its operations in closed form.
        glance: a short stretch of it that meets every kernel; ``run`` itself when there is none.
        moved_bytes: bytes it reads and writes, where that is what it is about.
    """

    run: Callable[[], Result]
    flop: int = 0
    glance: Callable[[], Result] | None = None
    moved_bytes: int = 0


class Shelf:
    """Keeps the weights of the last model, so that cells in a row share them; nothing else stays on the device."""

    def __init__(self) -> None:
        self._key = ""
        self._kept: Any = None

    def get(self, key: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever was put there
        """What stands there under the key, or what ``make`` makes after everything else was thrown away."""
        if key != self._key:
            self.clear()
            self._kept, self._key = make(), key
        return self._kept

    def clear(self) -> None:
        """Give the memory back."""
        self._kept, self._key = None, ""
        if torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()


def build(cell: Cell, scale: Scale, place: Place, shelf: Shelf) -> Load:
    """Weights, inputs and what to call.  Raises NotHere."""
    return _BUILDERS[cell.kind](cell, scale, place, shelf)


def captured(step: Callable[[], Any], place: Place) -> Callable[[], Any]:
    """The step as a CUDA graph.  Raises NotHere without a GPU."""
    if place.is_meta:
        return step
    if not place.is_cuda:
        message = "CUDA graphs need a GPU"
        raise NotHere(message)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = step()

    def replay() -> Any:  # noqa: ANN401 - what the step returned
        graph.replay()
        return kept

    return replay


def _copy(_cell: Cell, scale: Scale, place: Place, _shelf: Shelf) -> Load:
    here = torch.randn(scale.copy_bytes // 4, device=place.device)
    there = torch.empty_like(here)
    return Load(lambda: there.copy_(here), moved_bytes=2 * scale.copy_bytes)


def _matmul(_cell: Cell, scale: Scale, place: Place, _shelf: Shelf) -> Load:
    left, right = (place.normal(scale.matrix, scale.matrix) for _ in range(2))
    return Load(lambda: left @ right, flop=2 * scale.matrix**3)


def _attention(cell: Cell, scale: Scale, place: Place, _shelf: Shelf) -> Load:
    form, tokens = scale.dit, film_of(cell).tokens
    query, key, value = (place.normal(1, form.heads, tokens, form.dim // form.heads) for _ in range(3))
    return Load(lambda: functional.scaled_dot_product_attention(query, key, value), flop=form.block_attention(tokens))


def _block(cell: Cell, scale: Scale, place: Place, shelf: Shelf) -> Load:
    form, film = scale.dit, film_of(cell)
    block = shelf.get("block", lambda: place.settle(Block(form, place)))
    tokens, time, text = place.normal(1, film.tokens, form.dim), place.normal(6, form.dim), place.normal(1, form.text_positions, form.dim)
    angles = rotation(form, film, place)
    return Load(lambda: block(tokens, time, text, angles), flop=form.block_linear(film.tokens) + form.block_attention(film.tokens))


def _expert(cell: Cell, scale: Scale, place: Place, shelf: Shelf) -> Load:
    form, film = scale.dit, film_of(cell)
    expert = shelf.get("expert", lambda: place.settle(Expert(form, place)))
    latent, text = place.normal(1, form.channels, *film.latent), place.normal(1, form.text_positions, form.text_dim)
    step, angles = torch.full((1,), 500.0, device=place.device), rotation(form, film, place)
    return Load(lambda: expert(latent, step, text, angles), flop=form.pass_linear(film.tokens) + form.pass_attention(film.tokens))


def _vae(cell: Cell, scale: Scale, place: Place, shelf: Shelf) -> Load:
    film, precision = film_of(cell), str(cell.args["precision"])
    there = Place(place.device, PRECISIONS[precision])
    decoder = shelf.get(f"vae-{precision}", lambda: there.settle(Decoder(scale.vae, there)))
    return Load(*_decoding(decoder, scale.vae, film, there))


def _decoding(decoder: Decoder, form: Vae, film: Film, there: Place) -> tuple[Callable[[], Result], int, Callable[[], Result]]:
    """Decode the film; and its first two latent frames, which meet every kernel."""
    latent = there.normal(1, form.channels, *film.latent)
    return lambda: decoder(latent), form.decode(film), lambda: decoder(latent[:, :, :2])


def _encoder(cell: Cell, scale: Scale, place: Place, shelf: Shelf) -> Load:
    form, texts = scale.encoder, int(cell.args["texts"])
    encoder = shelf.get("encoder", lambda: place.settle(TextEncoder(form, place)))
    words = place.normal(texts, form.positions, form.dim)
    return Load(lambda: encoder(words), flop=form.encode(texts))


def _transfer(cell: Cell, scale: Scale, place: Place, _shelf: Shelf) -> Load:
    if not place.is_cuda:
        message = "there is no GPU to copy to"
        raise NotHere(message)
    count = scale.transfer_chunk_bytes // 4
    here = torch.randn(count, pin_memory=cell.args["memory"] == "pinned")
    there = torch.empty(count, device=place.device)
    times = -(-scale.transfer_bytes // scale.transfer_chunk_bytes)

    def run() -> Result:
        for _ in range(times):
            there.copy_(here, non_blocking=True)
        return there

    return Load(run, moved_bytes=times * scale.transfer_chunk_bytes)


def _request(cell: Cell, scale: Scale, place: Place, shelf: Shelf) -> Load:
    """A whole film, with both experts, the encoder and the decoder resident."""
    form, film, steps = scale.dit, film_of(cell), int(cell.args["steps"])
    texts = 2 if cell.args["guidance"] else 1
    single = Place(place.device, torch.float32)

    def make() -> tuple[Expert, Expert, TextEncoder, Decoder]:
        experts = [place.settle(Expert(form, place)) for _ in range(2)]
        return experts[0], experts[1], place.settle(TextEncoder(scale.encoder, place)), single.settle(Decoder(scale.vae, single))

    high, low, encoder, decoder = shelf.get("request", make)
    words = place.normal(texts, scale.encoder.positions, scale.encoder.dim)
    start, angles = place.normal(1, form.channels, *film.latent), rotation(form, film, place)
    times = torch.linspace(1000.0, 0.0, steps + 1, device=place.device)

    def denoise(numbers: range, boundary: int) -> torch.Tensor:
        read, latent = encoder(words), start
        for number in numbers:
            expert = high if number < boundary else low
            ways = [expert(latent, times[number : number + 1], read[text : text + 1], angles) for text in range(texts)]
            way = ways[-1] + GUIDANCE * (ways[0] - ways[-1]) if texts > 1 else ways[0]
            latent = latent - (1.0 / steps) * way
        return latent

    def glance() -> Result:
        made: torch.Tensor = decoder(denoise(range(2), 1)[:, :, :2].float())
        return made

    passes = steps * texts
    flop = passes * (form.pass_linear(film.tokens) + form.pass_attention(film.tokens)) + scale.encoder.encode(texts) + scale.vae.decode(film)
    return Load(lambda: decoder(denoise(range(steps), int(cell.args["high_steps"])).float()), flop, glance)


def _speech(cell: Cell, scale: Scale, place: Place, shelf: Shelf) -> Load:
    form, steps, timesteps = scale.speech[str(cell.args["model"])], int(cell.args["steps"]), int(cell.args["timesteps"])
    graph = cell.args["mode"] == "graph"

    def make() -> tuple[Speaker, Callable[[], Any]]:
        speaker = place.settle(Speaker(form, timesteps, place))
        speaker.reset()
        return speaker, captured(speaker, place) if graph else speaker

    speaker, step = shelf.get(f"speech-{cell.args['model']}-{cell.args['mode']}-{timesteps}", make)

    def stretch(count: int) -> Result:
        speaker.reset()
        for _ in range(count):
            stop = step()
            if not graph and not place.is_meta:
                stop.item()  # The loop of the model looks at it after every step, and so waits for the device.
        return speaker.hidden

    evaluations = timesteps - speaker.skipped
    return Load(lambda: stretch(steps), flop=steps * form.step(evaluations), glance=lambda: stretch(2))


def _reader(scale: Scale, place: Place, shelf: Shelf) -> Reader:
    reader = shelf.get("language", lambda: place.settle(Reader(scale.language, place)))
    assert isinstance(reader, Reader)
    return reader


def _prefill(cell: Cell, scale: Scale, place: Place, shelf: Shelf) -> Load:
    prompt = int(cell.args["prompt"])
    return Load(Prefill(_reader(scale, place, shelf), prompt), flop=scale.language.prefill(prompt))


def _decode(cell: Cell, scale: Scale, place: Place, shelf: Shelf) -> Load:
    """Served as it usually is: as a CUDA graph where there is a GPU."""
    batch, context = int(cell.args["batch"]), int(cell.args["context"])
    step = Decode(_reader(scale, place, shelf), batch, context)
    form = scale.language
    read = form.stack.layers * form.stack.weights + form.stack.dim * form.vocabulary + batch * context * form.stack.kv_numbers
    run = captured(step, place) if place.is_cuda else step
    return Load(run, form.decode(batch, context), glance=step, moved_bytes=read * place.dtype.itemsize)


_BUILDERS: dict[str, Callable[[Cell, Scale, Place, Shelf], Load]] = {
    "copy": _copy,
    "matmul": _matmul,
    "attention": _attention,
    "block": _block,
    "soak": _block,
    "expert": _expert,
    "vae": _vae,
    "encoder": _encoder,
    "transfer": _transfer,
    "request": _request,
    "speech": _speech,
    "prefill": _prefill,
    "decode": _decode,
}
# Nothing is computed in these, so there is nothing to count.
UNCOUNTED = frozenset({"idle", "copy", "transfer"})

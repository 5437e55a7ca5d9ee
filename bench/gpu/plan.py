"""The cells of a run, in their order: what is measured, in which role, and how long it may take on an H200."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bench.gpu import forms
from bench.gpu.forms import Film
from bench.gpu.scales import Scale

Role = Literal["ceiling", "fit", "soak", "holdout", "check"]
FAMILIES = ("video", "speech", "text")
MODES = ("eager", "graph")
# What a bf16 transformer may reach and the memory moves: only for how long a cell may take, never for a result.
ASSUMED_FLOP_S = 450e12
ASSUMED_BYTE_S = 3.5e12
# Cells may take longer than the plan thinks: so much more must be left of the budget.
CAUTION = 1.15
ASSUMED_STEP_S = {"eager": 0.03, "graph": 0.004}


@dataclass(frozen=True)
class Cell:
    """One thing that is measured.

    Attributes:
        id: its name in the journal; the part before the slash is the group of the plan.
        family: what is predicted together; "" for ceilings, which nothing is fitted to.
        model: which regression it belongs to.
        args: what its kind of load needs to know.
        warm, reps: runs that are not timed, and runs that are.
        estimate_s: how long the whole cell may take.
        energy: whether energy is read over a window of its own after the timed runs.
        derated: whether it lasts so long that the clock settles, as in the soak.
    """

    id: str
    role: Role
    kind: str
    family: str = ""
    model: str = ""
    args: Mapping[str, Any] = field(default_factory=dict)
    warm: int = 1
    reps: int = 3
    estimate_s: float = 2.0
    energy: bool = False
    derated: bool = False

    @property
    def group(self) -> str:
        """``A1`` to ``C2``."""
        return self.id.partition("/")[0]

    @property
    def is_predicted(self) -> bool:
        """Whether a prediction must have been registered before it runs."""
        return self.role in ("holdout", "check")

    def shrunk(self) -> "Cell":
        """The same work with the fewest repetitions of its own loop, for counting operations."""
        if self.kind == "request":
            return replace(self, args={**self.args, "steps": 2, "high_steps": 1})
        if self.kind == "speech":
            return replace(self, args={**self.args, "steps": 1})
        return self


def cells(scale: Scale) -> tuple[Cell, ...]:
    """All of them; what is fitted comes before what is predicted from it."""
    return (*_ceilings(scale), *_video_fit(scale), *_video_holdout(scale), *_speech(scale), *_text(scale), *_later(scale))


def _runs_s(scale: Scale, flop: int, warm: int, reps: int) -> float:
    return scale.repeats.setup_s + flop / ASSUMED_FLOP_S * (warm + reps)


def _ceilings(scale: Scale) -> Iterator[Cell]:
    window = scale.repeats.energy_s
    yield Cell("A1/idle", "ceiling", "idle", estimate_s=scale.repeats.idle_s)
    yield Cell("A1/copy", "ceiling", "copy", warm=2, reps=10, estimate_s=scale.repeats.setup_s)
    yield Cell("A1/matmul", "ceiling", "matmul", warm=3, reps=10, estimate_s=scale.repeats.setup_s + window, energy=True)
    for film in scale.ceiling_films:
        cost = 4 * scale.dit.dim * film.tokens**2
        yield Cell(f"A1/attention-{film.tokens}", "ceiling", "attention", args={"film": film}, warm=2, reps=5, estimate_s=_runs_s(scale, cost, 2, 5))


def _video_fit(scale: Scale) -> Iterator[Cell]:
    repeats = scale.repeats
    warm, reps = repeats.block
    for film in scale.fit_films:
        cost = scale.dit.block_linear(film.tokens) + scale.dit.block_attention(film.tokens)
        estimate_s = _runs_s(scale, cost, warm, reps) + repeats.energy_s
        name = f"A2/block-{film.tokens}"
        yield Cell(name, "fit", "block", "video", "video", {"film": film}, warm, reps, estimate_s, energy=True)
    film = scale.soak_film
    yield Cell(
        f"A3/soak-{film.tokens}", "soak", "soak", "video", args={"film": film}, warm=1, reps=1, estimate_s=repeats.soak_s + 2 * repeats.setup_s
    )
    warm, reps = repeats.decoder
    for film in scale.decoder_films:
        for precision in ("fp32", "bf16"):
            # Convolutions reach a fifth of what matrix products do.
            estimate_s = _runs_s(scale, 5 * scale.vae.decode(film), warm, reps)
            yield Cell(
                f"A5/decode-{film.name}-{precision}", "fit", "vae", "video", "video", {"film": film, "precision": precision}, warm, reps, estimate_s
            )
    warm, reps = repeats.encoder
    for texts in (1, 2):
        estimate_s = _runs_s(scale, scale.encoder.encode(texts), warm, reps) + repeats.energy_s
        yield Cell(f"A6/encode-{texts}", "fit", "encoder", "video", "video", {"texts": texts}, warm, reps, estimate_s, energy=True)
    for memory in ("pinned", "pageable"):
        estimate_s = scale.repeats.setup_s + 4 * scale.transfer_bytes / 8e9
        yield Cell(f"A6/transfer-{memory}", "ceiling", "transfer", args={"memory": memory}, warm=1, reps=3, estimate_s=estimate_s)


def _video_holdout(scale: Scale) -> Iterator[Cell]:
    warm, reps = scale.repeats.whole
    order = [("check", film) for film in scale.check_films] + [("holdout", film) for film in scale.holdout_films]
    for role, film in sorted(order, key=lambda item: item[1].tokens):
        cost = scale.dit.pass_linear(film.tokens) + scale.dit.pass_attention(film.tokens)
        kind: Role = "check" if role == "check" else "holdout"
        yield Cell(f"A4/expert-{film.tokens}", kind, "expert", "video", "video", {"film": film}, warm, reps, _runs_s(scale, cost, warm, reps))
    for name, request in scale.requests.items():
        tokens = request.film.tokens
        cost = request.passes * (scale.dit.pass_linear(tokens) + scale.dit.pass_attention(tokens)) + 5 * scale.vae.decode(request.film)
        args = {"film": request.film, "steps": request.steps, "high_steps": request.high_steps, "guidance": request.guidance}
        estimate_s = _runs_s(scale, cost, 0, 1) * (1 + 2 / request.steps) + 8 * scale.repeats.setup_s
        yield Cell(f"{name}/request-{request.film.name}", "holdout", "request", "video", "video", args, 0, 1, estimate_s, derated=True)


def _speech_cell(scale: Scale, name: str, mode: str, shape: tuple[int, int], role: Role) -> Cell:
    steps, timesteps = shape
    warm, reps = scale.repeats.speech if role == "fit" else (scale.repeats.speech[0], scale.repeats.whole[1])
    share = forms.solver_evaluations(timesteps) / forms.solver_evaluations(scale.timesteps[1])
    energy = mode == "graph" and (steps, timesteps) == (scale.timesteps_at, scale.timesteps[1])
    estimate_s = scale.repeats.setup_s + ASSUMED_STEP_S[mode] * steps * share * (warm + reps) + (scale.repeats.energy_s if energy else 0)
    args = {"model": name, "mode": mode, "steps": steps, "timesteps": timesteps}
    return Cell(
        f"C1/{name}-{mode}-{steps}x{timesteps}", role, "speech", "speech", f"speech/{name}/{mode}", args, warm, reps, estimate_s, energy=energy
    )


def _speech(scale: Scale) -> Iterator[Cell]:
    few, usual, many = scale.timesteps
    shapes = [*((steps, usual) for steps in scale.speech_steps), (scale.timesteps_at, few), (scale.timesteps_at, many)]
    for name in scale.speech:
        for mode in MODES:
            for shape in shapes:
                yield _speech_cell(scale, name, mode, shape, "fit")


def _text_cell(scale: Scale, role: Role, *, prompt: int = 0, batch: int = 0, context: int = 0) -> Cell:
    warm, reps = scale.repeats.language
    window = scale.repeats.energy_s
    if prompt:
        estimate_s = _runs_s(scale, scale.language.prefill(prompt), warm, reps) + window
        return Cell(f"C2/prefill-{prompt}", role, "prefill", "text", "text/prefill", {"prompt": prompt}, warm, reps, estimate_s, energy=True)
    stack = scale.language.stack
    read = 2 * (stack.layers * stack.weights + stack.dim * scale.language.vocabulary + batch * context * stack.kv_numbers)
    estimate_s = scale.repeats.setup_s + read / ASSUMED_BYTE_S * (warm + reps) + window
    args = {"batch": batch, "context": context}
    return Cell(f"C2/decode-{batch}x{context}", role, "decode", "text", "text/decode", args, warm, reps, estimate_s, energy=True)


def _text(scale: Scale) -> Iterator[Cell]:
    for prompt in scale.prompts:
        yield _text_cell(scale, "fit", prompt=prompt)
    for batch in scale.batches:
        for context in scale.contexts:
            yield _text_cell(scale, "fit", batch=batch, context=context)


def _later(scale: Scale) -> Iterator[Cell]:
    """What speech and text are predicted for."""
    for name in scale.speech:
        for mode in MODES:
            for steps in scale.speech_holdout:
                yield _speech_cell(scale, name, mode, (steps, scale.timesteps[1]), "holdout")
    for prompt in scale.prompts_holdout:
        yield _text_cell(scale, "holdout", prompt=prompt)
    batch, context = scale.decode_holdout
    yield _text_cell(scale, "holdout", batch=batch, context=context)


def film_of(cell: Cell) -> Film:
    """The film of a cell that has one."""
    film = cell.args["film"]
    assert isinstance(film, Film)
    return film

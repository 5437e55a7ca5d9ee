"""Dimensions: ``full`` are those of the models, ``tiny`` run on a processor in seconds and prove the harness, not a speed."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.gpu.forms import Dit, Encoder, Film, Language, Speech, Stack, Vae


@dataclass(frozen=True)
class Request:
    """A whole film: encode, denoise with two experts, decode.

    Attributes:
        high_steps: steps of the expert for high noise, which come first.
    """

    film: Film
    steps: int
    high_steps: int
    guidance: bool

    @property
    def passes(self) -> int:
        """Forward passes."""
        return self.steps * self.texts

    @property
    def texts(self) -> int:
        """Texts that are encoded: with guidance also the one to keep away from."""
        return 2 if self.guidance else 1


@dataclass(frozen=True)
class Repeats:
    """How often things are run.

    Attributes:
        block, whole, decoder, encoder: (warm-up, timed) of a block, of the whole transformer, of the video decoder and of the text encoder.
        speech, language: the same of a stretch of speech and of a pass of the language model.
        soak_s: how long the soak lasts.
        energy_s: a window in which energy is read is at least this long.
        idle_s: how long the idle power is watched.
        setup_s: what weights, counting and the first run of a cell may take.
        resamples: samples that are drawn anew for the intervals of predictions.
    """

    block: tuple[int, int]
    whole: tuple[int, int]
    decoder: tuple[int, int]
    encoder: tuple[int, int]
    speech: tuple[int, int]
    language: tuple[int, int]
    soak_s: float
    energy_s: float
    idle_s: float
    setup_s: float
    resamples: int


@dataclass(frozen=True)
class Scale:
    """All dimensions, shapes and repeats of a run."""

    name: str
    dit: Dit
    vae: Vae
    encoder: Encoder
    speech: Mapping[str, Speech]
    language: Language
    fit_films: tuple[Film, ...]
    holdout_films: tuple[Film, ...]
    check_films: tuple[Film, ...]
    decoder_films: tuple[Film, ...]
    soak_film: Film
    ceiling_films: tuple[Film, ...]
    requests: Mapping[str, Request]
    speech_steps: tuple[int, ...]
    speech_holdout: tuple[int, ...]
    timesteps: tuple[int, int, int]
    timesteps_at: int
    prompts: tuple[int, ...]
    prompts_holdout: tuple[int, ...]
    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    decode_holdout: tuple[int, int]
    matrix: int
    copy_bytes: int
    transfer_bytes: int
    transfer_chunk_bytes: int
    repeats: Repeats


def _films(*sizes: tuple[int, int, int]) -> tuple[Film, ...]:
    return tuple(Film(*size) for size in sizes)


_VOX = Stack(dim=1024, heads=16, kv_heads=2, head_dim=64, ffn=4096, layers=24)

FULL = Scale(
    name="full",
    dit=Dit(dim=5120, heads=40, layers=40, ffn=13824, text_positions=512, text_dim=4096),
    vae=Vae(base=96),
    encoder=Encoder(dim=4096, heads=64, layers=24, ffn=10240, positions=512),
    speech={
        "voxcpm-0.5b": Speech(_VOX, residual_layers=6, encoder_layers=4, solver_layers=4, patch=2),
        "voxcpm-1.5": Speech(_VOX, residual_layers=8, encoder_layers=8, solver_layers=8, patch=4),
    },
    language=Language(Stack(dim=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336, layers=32), vocabulary=128256),
    fit_films=_films((832, 480, 17), (832, 480, 49), (832, 480, 81), (1280, 720, 81), (1280, 720, 121)),
    holdout_films=_films((832, 480, 33), (1280, 720, 49), (832, 480, 121)),
    check_films=_films((832, 480, 81), (1280, 720, 81)),
    decoder_films=_films((832, 480, 81), (1280, 720, 49), (1280, 720, 81)),
    soak_film=Film(1280, 720, 81),
    ceiling_films=_films((832, 480, 17), (832, 480, 81), (1280, 720, 81)),
    requests={
        "B1": Request(Film(832, 480, 81), steps=40, high_steps=26, guidance=True),
        "B2": Request(Film(1280, 720, 81), steps=4, high_steps=3, guidance=False),
    },
    speech_steps=(25, 50, 100, 200),
    speech_holdout=(75, 300),
    timesteps=(5, 10, 20),
    timesteps_at=100,
    prompts=(256, 512, 1024, 4096, 16384),
    prompts_holdout=(2048, 8192),
    batches=(1, 8, 32),
    contexts=(1024, 8192),
    decode_holdout=(16, 4096),
    matrix=8192,
    copy_bytes=4 << 30,
    transfer_bytes=28_576_983_168,
    transfer_chunk_bytes=1 << 30,
    repeats=Repeats(
        block=(2, 10),
        whole=(1, 3),
        decoder=(1, 2),
        encoder=(3, 20),
        speech=(0, 5),
        language=(3, 10),
        soak_s=60.0,
        energy_s=5.0,
        idle_s=20.0,
        setup_s=2.0,
        resamples=400,
    ),
)

_SMALL_VOX = Stack(dim=64, heads=4, kv_heads=2, head_dim=16, ffn=128, layers=3)

TINY = Scale(
    name="tiny",
    dit=Dit(dim=96, heads=3, layers=3, ffn=256, text_positions=32, text_dim=64),
    vae=Vae(base=2),
    encoder=Encoder(dim=64, heads=4, layers=2, ffn=128, positions=32),
    speech={
        "voxcpm-0.5b": Speech(_SMALL_VOX, residual_layers=1, encoder_layers=1, solver_layers=1, patch=2, latent=16, slots=128),
        "voxcpm-1.5": Speech(_SMALL_VOX, residual_layers=2, encoder_layers=2, solver_layers=2, patch=4, latent=16, slots=128),
    },
    language=Language(Stack(dim=128, heads=4, kv_heads=2, head_dim=32, ffn=256, layers=3), vocabulary=512),
    fit_films=_films((96, 96, 13), (96, 96, 33), (96, 96, 65), (160, 160, 33), (160, 160, 65)),
    holdout_films=_films((96, 96, 21), (160, 160, 17), (96, 96, 81)),
    check_films=_films((96, 96, 65), (160, 160, 33)),
    decoder_films=_films((32, 32, 17), (64, 64, 9), (64, 64, 17)),
    soak_film=Film(160, 160, 33),
    ceiling_films=_films((96, 96, 33), (160, 160, 33), (160, 160, 65)),
    requests={
        "B1": Request(Film(96, 96, 13), steps=6, high_steps=4, guidance=True),
        "B2": Request(Film(96, 96, 33), steps=2, high_steps=1, guidance=False),
    },
    speech_steps=(2, 4, 6, 8),
    speech_holdout=(5, 12),
    timesteps=(3, 4, 8),
    timesteps_at=4,
    prompts=(64, 256, 384, 512, 1024),
    prompts_holdout=(128, 768),
    batches=(1, 4, 8),
    contexts=(128, 1024),
    decode_holdout=(6, 512),
    matrix=384,
    copy_bytes=16 << 20,
    transfer_bytes=32 << 20,
    transfer_chunk_bytes=8 << 20,
    repeats=Repeats(
        block=(2, 9),
        whole=(1, 5),
        decoder=(1, 3),
        encoder=(1, 5),
        speech=(0, 5),
        language=(1, 8),
        soak_s=0.3,
        energy_s=0.0,
        idle_s=0.0,
        setup_s=0.1,
        resamples=40,
    ),
)

SCALES = {scale.name: scale for scale in (FULL, TINY)}

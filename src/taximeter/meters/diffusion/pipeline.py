"""A whole pipeline: its parts as the catalog describes them, and the operations of one film.

Everything that does not depend on the film is added up once; decoding is added up once for each length.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from taximeter.meters.diffusion.algebra import Poly
from taximeter.meters.diffusion.cogvideox import CogTransformer, CogVae
from taximeter.meters.diffusion.experts import Switch
from taximeter.meters.diffusion.hunyuan import HunyuanTransformer, HunyuanVae
from taximeter.meters.diffusion.ltx import LtxTransformer, LtxVae
from taximeter.meters.diffusion.mochi import MochiTransformer, MochiVae
from taximeter.meters.diffusion.numbers import Count, need
from taximeter.meters.diffusion.text_encoders import T5, Clip, Llama, Umt5
from taximeter.meters.diffusion.wan import WanTransformer, WanVae

Transformer = WanTransformer | HunyuanTransformer | LtxTransformer | CogTransformer | MochiTransformer
Vae = WanVae | HunyuanVae | LtxVae | CogVae | MochiVae
TextEncoder = T5 | Umt5 | Llama | Clip
# Models are loaded in bfloat16; Wan's autoencoder stays in float32.
BYTES_PER_WEIGHT = 2
BYTES_PER_WEIGHT_OF_WAN_VAE = 4


class TextPass(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A text encoder and how many positions it reads: prompts are padded to them."""

    positions: Count
    config: TextEncoder


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A model as its configuration files describe it.

    Attributes:
        transformer: ``transformer/config.json``.
        transformer_2: ``transformer_2/config.json``: the low-noise expert.
        switch: when it takes over.
        vae: ``vae/config.json``.
        text_encoders: each with its positions.
        text_positions: text positions that the transformer sees.
        time_per_token: the time embedding is computed for every token, not once.
        guidance_by: ``passes``: a second pass without the prompt; ``input``: a number that the model is told.
        picture: whether a picture comes with the prompt; ``film``: it is encoded as the first frame of an otherwise empty film,
            ``frame``: it may come, and is encoded alone.
        frame_rule: ``diffusers``: as WanPipeline rounds; ``native``: rounded down.
    """

    transformer: Transformer
    transformer_2: Transformer | None = None
    switch: Switch | None = None
    vae: Vae
    text_encoders: tuple[TextPass, ...]
    text_positions: Count
    time_per_token: bool = False
    guidance_by: Literal["passes", "input"] = "passes"
    picture: Literal["none", "film", "frame"] = "none"
    frame_rule: Literal["diffusers", "native"] = "native"

    def __post_init__(self) -> None:
        """Raises ValueError when the entries do not fit together."""
        need((self.transformer_2 is None) == (self.switch is None), "transformer_2 and switch come together")
        two_times = isinstance(self.transformer, WanTransformer | LtxTransformer)
        need(two_times or not self.time_per_token, "time_per_token is for WanTransformer3DModel and LTXVideoTransformer3DModel")
        need(self.picture == "none" or isinstance(self.vae, WanVae), "picture is for AutoencoderKLWan")
        need(
            self.picture == "film" or self.transformer.in_channels == self.latent_channels, "the transformer's in_channels are not the latent film's"
        )

    @property
    def latent_channels(self) -> int:
        """Channels of the latent film."""
        return self.vae.z_dim if isinstance(self.vae, WanVae) else self.vae.latent_channels


Forward = tuple[Poly, Poly, Poly]


@dataclass(frozen=True, slots=True)
class Film:
    """What decides the work of one film: its size, its frames, and how many of them are decoded."""

    width: int
    height: int
    frames: int
    decoded: int


@dataclass(frozen=True, slots=True)
class Pipeline:
    """An architecture, added up.

    Attributes:
        high: body, attention and conditioning of one pass of the transformer, in latent tokens.
        low: the same of the second expert.
        text_flop: one pass of all text encoders.
        resident: bytes of weights by component.
    """

    architecture: Architecture
    high: Forward
    low: Forward
    text_flop: int
    resident: Mapping[str, int]
    _decoding: dict[int, Poly] = field(default_factory=dict)
    _encoding: dict[int, Poly] = field(default_factory=dict)
    _high_steps: dict[int, int] = field(default_factory=dict)

    def produced_frames(self, asked: int) -> int:
        """Frames that come out when ``asked`` go in."""
        stride = self.architecture.vae.strides[0]
        if self.architecture.frame_rule == "diffusers" and asked % stride != 1 % stride:
            asked = asked // stride * stride + 1
        return self.architecture.vae.frames(self.architecture.vae.latent_frames(asked))

    def high_steps(self, steps: int) -> int:
        """Steps of the first expert: all, when there is one."""
        if self.architecture.switch is None:
            return steps
        known = self._high_steps.get(steps)
        if known is None:
            known = self._high_steps[steps] = self.architecture.switch.high_steps(steps)
        return known

    def latent_tokens(self, film: Film) -> int:
        """Tokens that each pass reads."""
        vae, (span, side) = self.architecture.vae, self.architecture.transformer.patch
        stride = vae.strides[1]
        # A film that does not fill its last patch is filled up (CogVideoX 1.5), and cut again before it is decoded.
        spans = -(-vae.latent_frames(film.frames) // span)
        return spans * (film.height // stride // side) * (film.width // stride // side)

    def vae_flop(self, film: Film, *, pictured: bool) -> int:
        """Operations of decoding the film, and of encoding its picture."""
        vae = self.architecture.vae
        stride = vae.strides[1]
        cells = (film.height // stride) * (film.width // stride)
        flop = 0
        if film.decoded:
            latent = vae.latent_frames(film.decoded)
            poly = self._decoding.get(latent)
            if poly is None:
                poly = self._decoding[latent] = vae.decode(latent).total
            flop = poly.at(cells)
        if pictured:
            latent = vae.latent_frames(film.frames) if self.architecture.picture == "film" else 1
            poly = self._encoding.get(latent)
            if poly is None:
                poly = self._encoding[latent] = vae.encode(latent).total
            flop += poly.at(cells)
        return flop

    def work(self, film: Film, passes: tuple[int, int], text_passes: int, *, pictured: bool) -> dict[str, int]:
        """Latent tokens, passes, frames and operations by part."""
        tokens = self.latent_tokens(film)
        high, low = passes
        body, attention, told = self.high
        body_flop, attention_flop, told_flop = high * body.at(tokens), high * attention.at(tokens), high * told.at(tokens)
        if low:
            body, attention, told = self.low
            body_flop += low * body.at(tokens)
            attention_flop += low * attention.at(tokens)
            told_flop += low * told.at(tokens)
        vae_flop, text_flop = self.vae_flop(film, pictured=pictured), text_passes * self.text_flop
        return {
            "latent_tokens": tokens,
            "passes": high + low,
            "high_passes": high,
            "low_passes": low,
            "frames": film.decoded,
            "linear_flop": body_flop + told_flop + vae_flop + text_flop,
            "attention_flop": attention_flop,
            "transformer_flop": body_flop,
            "conditioning_flop": told_flop,
            "vae_flop": vae_flop,
            "text_encoder_flop": text_flop,
        }


def add_up(architecture: Architecture) -> Pipeline:
    """Everything about a model that no request changes."""
    one = architecture.transformer.load(architecture.text_positions, time_per_token=architecture.time_per_token)
    resident = {"transformer": one.weights * BYTES_PER_WEIGHT}
    two = one
    if architecture.transformer_2 is not None:
        two = architecture.transformer_2.load(architecture.text_positions, time_per_token=architecture.time_per_token)
        resident["transformer_2"] = two.weights * BYTES_PER_WEIGHT
    text_flop = 0
    for index, encoder in enumerate(architecture.text_encoders):
        load = encoder.config.load(encoder.positions)
        text_flop += load.total.constant
        resident["text_encoder" if index == 0 else f"text_encoder_{index + 1}"] = load.weights * BYTES_PER_WEIGHT
    each = BYTES_PER_WEIGHT_OF_WAN_VAE if isinstance(architecture.vae, WanVae) else BYTES_PER_WEIGHT
    resident["vae"] = (architecture.vae.decode(1).weights + architecture.vae.encode(1).weights) * each
    return Pipeline(
        architecture=architecture,
        high=(one.body, one.attention, one.conditioning),
        low=(two.body, two.attention, two.conditioning),
        text_flop=text_flop,
        resident=resident,
    )

"""Reading VoxCPM's ``config.json``: only what decides how much there is to compute, with the model's own defaults."""

from collections.abc import Mapping
from typing import Any

import msgspec

from taximeter.meters.errors import BadProfile
from taximeter.meters.voxcpm_audio import AudioConfig

FILE = "config.json"
# Far above any model; beyond it a file is broken.
SIZE_MAX = 10**7
# How the decoder is told its output rate: a scale and a shift for each channel.
RATE_CONDITIONS = ("scale_bias", "scale_bias_init")


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """A stack of transformer layers with grouped queries and a gated feed-forward part.

    Attributes:
        hidden: width of the positions.
        ffn: width of the feed-forward part.
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: width of a head.
        layers: how many.
    """

    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    layers: int

    @property
    def linear_weights(self) -> int:
        """Weights of one layer's matrices."""
        return 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads) + 3 * self.hidden * self.ffn


class VoxConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A VoxCPM model.

    Attributes:
        second: VoxCPM2, which fuses its two language models another way.
        base: the base language model.
        residual: the residual language model.
        encoder: the local encoder.
        dit: the local diffusion transformer.
        vocabulary: rows of the embedding.
        patch_size: latents in a step.
        feat_dim: numbers in a latent.
        quantizer_dim: numbers between the two halves of the quantizer.
        max_length: positions in the static caches.
        audio: the audio decoder.
    """

    second: bool
    base: Stack
    residual: Stack
    encoder: Stack
    dit: Stack
    vocabulary: int
    patch_size: int
    feat_dim: int
    quantizer_dim: int
    max_length: int
    audio: AudioConfig

    @property
    def dit_positions(self) -> int:
        """What the solver's transformer reads: text and time (added in the first models), the patch before, and this one."""
        return 2 * self.patch_size + (3 if self.second else 1)


def read_config(content: Mapping[str, Any]) -> VoxConfig:
    """The parsed file.  Raises BadProfile naming the entry that is missing or makes no sense."""
    second = content.get("architecture", "voxcpm") == "voxcpm2"
    lm = _Section(content, "lm_config")
    base = Stack(
        hidden=lm.size("hidden_size"),
        ffn=lm.size("intermediate_size"),
        heads=lm.size("num_attention_heads"),
        kv_heads=lm.size("num_key_value_heads"),
        head_dim=lm.head_dim(lm.size("hidden_size"), lm.size("num_attention_heads")),
        layers=lm.size("num_hidden_layers"),
    )
    top = _Section({"": content}, "")
    return VoxConfig(
        second=second,
        base=base,
        residual=msgspec.structs.replace(base, layers=top.size("residual_lm_num_layers", 8 if second else 6)),
        encoder=_local(_Section(content, "encoder_config"), base),
        dit=_local(_Section(content, "dit_config"), base),
        vocabulary=lm.size("vocab_size"),
        patch_size=top.size("patch_size"),
        feat_dim=top.size("feat_dim", 64),
        quantizer_dim=top.size("scalar_quantization_latent_dim", 512 if second else 256),
        max_length=top.size("max_length", 8192 if second else 4096),
        audio=_audio(_Section(content, "audio_vae_config", missing=True), second=second),
    )


def _local(section: "_Section", base: Stack) -> Stack:
    hidden, heads = section.size("hidden_dim", 1024), section.size("num_heads", 16)
    if heads % base.kv_heads:
        section.refuse("num_heads", f"must be a multiple of the {base.kv_heads} key heads of lm_config")
    return Stack(
        hidden=hidden,
        ffn=section.size("ffn_dim", 4096),
        heads=heads,
        kv_heads=base.kv_heads,
        head_dim=section.head_dim(hidden, heads),
        layers=section.size("num_layers", 4),
    )


def _audio(section: "_Section", *, second: bool) -> AudioConfig:
    encoder_rates = section.sizes("encoder_rates", (2, 5, 8, 8))
    decoder_rates = section.sizes("decoder_rates", (8, 6, 5, 2, 2, 2) if second else (8, 8, 5, 2))
    decoder_dim = section.size("decoder_dim", 2048 if second else 1536)
    if decoder_dim % 2 ** len(decoder_rates):
        section.refuse("decoder_dim", f"must be halved evenly {len(decoder_rates)} times, once for each of decoder_rates")
    told_apart = second and not section.is_null("sr_bin_boundaries")
    buckets = len(section.sizes("sr_bin_boundaries", (20000, 30000, 40000))) + 1 if told_apart else 0
    if buckets and (section.flag("cond_out_layer", default=False) or section.word("cond_type", "scale_bias") not in RATE_CONDITIONS):
        section.refuse("cond_type", f"must be {' or '.join(RATE_CONDITIONS)}, without cond_out_layer")
    return AudioConfig(
        latent_dim=section.size("latent_dim", 64),
        decoder_dim=decoder_dim,
        decoder_rates=decoder_rates,
        encoder_rates=encoder_rates,
        sample_rate=section.size("sample_rate", 16000),
        depthwise=section.flag("depthwise", default=True),
        noise=section.flag("use_noise_block", default=False),
        rate_buckets=buckets,
    )


class _Section:
    """One object of the file; what it lacks and the model has a default for takes that."""

    def __init__(self, content: Mapping[str, Any], name: str, *, missing: bool = False) -> None:
        value = content.get(name)
        if value is None and missing:
            value = {}
        if not isinstance(value, Mapping):
            raise BadProfile(key=FILE, message=f"{name} is missing or is not an object")
        self._name = f"{name}." if name else ""
        self._values = value

    def refuse(self, key: str, message: str) -> None:
        """Raises BadProfile naming the entry."""
        raise BadProfile(key=FILE, message=f"{self._name}{key} {message}")

    def is_null(self, key: str) -> bool:
        """Whether the file says null, which is not the same as saying nothing."""
        return key in self._values and self._values[key] is None

    def size(self, key: str, default: int | None = None) -> int:
        """A whole number above 0."""
        return self._whole(key, self._values.get(key, default))

    def sizes(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """A list of whole numbers above 0."""
        values = self._values.get(key, default)
        if not isinstance(values, list | tuple) or not values:
            raise BadProfile(key=FILE, message=f"{self._name}{key} must be a list of whole numbers")
        return tuple(self._whole(key, value) for value in values)

    def word(self, key: str, default: str) -> str:
        """A text."""
        value = self._values.get(key, default)
        return value if isinstance(value, str) else repr(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise BadProfile(key=FILE, message=f"{self._name}{key} must be true or false")
        return value

    def head_dim(self, hidden: int, heads: int) -> int:
        """``kv_channels``, or what the heads share out among themselves."""
        if self._values.get("kv_channels") is not None:
            return self.size("kv_channels")
        if hidden % heads:
            raise BadProfile(key=FILE, message=f"{self._name}kv_channels is missing, and {heads} heads do not share {hidden} evenly")
        return hidden // heads

    def _whole(self, key: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= SIZE_MAX:
            # A number of thousands of digits has no text.
            far = isinstance(value, int) and abs(value) > SIZE_MAX**2
            state = (
                "is missing"
                if value is None
                else "is far beyond any model"
                if far
                else f"is {value!r:.40}"
                if isinstance(value, str | int | float)
                else "is no number"
            )
            raise BadProfile(key=FILE, message=f"{self._name}{key} {state}; it must be a whole number from 1 to {SIZE_MAX}")
        return value

"""VoxCPM's audio decoder: causal convolutions that turn a latent into samples; operations and weights, exactly.

The same decoder runs on any number of latents and costs the same for each: it pads on the left only.
"""

from collections.abc import Iterator

import msgspec

# Sizes of the kernels, as the code has them.
KERNEL = 7
POINT = 1
RESIDUAL_UNITS = 3


class AudioConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the decoder's work.

    Attributes:
        latent_dim: numbers in a latent.
        decoder_dim: channels after the first convolution; each block halves them.
        decoder_rates: how many times longer each block makes its input.
        encoder_rates: how many times shorter the encoder made it; their product is the samples in a latent.
        sample_rate: of what the encoder reads.
        depthwise: convolutions by channel.
        noise: blocks that add noise.
        rate_buckets: output sample rates that the decoder is told apart by; 0 when it knows one.
    """

    latent_dim: int
    decoder_dim: int
    decoder_rates: tuple[int, ...]
    encoder_rates: tuple[int, ...]
    sample_rate: int
    depthwise: bool = True
    noise: bool = False
    rate_buckets: int = 0


class _Layer(msgspec.Struct, frozen=True):
    """A convolution: its weights, positions it is applied at for one latent, whether it has a bias of this many channels."""

    weights: int
    positions: int
    norms: int
    biases: int


def decode_flop(config: AudioConfig) -> int:
    """Operations to decode one latent."""
    return sum(2 * layer.weights * layer.positions for layer in _layers(config))


def decoder_weights(config: AudioConfig) -> int:
    """Numbers the decoder is made of: kernels with the norm of each, biases, slopes of the activations, rate embeddings."""
    total = sum(layer.weights + layer.norms + layer.biases for layer in _layers(config))
    for index in range(len(config.decoder_rates)):
        wide = config.decoder_dim >> index
        # One slope a channel before the transposed convolution, two in each residual unit.
        total += wide + 2 * RESIDUAL_UNITS * (wide // 2) + 2 * config.rate_buckets * wide
    return total + (config.decoder_dim >> len(config.decoder_rates))


def _layers(config: AudioConfig) -> Iterator[_Layer]:
    latent, channels = config.latent_dim, config.decoder_dim
    if config.depthwise:
        yield _layer(latent, 1, KERNEL, 1)
        yield _layer(channels, latent, POINT, 1)
    else:
        yield _layer(channels, latent, KERNEL, 1)
    length = 1
    for stride in config.decoder_rates:
        narrow = channels // 2
        # A transposed convolution is applied where its input is; the norm is one for each input channel.
        yield _Layer(channels * narrow * 2 * stride, length, channels, narrow)
        length *= stride
        if config.noise:
            yield msgspec.structs.replace(_layer(narrow, narrow, POINT, length), biases=0)
        for _ in range(RESIDUAL_UNITS):
            yield _layer(narrow, 1 if config.depthwise else narrow, KERNEL, length)
            yield _layer(narrow, narrow, POINT, length)
        channels = narrow
    yield _layer(1, channels, KERNEL, length)


def _layer(outputs: int, inputs: int, kernel: int, positions: int) -> _Layer:
    return _Layer(outputs * inputs * kernel, positions, outputs, outputs)

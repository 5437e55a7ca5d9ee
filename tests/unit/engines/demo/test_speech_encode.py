"""Files: they decode, last as long as they should, and come in pieces where the format allows."""

import io
import wave

import av
import numpy as np
import numpy.typing as npt
import pytest

from taximeter.engines.demo.speech.encode import encoder
from taximeter.engines.demo.speech.offer import FORMATS

RATE_HZ = 24_000
# Encoders of lossy formats pad the beginning and fill the last block.
PADDING_S = 0.1


def tone(seconds: float) -> npt.NDArray[np.int16]:
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    samples: npt.NDArray[np.int16] = np.rint(np.sin(2 * np.pi * 440 * time) * 12_000).astype(np.int16)
    return samples


def file_of(name: str, parts: list[npt.NDArray[np.int16]]) -> tuple[bytes, list[bytes]]:
    sink = encoder(name, RATE_HZ)
    pieces = [sink.add(part) for part in parts]
    return b"".join([*pieces, sink.finish()]), pieces


def decoded(content: bytes) -> npt.NDArray[np.float32]:
    with av.open(io.BytesIO(content), "r") as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray().ravel() for frame in [*frames, *resampler.resample(None)]])


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "pcm"])
def test_a_file_decodes_to_the_tone_that_went_in(name: str) -> None:
    content, _ = file_of(name, [tone(0.5), tone(1.0), tone(0.25)])
    heard = decoded(content)
    assert 1.75 <= len(heard) / RATE_HZ <= 1.75 + PADDING_S
    loudness = np.sqrt(np.mean(heard[2_400:36_000] ** 2))
    assert loudness == pytest.approx(12_000 / 32_768 / np.sqrt(2), rel=0.05)


def test_pcm_is_the_samples_alone() -> None:
    samples = tone(0.5)
    content, _ = file_of("pcm", [samples[:7_000], samples[7_000:]])
    assert content == samples.astype("<i2").tobytes()


def test_wav_says_how_many_frames_it_has() -> None:
    samples = tone(0.75)
    content, _ = file_of("wav", [samples[:600], samples[600:]])
    with wave.open(io.BytesIO(content)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth(), reader.getframerate(), reader.getnframes()) == (1, 2, RATE_HZ, 18_000)
        assert reader.readframes(18_000) == samples.astype("<i2").tobytes()
    assert int.from_bytes(content[4:8], "little") == len(content) - 8


def test_flac_is_lossless_and_says_how_long_it_is() -> None:
    samples = tone(0.75)
    content, _ = file_of("flac", [samples[:600], samples[600:]])
    with av.open(io.BytesIO(content), "r") as container:
        assert container.duration == 750_000
        assert b"".join(frame.to_ndarray().tobytes() for frame in container.decode(audio=0)) == samples.tobytes()


@pytest.mark.parametrize("name", ["mp3", "opus", "aac", "pcm"])
def test_these_formats_come_out_as_they_are_made(name: str) -> None:
    _, pieces = file_of(name, [tone(2), tone(2)])
    assert all(pieces)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_sound_is_still_made(name: str) -> None:
    content, _ = file_of(name, [])
    assert isinstance(content, bytes)

"""Samples to a file in the format that was asked for, piece by piece where the format allows it.

mp3, opus, aac and pcm come out as they are made.  wav and flac carry their length at the beginning, so they come
out whole at the end: a player and Python's ``wave`` read the right number of frames.
"""

import io
import struct
from typing import Protocol

import av
import av.audio.stream
import msgspec
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]


class Codec(msgspec.Struct, frozen=True):
    """How PyAV makes one format."""

    container: str
    codec: str
    bit_rate: int | None


# Bit rates at which 24 kHz speech has no audible loss.
_CODECS: dict[str, Codec] = {
    "mp3": Codec("mp3", "libmp3lame", 64_000),
    "opus": Codec("ogg", "libopus", 32_000),
    "aac": Codec("adts", "aac", 64_000),
    "flac": Codec("flac", "flac", None),
}
_WAV_HEADER_BYTES = 44


class Encoder(Protocol):
    """Takes samples, gives bytes; what the two methods give, in order, is the file."""

    def add(self, samples: Samples) -> bytes:
        """Bytes that are final after these samples; may be empty."""
        ...

    def finish(self) -> bytes:
        """The rest of the file."""
        ...


def encoder(name: str, rate_hz: int) -> Encoder:
    """An encoder for one mono file.

    Args:
        name: one of ``offer.FORMATS``.
        rate_hz: samples in a second.
    """
    if name == "pcm":
        return _Raw()
    if name == "wav":
        return _Wave(rate_hz)
    return _Streamed(_CODECS[name], rate_hz)


class _Raw:
    """16-bit little-endian samples, nothing else: what OpenAI calls pcm."""

    def add(self, samples: Samples) -> bytes:
        return samples.astype("<i2").tobytes()

    def finish(self) -> bytes:
        return b""


class _Wave:
    """RIFF with true sizes, so it is written at the end."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._data = bytearray()

    def add(self, samples: Samples) -> bytes:
        self._data += samples.astype("<i2").tobytes()
        return b""

    def finish(self) -> bytes:
        size = len(self._data)
        riff = struct.pack("<4sI4s", b"RIFF", _WAV_HEADER_BYTES - 8 + size, b"WAVE")
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, self._rate_hz, self._rate_hz * 2, 2, 16)
        return riff + form + struct.pack("<4sI", b"data", size) + bytes(self._data)


class _Pipe(io.RawIOBase):
    """What PyAV writes into when nothing may be changed afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self._pending = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: bytes) -> int:  # type: ignore[override]  # PyAV gives bytes, never another buffer
        self._pending += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._pending)
        self._pending.clear()
        return taken


class _Streamed:
    """A format that PyAV's encoders make."""

    def __init__(self, codec: Codec, rate_hz: int) -> None:
        # flac goes back to its header when the length is known: it needs a file that can seek.
        self._sink: _Pipe | io.BytesIO = io.BytesIO() if codec.container == "flac" else _Pipe()
        self._container = av.open(self._sink, "w", format=codec.container, container_options={"flush_packets": "1"})
        stream = self._container.add_stream(codec.codec, rate=rate_hz)
        assert isinstance(stream, av.audio.stream.AudioStream)
        stream.layout = "mono"
        if codec.bit_rate is not None:
            stream.bit_rate = codec.bit_rate
        self._stream = stream
        self._rate_hz = rate_hz
        self._position = 0

    def add(self, samples: Samples) -> bytes:
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._rate_hz
        frame.pts = self._position
        self._position += len(samples)
        self._container.mux(self._stream.encode(frame))
        return self._sink.take() if isinstance(self._sink, _Pipe) else b""

    def finish(self) -> bytes:
        # An encoder that was given nothing has nothing to flush.
        if self._position:
            self._container.mux(self._stream.encode(None))
        # Closing writes the trailer and, for flac, the header's length; the sink itself stays open.
        self._container.close()
        return self._sink.take() if isinstance(self._sink, _Pipe) else self._sink.getvalue()

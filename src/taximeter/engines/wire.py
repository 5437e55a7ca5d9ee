"""How an engine's events travel from its host: frames of four length bytes and MessagePack."""

from typing import Any

import msgspec

from taximeter.engines.errors import EngineError, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.model import Event, Job

SECRET_HEADER = "taximeter-host-secret"  # noqa: S105 - the header's name, not its value
RUN_PATH = "/run"
CHECK_PATH = "/check"
FRAME_BYTES_MAX = 64 * 1024 * 1024
_LENGTH_BYTES = 4
_KINDS: dict[str, type[EngineError]] = {kind.code: kind for kind in (EngineUnavailable, EngineRefused, EngineFailed, EngineTimeout)}


class RunOrder(msgspec.Struct, frozen=True):
    """What a client asks of a host: this job, on that engine."""

    engine: str
    job: Job


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """The last frame of a job that ended with an EngineError."""

    code: str
    message: str
    param: str | None = None
    headers: dict[str, str] = {}
    work: dict[str, int] = {}

    @classmethod
    def of(cls, error: EngineError) -> "Failure":
        """The frame for an error."""
        return cls(error.code, error.message, error.param, error.headers, error.work)

    def error(self) -> EngineError:
        """The error again; a code from a newer host counts as EngineFailed."""
        return _KINDS.get(self.code, EngineFailed)(self.message, param=self.param, headers=self.headers, work=self.work)


Frame = Event | Failure

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Frame)


def pack(frame: Frame) -> bytes:
    """One frame as bytes."""
    body = _encoder.encode(frame)
    assert len(body) <= FRAME_BYTES_MAX, "an engine must split what it yields into pieces"
    return len(body).to_bytes(_LENGTH_BYTES) + body


class FrameReader:
    """Puts frames together again from network reads of any size."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that ``piece`` completes.  Raises EngineFailed when it is not this protocol."""
        self._rest += piece
        frames: list[Frame] = []
        begin = 0
        while len(self._rest) - begin >= _LENGTH_BYTES:
            size = int.from_bytes(self._rest[begin : begin + _LENGTH_BYTES])
            end = begin + _LENGTH_BYTES + size
            if size > FRAME_BYTES_MAX:
                message = "the engine host sent a frame that is too large"
                raise EngineFailed(message)
            if len(self._rest) < end:
                break
            try:
                frames.append(_decoder.decode(bytes(self._rest[begin + _LENGTH_BYTES : end])))
            except msgspec.DecodeError as error:
                message = "the engine host sent a frame that cannot be read"
                raise EngineFailed(message) from error
            begin = end
        del self._rest[:begin]
        return frames

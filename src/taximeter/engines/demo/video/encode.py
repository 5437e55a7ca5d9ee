"""Frames -> MP4 with H.264 (yuv420p, BT.601 matrix, video range), index first so that playing can start before the end.

Encoders are tried in order: ``libopenh264`` (BSD) where the installed FFmpeg has it, else
``libx264`` (GPL), which the PyAV wheels carry; that is why this engine runs in a process of its own.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.codec
import av.error
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from taximeter.engines.demo.video.latent import Levels

ENCODERS = ("libopenh264", "libx264")
_OPTIONS = {"libx264": {"preset": "superfast", "crf": "20", "tune": "animation"}, "libopenh264": {"rc_mode": "quality"}}
# Values of FFmpeg's AVColor* enumerations.
_VIDEO_RANGE = 1
_BT709 = 1
_SMPTE170M = 6


class EncodingFailed(Exception):
    """The film could not be written; the message is one sentence for the caller."""


def choose_encoder(names: Sequence[str]) -> str:
    """The first installed encoder.  Raises EncodingFailed when there is none."""
    for name in names:
        try:
            av.codec.Codec(name, "w")
        except av.codec.codec.UnknownCodecError:
            continue
        return name
    message = f"the video encoder is missing: none of {', '.join(names)} is in the installed FFmpeg"
    raise EncodingFailed(message)


def write_mp4(path: Path, frames: Iterable[Levels], *, size: tuple[int, int], fps: int, encoder: str) -> int:
    """Write the frames (4:2:0 levels, see ``latent.decode``) and return how many there were.  Raises EncodingFailed."""
    count = 0
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
            stream = _stream(container, encoder, fps)
            _configure(stream.codec_context, size, fps)
            for levels in frames:
                frame = av.VideoFrame.from_ndarray(levels, format="yuv420p")
                frame.pts, frame.time_base = count, Fraction(1, fps)
                frame.color_range, frame.colorspace = _VIDEO_RANGE, _SMPTE170M
                container.mux(stream.encode(frame))
                count += 1
            container.mux(stream.encode(None))
    except (av.error.FFmpegError, OSError) as error:
        message = f"the video could not be encoded with {encoder}: {error}"
        raise EncodingFailed(message) from error
    return count


def _stream(container: OutputContainer, encoder: str, fps: int) -> VideoStream:
    try:
        stream = container.add_stream(encoder, rate=fps, options=dict(_OPTIONS.get(encoder, {})))
    except ValueError as error:
        # PyAV says so when the container cannot hold what the encoder makes.
        message = f"the video could not be encoded with {encoder}: {error}"
        raise EncodingFailed(message) from error
    assert isinstance(stream, VideoStream), f"{encoder} is not a video encoder"
    return stream


def _configure(context: VideoCodecContext, size: tuple[int, int], fps: int) -> None:
    context.width, context.height = size
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, fps)
    # One thread: a film takes one core, and the same frames give the same bytes on every machine.
    context.thread_count = 1
    context.color_range = _VIDEO_RANGE
    context.colorspace = _SMPTE170M
    context.color_primaries = _BT709
    context.color_trc = _BT709

"""Frames survive any cutting by the network, and errors keep what the caller must be told."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.engines import wire
from taximeter.engines.errors import EngineError, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.model import Chunk, Done, Media, Progress, Started, Vectors

FRAMES: list[wire.Frame] = [
    Started(provider_job="p"),
    Started(detached=True),
    Chunk(choices=[{"index": 0, "delta": {"content": "é"}, "finish_reason": None}], output_tokens=3),
    Vectors(vectors=[b"\x00\x00\x80?", b""]),
    Media(data=bytes(range(256))),
    Progress(done=1, total=4),
    wire.Failure("engine_failed", "it broke", "input", {"Retry-After": "3"}, {"steps": 2}),
    Done(work={"steps": 2**40}, measured=False, truncated=True, engine_ms=7, detail={"rate": 24000}),
]
STREAM = b"".join(wire.pack(frame) for frame in FRAMES)


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_frames_are_the_same_however_the_network_cuts_them(cuts: list[int]) -> None:
    reader = wire.FrameReader()
    edges = [0, *sorted(cuts), len(STREAM)]
    assert [frame for begin, end in itertools.pairwise(edges) for frame in reader.feed(STREAM[begin:end])] == FRAMES


@pytest.mark.parametrize("raw", [b"HTTP/1.1 200 OK", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x02\x81\xa4"])
def test_bytes_that_are_no_frames_are_a_failure(raw: bytes) -> None:
    with pytest.raises(EngineFailed):
        wire.FrameReader().feed(raw)


@pytest.mark.parametrize("kind", [EngineUnavailable, EngineRefused, EngineFailed, EngineTimeout])
def test_an_error_arrives_as_it_was_raised(kind: type[EngineError]) -> None:
    raised = kind("it broke", param="input", headers={"Retry-After": "3"}, work={"steps": 2})
    (frame,) = wire.FrameReader().feed(wire.pack(wire.Failure.of(raised)))
    assert isinstance(frame, wire.Failure)
    error = frame.error()
    assert type(error) is kind
    assert (error.message, error.param, error.headers, error.work) == (raised.message, "input", {"Retry-After": "3"}, {"steps": 2})


def test_an_error_of_an_unknown_kind_counts_as_a_failure() -> None:
    assert type(wire.Failure("engine_melted", "hot").error()) is EngineFailed

"""Seconds of each repetition: by events on the GPU, by the clock of the processor where there is none."""

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch

# A soak lets so many repetitions queue up, so that the device never waits for us.
QUEUED = 2


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def samples_s(run: Callable[[], Any], warm: int, reps: int, device: torch.device) -> list[float]:
    """Run it a few times without and a few times with a clock."""
    for _ in range(warm):
        run()
    synchronize(device)
    if device.type != "cuda":
        return [_clocked_s(run) for _ in range(reps)]
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(reps)]
    for begin, end in marks:
        begin.record()
        run()
        end.record()
    synchronize(device)
    return [begin.elapsed_time(end) / 1000 for begin, end in marks]


def soak_s(run: Callable[[], Any], lasting_s: float, device: torch.device) -> list[float]:
    """Seconds of each repetition, back to back for at least so long."""
    began = time.perf_counter()
    taken: list[float] = []
    if device.type != "cuda":
        while time.perf_counter() - began < lasting_s or len(taken) < QUEUED:
            taken.append(_clocked_s(run))
        return taken
    marks = [torch.cuda.Event(enable_timing=True)]
    marks[0].record()
    while time.perf_counter() - began < lasting_s or len(marks) <= QUEUED:
        run()
        marks.append(torch.cuda.Event(enable_timing=True))
        marks[-1].record()
        if len(marks) > QUEUED:
            marks[-QUEUED].synchronize()
    synchronize(device)
    return [before.elapsed_time(after) / 1000 for before, after in pairwise(marks)]


def _clocked_s(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    first, middle, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, middle, third

"""Typical requests of a model as a grid of work: what its own meter expects, or counts from a report.  Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from taximeter import meters, pricing
from taximeter.kernel.errors import InvalidRequest
from taximeter.metering.comparison.model import Grid
from taximeter.meters import Work

VIDEO_SIZES = ("640x360", "832x480", "1280x720", "1920x1088")
VIDEO_SECONDS = (1, 2, 3, 5, 8, 10)
IMAGE_SIZES = ("512x512", "768x768", "1024x1024", "1536x1024", "2048x2048")
IMAGE_STEPS = (4, 10, 20, 30, 50)
SIZES_MAX = 8
PROMPT_TOKENS = (100, 1_000, 8_000, 32_000, 128_000)
ANSWER_TOKENS = (100, 300, 1_000, 4_000)
EMBEDDED_TOKENS = (16, 128, 512, 4_096)
SPEECH_CHARS = (50, 200, 1_000, 4_000)
SAMPLE = "The meter runs only while the work is done, and the receipt says what was measured, by which card, and why. "


def typical(model: pricing.ModelEntry) -> Grid:
    """The grid of the model's modality, without rows and columns that the model takes no request of.

    Raises InvalidRequest when there is no grid for the modality, or when the model refuses all of it, with its reason.
    """
    make = _GRIDS.get(model.modality)
    if make is None:
        message = f"there is no grid of typical requests for {model.modality} ({model.name}); compare the cards on usage instead: --on usage"
        raise InvalidRequest(message)
    return make(model)


def _video(model: pricing.ModelEntry) -> Grid:
    sizes = _sizes(model, VIDEO_SIZES)
    requests = [[{"prompt": "x", "size": size, "seconds": str(seconds)} for seconds in VIDEO_SECONDS] for size in sizes]
    return _estimated(model, requests, ("Size (pixels)", "Length of the film (seconds)"), (sizes, [f"{seconds} s" for seconds in VIDEO_SECONDS]))


def _images(model: pricing.ModelEntry) -> Grid:
    sizes = _sizes(model, IMAGE_SIZES)
    requests = [[{"prompt": "x", "size": size, "steps": steps} for steps in IMAGE_STEPS] for size in sizes]
    found = _estimated(model, requests, ("Size (pixels)", "Denoising steps"), (sizes, [str(steps) for steps in IMAGE_STEPS]))
    # The steps that the last cell was asked for are not what all cells have in common.
    return replace(found, settled="")


def _speech(model: pricing.ModelEntry) -> Grid:
    voice = model.profile["voices"][0]
    requests = [[{"input": (SAMPLE * (chars // len(SAMPLE) + 1))[:chars], "voice": voice} for chars in SPEECH_CHARS]]
    return _estimated(model, requests, ("", "Length of the text (characters)"), (["speech"], [f"{chars:,}" for chars in SPEECH_CHARS]))


def _chat(model: pricing.ModelEntry) -> Grid:
    reports = [
        [{"prompt_tokens": prompt, "output_tokens": answer} if _fits(model, prompt + answer) else None for answer in ANSWER_TOKENS]
        for prompt in PROMPT_TOKENS
    ]
    request = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    names = ([f"{prompt:,}" for prompt in PROMPT_TOKENS], [f"{answer:,}" for answer in ANSWER_TOKENS])
    return _reported(model, request, reports, ("Prompt (tokens)", "Answer (tokens)"), names)


def _one_text(model: pricing.ModelEntry) -> Grid:
    reports: list[list[dict[str, int] | None]] = [[{"prompt_tokens": tokens, "inputs": 1} for tokens in EMBEDDED_TOKENS]]
    return _reported(model, {"input": "Hello"}, reports, ("", "Length of the text (tokens)"), (["one text"], [f"{n:,}" for n in EMBEDDED_TOKENS]))


_GRIDS: Mapping[str, Callable[[pricing.ModelEntry], Grid]] = {
    "chat": _chat,
    "classification": _one_text,
    "embeddings": _one_text,
    "images": _images,
    "speech": _speech,
    "video": _video,
}
Names = tuple[Sequence[str], Sequence[str]]


def _estimated(model: pricing.ModelEntry, requests: Sequence[Sequence[Mapping[str, Any]]], axes: tuple[str, str], names: Names) -> Grid:
    meter = meters.get(model.meter)
    works: list[list[Work | None]] = []
    refusal: InvalidRequest | None = None
    settled = ""
    for row in requests:
        works.append([])
        for request in row:
            try:
                estimate = meter.estimate(request, model.profile)
            except InvalidRequest as error:
                refusal = error
                works[-1].append(None)
            else:
                works[-1].append(estimate.expected)
                settled = _settled(estimate.request)
    return _trimmed(works, axes, names, settled, refusal)


def _reported(
    model: pricing.ModelEntry, request: Mapping[str, Any], reports: Sequence[Sequence[Work | None]], axes: tuple[str, str], names: Names
) -> Grid:
    meter = meters.get(model.meter)
    estimate = meter.estimate(request, model.profile)
    works = [[None if report is None else meter.actual(report, estimate, model.profile) for report in row] for row in reports]
    return _trimmed(works, axes, names, "", None)


def _trimmed(works: Sequence[Sequence[Work | None]], axes: tuple[str, str], names: Names, settled: str, refusal: InvalidRequest | None) -> Grid:
    kept_rows = [index for index, row in enumerate(works) if any(work is not None for work in row)]
    kept_columns = [index for index in range(len(names[1])) if any(row[index] is not None for row in works)]
    if not kept_rows:
        reason = f": {refusal.message}" if refusal else ""
        message = f"the model takes none of the typical requests{reason}; compare the cards on usage instead: --on usage"
        raise InvalidRequest(message)
    return Grid(
        row_axis=axes[0],
        column_axis=axes[1],
        rows=tuple(names[0][index] for index in kept_rows),
        columns=tuple(names[1][index] for index in kept_columns),
        works=tuple(tuple(works[row][column] for column in kept_columns) for row in kept_rows),
        settled=settled,
    )


def _settled(request: Mapping[str, Any]) -> str:
    """What the model's defaults filled in, where a film has such a thing."""
    parts = [f"{request[key]} {words}" for key, words in (("steps", "steps"), ("fps", "frames a second")) if key in request]
    if "guidance" in request:
        parts.append("with guidance" if request["guidance"] else "without guidance")
    return ", ".join(parts)


def _fits(model: pricing.ModelEntry, tokens: int) -> bool:
    context = model.profile.get("context_tokens")
    return not isinstance(context, int) or tokens <= context


def _sizes(model: pricing.ModelEntry, usual: Sequence[str]) -> list[str]:
    """The model's own sizes, those that are not upright, and the usual ones; the smallest first."""
    listed = [size for size in model.profile.get("sizes", ()) if _area(size) and int(size.partition("x")[0]) >= int(size.partition("x")[2])]
    return sorted({*listed, *usual}, key=lambda size: (_area(size), size))[:SIZES_MAX]


def _area(size: object) -> int:
    width, cross, height = str(size).partition("x")
    return int(width) * int(height) if cross and width.isdecimal() and height.isdecimal() else 0

"""The same job cheaper: what a request would cost with something less of it.  Pure; every figure is a fare of its own."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import msgspec

from taximeter.kernel.errors import Refusal
from taximeter.metering.fares import Fare
from taximeter.metering.quotes.fingerprint import fingerprint, job_of

ALTERNATIVES_MAX = 8
"""Shown for one quote."""
# Of seconds, steps and tokens: how much of them is tried.
_SHARES = (Fraction(3, 4), Fraction(1, 2), Fraction(1, 4))
# What is slower may be cheaper.
_TIERS = ("batch", "flex", "standard")
_SPEEDS = (1.25, 1.5)

Request = Mapping[str, Any]
Price = Callable[[Request], Fare]


class Change(msgspec.Struct, frozen=True):
    """One field that is another one; ``text`` says it in words."""

    field: str
    before: Any
    after: Any
    text: str


class Alternative(msgspec.Struct, frozen=True):
    """A cheaper request.

    Attributes:
        changes: what is different.
        request: the body to send, or to ask a quote for.
        fare: what it costs.
    """

    changes: tuple[Change, ...]
    request: Request
    fare: Fare


def alternatives(request: Request, fare: Fare, price: Price) -> list[Alternative]:
    """Requests for the same thing that cost less, the cheapest first, at most ``ALTERNATIVES_MAX``.

    Args:
        request: the body that was quoted.
        fare: its fare.
        price: the fare of another body on the same model for the same buyer.
    """
    return ranked(tried(request, fare, price))


def tried(request: Request, fare: Fare, price: Price) -> Iterator[Alternative | None]:
    """Each attempt, one by one, for whoever has other things to do between them; None: it is not possible, not new or not cheaper."""
    seen = {fingerprint(job_of(fare))}
    for changes in _candidates(request, fare):
        other = {**request, **{change.field: change.after for change in changes}}
        try:
            cheaper = price(other)
        except Refusal:
            # Below what the model takes, or a tier that it does not have.
            yield None
            continue
        job = fingerprint(job_of(cheaper))
        yield Alternative(changes, other, cheaper) if job not in seen and _is_cheaper(cheaper, fare) else None
        seen.add(job)


def ranked(found: Iterable[Alternative | None]) -> list[Alternative]:
    """The cheapest first, and not too many."""
    cheaper = [each for each in found if each is not None]
    return sorted(cheaper, key=lambda each: (each.fare.maximum_utok, each.fare.expected_utok))[:ALTERNATIVES_MAX]


def _is_cheaper(other: Fare, fare: Fare) -> bool:
    return other.maximum_utok < fare.maximum_utok and other.expected_utok <= fare.expected_utok


def _candidates(request: Request, fare: Fare) -> Iterator[tuple[Change, ...]]:
    for tier in _TIERS:
        if tier != fare.tier:
            yield (Change("service_tier", fare.tier, tier, f"in the service tier {tier} instead of {fare.tier}"),)
    normal = fare.estimate.request
    yield from _CANDIDATES.get(fare.model.modality, _nothing)(request, normal, fare.model.profile)


def _nothing(_request: Request, _normal: Request, _profile: Mapping[str, Any]) -> Iterator[tuple[Change, ...]]:
    return iter(())


def _video(request: Request, normal: Request, profile: Mapping[str, Any]) -> Iterator[tuple[Change, ...]]:
    frames, fps, steps = normal["frames"], normal["fps"], normal["steps"]
    for fewer in _less(steps):
        yield (Change("steps", steps, fewer, f"{fewer} steps instead of {steps}"),)
    if normal.get("guidance") is True:
        yield (Change("guidance", before=True, after=False, text="without guidance: one pass a step instead of two"),)
    size = f"{normal['width']}x{normal['height']}"
    for smaller in _smaller(normal["width"], normal["height"], profile.get("sizes", ())):
        yield (Change("size", size, smaller, f"{smaller} instead of {size}"),)
    if request.get("frames") is not None:
        for fewer in _less(frames):
            yield (Change("frames", frames, fewer, f"{fewer} frames instead of {frames}"),)
        return
    asked = _asked_seconds(request, profile)
    seconds = Fraction(frames, fps) if asked is None else Fraction(str(asked))
    for fewer in _less(int(seconds)):
        # As OpenAI's client sends them: seconds are a text.
        before = _decimal(seconds) if asked is None else asked
        yield (Change("seconds", before, str(fewer), f"{fewer} second{'s' if fewer > 1 else ''} instead of {_decimal(seconds)}"),)


def _asked_seconds(request: Request, profile: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as it was sent
    """The length that was asked for, or is meant when nothing is said; None: a model of another meter, which says neither.

    Models make a frame more than whole seconds have: the length of what is made is not what anybody has said.
    """
    seconds = request.get("seconds")
    return profile.get("default_seconds") if seconds is None else seconds


def _smaller(width: int, height: int, sizes: Sequence[str]) -> Iterator[str]:
    """Sizes with fewer pixels that lie or stand as the wanted one does."""
    for text in sizes:
        other_width, _, other_height = text.partition("x")
        wide, high = int(other_width), int(other_height)
        if wide * high < width * height and (wide >= high) == (width >= height):
            yield text


def _chat(request: Request, normal: Request, _profile: Mapping[str, Any]) -> Iterator[tuple[Change, ...]]:
    # Of the two names of the limit, the newer one goes first when both are there.
    name = "max_completion_tokens" if request.get("max_completion_tokens") is not None else "max_tokens"
    limit = normal["max_tokens"]
    for fewer in _less(limit):
        yield (Change(name, limit, fewer, f"an answer of at most {fewer} tokens instead of {limit}"),)
    choices = normal.get("n", 1)
    if choices > 1:
        yield (Change("n", choices, 1, f"one answer instead of {choices}"),)


def _speech(_request: Request, normal: Request, _profile: Mapping[str, Any]) -> Iterator[tuple[Change, ...]]:
    for faster in _SPEEDS:
        if Fraction(str(faster)) > Fraction(normal["speed"]):
            yield (Change("speed", normal["speed"], faster, f"spoken at speed {faster} instead of {normal['speed']}"),)


def _images(request: Request, normal: Request, profile: Mapping[str, Any]) -> Iterator[tuple[Change, ...]]:
    if isinstance(normal.get("steps"), int):
        for fewer in _less(normal["steps"]):
            yield (Change("steps", normal["steps"], fewer, f"{fewer} steps instead of {normal['steps']}"),)
    if isinstance(normal.get("n"), int) and normal["n"] > 1:
        yield (Change("n", normal["n"], 1, f"one image instead of {normal['n']}"),)
    if isinstance(normal.get("width"), int) and isinstance(normal.get("height"), int):
        size = f"{normal['width']}x{normal['height']}"
        for smaller in _smaller(normal["width"], normal["height"], profile.get("sizes", ())):
            yield (Change("size", request.get("size", size), smaller, f"{smaller} instead of {size}"),)


_CANDIDATES: Mapping[str, Callable[[Request, Request, Mapping[str, Any]], Iterator[tuple[Change, ...]]]] = {
    "chat": _chat,
    "images": _images,
    "speech": _speech,
    "video": _video,
}


def _less(amount: int) -> Iterator[int]:
    """Three quarters, a half and a quarter of it, whole and at least 1."""
    return iter(dict.fromkeys(fewer for share in _SHARES if 1 <= (fewer := int(amount * share)) < amount))


def _decimal(number: Fraction) -> str:
    whole, rest = divmod(number.numerator, number.denominator)
    return str(whole) if rest == 0 else f"{float(number):.4f}".rstrip("0")

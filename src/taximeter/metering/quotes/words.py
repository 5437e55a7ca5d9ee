"""The lines of a fare in words that a person understands.  Pure; amounts are those of the fare, and nothing is rounded anew.

Operations of a GPU have numbers that nobody can picture: such a line says what is done (passes over how many latent tokens, of what),
how long that is on the reference GPU, and which part of the model has which share of it.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import msgspec

from taximeter.kernel.units import UTOK_PER_TOKEN, format_tokens, large_numbers, round_half_even
from taximeter.metering.fares import Fare

# 1 Token of a card that prices operations is a quarter of a second of the reference GPU.
TOKENS_PER_GPU_S = 4
_OPERATIONS = "_flop"
_LINEAR, _ATTENTION = "linear_flop", "attention_flop"
# What linear_flop is the sum of, where a meter counts it apart.
_OF_LINEAR = ("transformer_flop", "conditioning_flop", "vae_flop", "text_encoder_flop")
_PARTS: Mapping[str, str] = {
    "transformer_flop": "transformer",
    _ATTENTION: "self-attention",
    "conditioning_flop": "conditioning",
    "vae_flop": "autoencoder",
    "text_encoder_flop": "text encoder",
    _LINEAR: "everything but self-attention",
}
_STEPS_A_SECOND = "steps_per_100_s"
_PER_MILLE = 1000
_TRILLION = 10**12
_HUNDREDTHS_BELOW_S = 10


class Part(msgspec.Struct, frozen=True):
    """A share of a line: operations of one part of the model.

    Attributes:
        label: which part.
        operations: how many it takes.
        rate: what they cost.
        share: of the line's Tokens.
    """

    label: str
    operations: int
    rate: str
    share: Fraction

    @property
    def percent(self) -> str:
        """``48.8 %``."""
        tenths = round_half_even(self.share * _PER_MILLE)
        return f"{tenths // 10}.{tenths % 10} %" if tenths else "under 0.1 %"

    @property
    def quantity(self) -> str:
        """``374,561.8 trillion operations``."""
        return f"{large_numbers(f'{self.operations:,}')} operations"

    def to_page(self) -> dict[str, str]:
        """The share as a page tells it."""
        return {"label": self.label, "quantity": self.quantity, "rate": self.rate, "share": self.percent}


class Told(msgspec.Struct, frozen=True):
    """A line in words.

    Attributes:
        quantity: of what it is, the likely number.
        both: the same, with the most where that is another one.
        rate: what one is, for each term that counts something; of a line with parts, the time that it takes.
        parts: who has which share, the largest first; empty: the line is of one piece.
    """

    label: str
    quantity: str
    both: str
    rate: str
    expected_utok: int
    maximum_utok: int
    parts: Sequence[Part] = ()

    @property
    def text(self) -> str:
        """``Speech: 64 audio frames at 0.0055 Tokens each: about 0.352 Tokens, at most 0.902``."""
        expected, most = format_tokens(self.expected_utok), format_tokens(self.maximum_utok)
        amount = f"{expected} {'Token' if expected == '1' else 'Tokens'}" if expected == most else f"about {expected} Tokens, at most {most}"
        shares = f" ({', '.join(f'{part.label} {part.percent}' for part in self.parts)})" if self.parts else ""
        what = f"{self.label}: {self.quantity}{', ' if shares else ' at '}{self.rate}{shares}" if self.quantity else self.label
        return f"{what}: {amount}"

    def to_page(self) -> dict[str, Any]:
        """The line as a page tells it."""
        return {
            "label": self.label,
            "quantity": self.both,
            "rate": self.rate,
            "tokens_expected": format_tokens(self.expected_utok),
            "tokens_max": format_tokens(self.maximum_utok),
            "parts": [part.to_page() for part in self.parts],
        }


def told(fare: Fare) -> list[Told]:
    """Each line of a fare, in the order of its breakdown."""
    card = fare.parts.expected.card
    places = {line.label: index for index, line in enumerate(card.lines)}
    return [_line(fare, line.label, (line.expected_utok, line.maximum_utok), places.get(line.label)) for line in fare.parts.lines]


def _line(fare: Fare, label: str, amounts: tuple[int, int], place: int | None) -> Told:
    expected_utok, maximum_utok = amounts
    if place is None:
        # The rounding of a whole total, which counts nothing.
        return Told(label, "", "", "", expected_utok, maximum_utok)
    likely, most, card = fare.parts.expected.work, fare.parts.maximum.work, fare.parts.expected.card
    terms = [
        (name, words, rate)
        for (name, words), rate in zip(card.units[place], card.rates[place].split(" + "), strict=True)
        if likely[name] or most[name]
    ]
    counted = [name for name, _, _ in terms]
    if _is_made_in_passes(counted, likely):
        what = _passes(fare)
        return Told(label, what, what, _gpu_time(fare, place), expected_utok, maximum_utok, _shares(fare, place, terms))
    before, after = _film(counted, fare), _pace(counted, likely)
    quantities = [f"{before}{_count(likely[name])} {_unit(words)}{after}" for name, words, _ in terms]
    bounds = [f", at most {_count(most[name])}" if most[name] > likely[name] else "" for name in counted]
    return Told(
        label,
        " + ".join(quantities),
        " + ".join(f"{quantity}{bound}" for quantity, bound in zip(quantities, bounds, strict=True)),
        " + ".join(large_numbers(rate) for _, _, rate in terms),
        expected_utok,
        maximum_utok,
    )


def _count(number: int) -> str:
    text = f"{number:,}"
    return text if number < _TRILLION else large_numbers(text)


def _unit(words: str) -> str:
    return f"{words.removesuffix(' flop')} operations" if words.endswith(" flop") else words


def _is_made_in_passes(counted: Sequence[str], work: Mapping[str, int]) -> bool:
    """Whether a line is for what a diffusion transformer does."""
    of_passes = {_LINEAR, _ATTENTION, "transformer_flop"} & set(counted)
    return bool(of_passes and all(name.endswith(_OPERATIONS) for name in counted) and work.get("passes") and work.get("latent_tokens"))


def _film(counted: Sequence[str], fare: Fare) -> str:
    """Of which steps and frames the pixel steps are, where they are all of them."""
    request = fare.estimate.request
    if counted != ["pixel_steps"] or not {"width", "height", "frames", "steps"} <= request.keys():
        return ""
    width, height, frames, steps = request["width"], request["height"], request["frames"], request["steps"]
    if width * height * frames * steps != fare.parts.expected.work["pixel_steps"]:
        return ""
    return f"{steps:,} step{'s' if steps > 1 else ''} over {_frames(frames)} of {width}x{height}, "


def _frames(count: int) -> str:
    return f"{count:,} frame{'s' if count > 1 else ''}"


def _pace(counted: Sequence[str], work: Mapping[str, int]) -> str:
    """How many decode steps a second of audio has, for a line that counts them."""
    per_100_s = work.get(_STEPS_A_SECOND, 0)
    if counted != ["decode_steps"] or not per_100_s:
        return ""
    whole, hundredths = divmod(per_100_s, 100)
    return f" ({f'{whole}.{hundredths:02d}'.rstrip('0').rstrip('.')} Hz)"


def _passes(fare: Fare) -> str:
    """What is done: ``80 passes over 75,600 latent tokens (81 frames of 1280x720)``."""
    work, request = fare.parts.expected.work, fare.estimate.request
    passes, tokens, images = work["passes"], work["latent_tokens"], work.get("images", 0)
    size = f" of {request['width']}x{request['height']}" if {"width", "height"} <= request.keys() else ""
    if images:
        # Each pass is over one of them.
        tokens //= images
    made = f"{images:,} images" if images > 1 else "an image" if images else _frames(work.get("frames", 0))
    return f"{passes:,} pass{'es' if passes > 1 else ''} over {tokens:,} latent tokens ({made}{size})"


def _gpu_time(fare: Fare, place: int) -> str:
    """``1,041.5 s of the reference GPU``: the line's Tokens, before they are rounded."""
    consumed = fare.parts.expected
    line = consumed.card.weights[place]
    seconds = Fraction(line.numerator(consumed.work), line.divisor) / (UTOK_PER_TOKEN * TOKENS_PER_GPU_S)
    digits = 1 if seconds >= _HUNDREDTHS_BELOW_S else 2
    count = round_half_even(seconds * 10**digits)
    if not count:
        return "under 0.01 s of the reference GPU"
    whole, rest = divmod(count, 10**digits)
    return f"{whole:,}.{rest:0{digits}d} s of the reference GPU"


def _shares(fare: Fare, place: int, terms: Sequence[tuple[str, str, str]]) -> list[Part]:
    consumed = fare.parts.expected
    work, line = consumed.work, consumed.card.weights[place]
    total = line.numerator(work)
    weights, rates = dict(line.terms), {name: large_numbers(rate) for name, _, rate in terms}
    parts = [
        Part(_PARTS.get(name, name.removesuffix(_OPERATIONS).replace("_", " ")), count, rates[whole], Fraction(count * weights[whole], total))
        for whole in rates
        for name, count in _pieces(whole, work)
        if count
    ]
    return sorted(parts, key=lambda part: -part.share)


def _pieces(name: str, work: Mapping[str, int]) -> list[tuple[str, int]]:
    """The parts of a quantity, where they are counted apart and are all of it."""
    pieces = [(piece, work[piece]) for piece in _OF_LINEAR if piece in work] if name == _LINEAR else []
    return pieces if pieces and sum(count for _, count in pieces) == work[name] else [(name, work[name])]

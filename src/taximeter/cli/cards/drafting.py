"""From what a model's files say and a GPU profile to a catalog file that can be applied.  Pure.

A unit of a quantity takes ``max(linear / r_linear + attention / r_attention, bytes / bandwidth)`` seconds; a second is worth 4 Tokens
times the GPU's price over the reference GPU's.  A rate per operation or byte is written as that quotient, exactly, also where it has no
end as a decimal (``tokens: 4, per: 844.8e12``); every other one is rounded, once, to RATE_DIGITS significant digits.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any

import yaml

from taximeter.kernel.units import NANO_PER_UNIT, format_tokens, round_half_even
from taximeter.meters.draft import Cost, Draft
from taximeter.pricing.currencies import money_text
from taximeter.pricing.gpus import Gpu, GpuPrice, tokens_per_second
from taximeter.pricing.gpus.model import GIGA, REFERENCE
from taximeter.pricing.nodes import TEXT_CHARS_MAX, Node, decimal_of
from taximeter.pricing.tariffs import exact_text

RATE_DIGITS = 6
WIDTH = 130
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a draft is made of, beside the model's files.

    Attributes:
        name: the model's name in the catalog; the card is named after it and the GPU.
        gpu: the profile.
        price: of an hour of this GPU.
        reference: of an hour of the reference GPU, in the same currency.
        tariff: the tariff that Tokens are paid by.
        effective_from: the day, as 2026-01-31.
    """

    name: str
    gpu: Gpu
    price: GpuPrice
    reference: GpuPrice
    tariff: str
    effective_from: str

    @property
    def card_name(self) -> str:
        """``llama-3-8b-h100``."""
        return card_name(self.name, self.gpu)

    @property
    def status(self) -> str:
        """``calibrated`` when the GPU's rates come from our own runs."""
        return "calibrated" if self.gpu.status == "calibrated" else "indicative"


def card_name(model: str, gpu: Gpu) -> str:
    """What the card of a drafted model is called."""
    return f"{model}-{gpu.name.lower()}"


def draft_text(draft: Draft, plan: Plan) -> str:
    """The catalog file."""
    model_notes, card_notes = _notes(model_sentences(draft, plan)), _notes(card_sentences(draft, plan))
    head = [
        f"# {draft.family}, drafted from its configuration files for {plan.gpu.title}: a quote-only model and its rate card.",
        f"# Status: {plan.status}.  Read the notes, correct what is wrong, then publish it with `taximeter apply -f FOLDER`.",
    ]
    documents = (_model(draft, plan, model_notes), _card(draft, plan, card_notes))
    return "\n".join(head) + "\n" + "---\n".join(_dump(document) for document in documents)


def model_sentences(draft: Draft, plan: Plan) -> list[str]:
    """What the files do not say, and whether the GPU can hold it."""
    return ["For quotes; no engine runs it here.", residency(draft.resident_bytes, plan.gpu), *draft.assumptions]


def card_sentences(draft: Draft, plan: Plan) -> list[str]:
    """Where the rates come from, one sentence after the other."""
    gpu, price, reference = plan.gpu, plan.price, plan.reference
    worth = exact_text(tokens_per_second(price, reference))
    dated = f" ({price.date})" if price.date else ""
    paid, usual = money(price.per_hour, price.currency), money(reference.per_hour, reference.currency)
    cost = f"It costs {paid} {price.currency} an hour{dated}, the reference GPU ({REFERENCE}) {usual}"
    speeds = f"Linear work runs at {_tera(gpu.linear_flop_s)} TFLOP/s, attention at {_tera(gpu.attention_flop_s)}"
    moving = f"memory moves {gpu.bandwidth_bytes_s // GIGA} GB/s; a unit takes the longer of computing and moving"
    sentences = [f"{plan.status.capitalize()}.", _status_sentence(gpu), f"{cost}: a second of it is {worth} Tokens.", f"{speeds}; {moving}."]
    if inexact := [cost.label for cost in draft.costs if _quotient(cost, plan) is None and tokens_per_unit(cost, plan) != 0]:
        sentences.append(f"Rounded to {RATE_DIGITS} significant digits: the {'rate' if len(inexact) == 1 else 'rates'} of {', '.join(inexact)}.")
    slow = [cost.label for cost in draft.costs if _is_moving(cost, gpu)]
    if slow:
        sentences.append(f"Bound by memory: {', '.join(slow)}.")
    if draft.modality != "video" and gpu.status == "published":
        sentences.append("The GPU's rates were solved from films; other models reach other rates, most of them lower ones.")
    return [*sentences, *([gpu.notes] if gpu.notes else [])]


def residency(resident_bytes: int, gpu: Gpu) -> str:
    """Whether the weights fit, and on how many GPUs, in a sentence."""
    if resident_bytes <= 0:
        return "The files do not say how much memory the weights take; make sure that they fit."
    size, memory = _giga(resident_bytes), _giga(gpu.memory_bytes)
    if resident_bytes <= gpu.memory_bytes:
        left = _giga(gpu.memory_bytes - resident_bytes)
        return (
            f"The weights take {size} GB of the {memory} GB of one {gpu.name}; {left} GB are left for activations and caches, which are not counted."
        )
    count = math.ceil(Fraction(resident_bytes, gpu.memory_bytes))
    needs = f"it takes {count} of them, or parts that are loaded in turn, and the card counts GPU-seconds as if nothing were lost by that"
    return f"The weights take {size} GB and do not fit into the {memory} GB of one {gpu.name}: {needs}."


def tokens_per_unit(cost: Cost, plan: Plan) -> Fraction:
    """Tokens for one unit of a cost's quantity, exactly."""
    seconds = plan.gpu.seconds(cost.linear_flop, cost.attention_flop, cost.bytes_moved)
    return seconds * tokens_per_second(plan.price, plan.reference)


def rate(cost: Cost, plan: Plan) -> dict[str, str]:
    """``tokens`` and ``per`` of a card's term.  An operation or a byte costs the quotient itself; anything else a rounded decimal."""
    quotient = _quotient(cost, plan)
    if quotient is not None:
        tokens, units = quotient
        return {"tokens": _plain(tokens), "per": f"{_tera(units)}e12"}
    return {"tokens": _plain(rounded(tokens_per_unit(cost, plan)))}


def rounded(value: Fraction) -> Fraction:
    """To RATE_DIGITS significant digits, half to even."""
    if value == 0:
        return value
    # Enough digits that the quotient cannot lie on the wrong side of a half.
    exact = Context(prec=60).divide(Decimal(value.numerator), Decimal(value.denominator))
    return Fraction(Context(prec=RATE_DIGITS, rounding=ROUND_HALF_EVEN).plus(exact))


def money(value: Fraction, currency: str) -> str:
    """A price, of at most six decimals."""
    return money_text(round_half_even(value * NANO_PER_UNIT), currency)


def _status_sentence(gpu: Gpu) -> str:
    if gpu.rates_of:
        return (
            f"Nobody has measured the {gpu.name} for this: the rates are those of the {gpu.rates_of}, which has the same arithmetic units."
            f"  Its peak, {_tera(gpu.peak_flop_s)} TFLOP/s, is a bound that no program reaches."
        )
    if gpu.status == "unmeasured":
        return f"Nobody has measured the {gpu.name} for this: the rates are the peak of its data sheet, so real work takes longer and costs more."
    if gpu.status == "published":
        return f"The rates of the {gpu.name} come from timings that others published, not from this model on this machine."
    return f"The rates of the {gpu.name} were fitted to runs of our own."


def _quotient(cost: Cost, plan: Plan) -> tuple[Fraction, Fraction] | None:
    """Tokens and the units that cost so many, both decimals with an end; None when a unit is no operation or byte, or a number is too long."""
    speed = _speed(cost, plan.gpu)
    if speed is None:
        return None
    worth = tokens_per_second(plan.price, plan.reference)
    # A third of a Token for a unit is a Token for three.
    tokens, units = (worth, speed) if _is_decimal(worth) else (Fraction(worth.numerator), speed * worth.denominator)
    return (tokens, units) if all(decimal_of(Node(_plain(number))) is not None for number in (tokens, units)) else None


def _speed(cost: Cost, gpu: Gpu) -> Fraction | None:
    """How many of its units a GPU does in a second, when a unit is one operation or one byte."""
    match cost.linear_flop, cost.attention_flop, cost.bytes_moved:
        case 1, 0, 0:
            return gpu.linear_flop_s
        case 0, 1, 0:
            return gpu.attention_flop_s
        case 0, 0, 1:
            return Fraction(gpu.bandwidth_bytes_s)
    return None


def _is_moving(cost: Cost, gpu: Gpu) -> bool:
    return gpu.seconds(cost.linear_flop, cost.attention_flop, cost.bytes_moved) > gpu.seconds(cost.linear_flop, cost.attention_flop, 0)


def _is_decimal(value: Fraction) -> bool:
    """Whether it can be written as a decimal with an end."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _model(draft: Draft, plan: Plan, notes: str) -> Document:
    return {
        "kind": "model",
        "name": plan.name,
        "version": 1,
        "effective_from": plan.effective_from,
        "title": f"{plan.name} ({draft.family})",
        "modality": draft.modality,
        "meter": {"id": draft.meter, **_plain_tree(draft.profile)},
        "default_card": plan.status,
        "cards": {plan.status: {"rate_card": plan.card_name, "tariff": plan.tariff}},
        "notes": _Folded(notes),
    }


def _card(draft: Draft, plan: Plan, notes: str) -> Document:
    free = [cost for cost in draft.costs if tokens_per_unit(cost, plan) == 0]
    lines = [{"label": cost.label, "quantity": cost.quantity, **rate(cost, plan)} for cost in draft.costs if cost not in free]
    return {
        "kind": "rate_card",
        "name": plan.card_name,
        "version": 1,
        "effective_from": plan.effective_from,
        "basis": plan.status,
        "lines": lines,
        "unpriced": [*(cost.quantity for cost in free), *draft.unpriced],
        "notes": _Folded(notes),
    }


def _notes(sentences: list[str]) -> str:
    """As many sentences as a note can hold."""
    text = " ".join(" ".join(sentence.split()) for sentence in sentences)
    if len(text) <= TEXT_CHARS_MAX:
        return text
    cut = text[: TEXT_CHARS_MAX - 40]
    return f"{cut[: cut.rfind('. ') + 1]} The rest is left out here."


def _giga(amount: int) -> str:
    return format_tokens(round_half_even(Fraction(amount * 10, GIGA)) * 100_000)


def _tera(speed: Fraction) -> str:
    return _plain(speed / 10**12)


def _plain(value: Fraction) -> str:
    """A decimal with an end, all its digits, no exponent."""
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
    scaled = str(int(value * 10**digits)).rjust(digits + 1, "0")
    return f"{scaled[: len(scaled) - digits]}.{scaled[len(scaled) - digits :]}" if digits else scaled


def _plain_tree(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Plain lists and mappings; a number with a fraction becomes a text, so that it is never a float."""
    if isinstance(value, Mapping):
        return {str(key): _plain_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_tree(item) for item in value]
    return format(Decimal(str(value)), "f") if isinstance(value, float | Decimal) else value


class _Folded(str):
    """A text that is written over several lines."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 - PyYAML's
        """Catalogs know no anchors."""
        del data
        return True


def _represent_folded(dumper: yaml.SafeDumper, text: _Folded) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=">")


_Dumper.add_representer(_Folded, _represent_folded)


def _dump(document: Document) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=WIDTH)

"""From a document's tree to a model, rate card, tariff or plan, and back from the stored text."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Literal, cast

from taximeter.kernel.units import AMOUNT_UTOK_MAX, UTOK_PER_TOKEN
from taximeter.pricing.basis import BASES, Basis, unsaid
from taximeter.pricing.errors import Problem
from taximeter.pricing.model import (
    KINDS,
    CardChoice,
    Document,
    Entry,
    Kind,
    Line,
    ModelEntry,
    Plan,
    RateCard,
    Rounding,
    Term,
)
from taximeter.pricing.nodes import Node, Reader, canonical, decimal_of, from_plain
from taximeter.pricing.tariff_reader import WORD, Head, read_tariff
from taximeter.pricing.tariffs import STANDARD, TIERS

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
REFERENCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}(@[1-9][0-9]{0,6})?")
MODALITIES = ("chat", "embeddings", "speech", "video", "images", "classification", "other")
VERSION_MAX = 1_000_000
TERMS_MAX = 50


def read(node: Node, file: str, problems: list[Problem]) -> Document | None:
    """A document, or None with its faults added to ``problems``."""
    known = len(problems)
    reader = Reader(node, file, problems)
    kind = cast("Kind", reader.text("kind", choices=KINDS))
    head = _head(reader)
    parse = _PARSERS.get(kind)
    if parse is None:
        return None
    entry = parse(reader, head)
    reader.end()
    if len(problems) > known:
        return None
    body = canonical(node)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return Document(kind=kind, entry=entry, body=body, sha256=digest, file=file, line=node.line, lines=dict(node.lines()))


def from_body(body: str) -> Document:
    """A stored document.  Raises ValueError when it is not one that this release understands."""
    problems: list[Problem] = []
    document = read(from_plain(json.loads(body)), "database", problems)
    if document is None:
        raise ValueError("; ".join(problem.message for problem in problems))
    return document


def _head(reader: Reader) -> Head:
    name = reader.text("name")
    if name and not NAME.fullmatch(name):
        reader.fault(reader.line("name"), "name must be lower-case letters, digits, dots, dashes and underscores, at most 100 of them")
    version = reader.whole("version", 1, VERSION_MAX)
    when = reader.text("effective_from")
    moment = _moment(when)
    if when and moment is None:
        reader.fault(reader.line("effective_from"), "effective_from must be a date (2026-01-31) or a time with its zone (2026-01-31T12:00:00Z)")
    return name, version or 0, moment or datetime.min.replace(tzinfo=UTC)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        # Overflow: in UTC it lies before the year 1, or after 9999.
        return None
    # A bare date is midnight UTC; a time of day without its zone could be any of 24.
    return moment.replace(tzinfo=UTC) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else None


def _rate_card(reader: Reader, head: Head) -> RateCard:
    lines = tuple(_line(reader.child(node)) for node in reader.items("lines"))
    if not lines:
        reader.fault(reader.line("lines"), "lines must hold at least one line")
    labels = [line.label for line in lines]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            reader.fault(reader.line("lines"), f"the label {label!r} stands twice")
    name, version, _ = head
    unpriced: set[str] = set()
    for node in reader.items("unpriced", required=False):
        if isinstance(node.value, str):
            unpriced.add(node.value)
        else:
            reader.fault(node.line, "unpriced must be a list of quantities")
    card = RateCard(
        *head,
        lines=lines,
        unpriced=frozenset(unpriced),
        factor=_factor(reader),
        round_to=cast("Rounding", reader.text("round_to", default="micro_token", choices=("micro_token", "token"))),
        notes=reader.text("notes", default=""),
        basis=cast("Basis", reader.text("basis", default=unsaid(f"{name}@{version}"), choices=BASES)),
    )
    if card.bears and all(line.borne for line in lines):
        reader.fault(reader.line("lines"), "every line is borne, so nothing would ever be charged")
    if card.bears and card.round_to == "token":
        reader.fault(reader.line("round_to"), "round_to must be micro_token where a line is borne: what is charged is then no whole number of Tokens")
    for quantity in sorted(card.quantities() & unpriced):
        reader.fault(reader.line("unpriced"), f"{quantity} is priced and listed as unpriced")
    return card


def _factor(reader: Reader) -> Fraction:
    factor = reader.decimal("factor", default="1")
    if factor <= 0:
        reader.fault(reader.line("factor"), "factor must be above 0")
    return factor


def _line(reader: Reader) -> Line:
    label = reader.text("label")
    free = reader.flag("free")
    terms_node = reader.take("terms", required=False)
    if terms_node is None:
        terms: tuple[Term, ...] = (_term(reader, free=free),)
    else:
        children = [reader.child(node) for node in reader.items("terms")]
        if not 0 < len(children) <= TERMS_MAX:
            reader.fault(terms_node.line, f"terms must hold 1 to {TERMS_MAX} terms")
        terms = tuple(_term(child, free=free) for child in children)
        for child in children:
            child.end()
    line = Line(label=label, terms=terms, factor=_factor(reader), borne=reader.flag("borne"))
    reader.end()
    return line


def _term(reader: Reader, *, free: bool) -> Term:
    quantity = reader.text("quantity")
    tokens = reader.decimal("tokens")
    per = reader.decimal("per", default="1")
    if tokens < 0:
        reader.fault(reader.line("tokens"), "tokens must not be negative")
    elif tokens == 0 and not free and decimal_is_written(reader):
        reader.fault(reader.line("tokens"), "tokens is 0; write free: true on the line if that is meant, or list the quantity under unpriced")
    if per <= 0:
        reader.fault(reader.line("per"), "per must be above 0")
    return Term(quantity=quantity, tokens=tokens, per=per if per > 0 else Fraction(1))


def decimal_is_written(reader: Reader) -> bool:
    """Whether ``tokens`` is a readable number (else its own fault was recorded already)."""
    node = reader.take("tokens", required=False)
    return node is not None and decimal_of(node) is not None


def _model(reader: Reader, head: Head) -> ModelEntry:
    engine, engine_model = _engine(reader)
    profile = {key: node.plain() for key, node in reader.entries("meter").items()}
    meter = profile.pop("id", None)
    if not isinstance(meter, str):
        reader.fault(reader.line("meter"), "meter must have an id, such as text.tokens/1")
        meter = ""
    cards = _cards(reader)
    default = reader.text("default_card")
    if default and default not in cards:
        reader.fault(reader.line("default_card"), f"default_card is {default!r}, which is not among the cards ({', '.join(cards)})")
    return ModelEntry(
        *head,
        modality=reader.text("modality", choices=MODALITIES),
        engine=engine,
        engine_model=engine_model,
        meter=meter,
        profile=profile,
        cards=cards,
        default_card=default,
        title=reader.text("title", default=""),
        notes=reader.text("notes", default=""),
        tiers=_tiers(reader),
        size_class=_size_class(reader),
    )


def _tiers(reader: Reader) -> tuple[str, ...]:
    node = reader.take("tiers", required=False)
    if node is None:
        return (STANDARD,)
    found: list[str] = []
    for item in reader.items("tiers"):
        if not isinstance(item.value, str) or item.value not in TIERS:
            reader.fault(item.line, f"there is no service tier {str(item.value)[:40]!r}; there are {', '.join(TIERS)}")
        elif item.value in found:
            reader.fault(item.line, f"the service tier {item.value} stands twice")
        else:
            found.append(item.value)
    if STANDARD not in found:
        reader.fault(node.line, f"tiers must hold {STANDARD}, which is what a request gets that asks for none")
    return tuple(tier for tier in TIERS if tier in found)


def _size_class(reader: Reader) -> str | None:
    size = reader.text("size_class", default="")
    if size and not WORD.fullmatch(size):
        reader.fault(reader.line("size_class"), "size_class must be lower-case letters, digits, dots, dashes and underscores")
    return size or None


def _engine(reader: Reader) -> tuple[str | None, str | None]:
    node = reader.take("engine", required=False)
    if node is None:
        return None, None
    child = reader.child(node)
    names = child.text("name"), child.text("model")
    child.end()
    return names


def _cards(reader: Reader) -> Mapping[str, CardChoice]:
    cards = {}
    for name, node in reader.entries("cards").items():
        child = reader.child(node)
        choice = CardChoice(rate_card=child.text("rate_card"), tariff=child.text("tariff"))
        for key, reference in (("rate_card", choice.rate_card), ("tariff", choice.tariff)):
            if reference and not REFERENCE.fullmatch(reference):
                child.fault(child.line(key), f"{key} must be a name, or a name and version such as standard@2")
        child.end()
        cards[name] = choice
    if not cards:
        reader.fault(reader.line("cards"), "cards must hold at least one card")
    return cards


def _plan(reader: Reader, head: Head) -> Plan:
    period = reader.text("allowance_period", choices=("once", "month", "none"))
    allowance = _tokens(reader, "allowance_tokens", required=period != "none")
    return Plan(
        *head,
        allowance_utok=allowance or 0,
        allowance_period=cast("Rounding", period),  # type: ignore[arg-type]  # checked against the choices above
        request_utok_max=_tokens(reader, "request_tokens_max", required=False),
        requests_per_minute=_limit(reader, "requests_per_minute"),
        concurrent_max=_limit(reader, "concurrent_max"),
        postpaid=reader.flag("postpaid"),
        notes=reader.text("notes", default=""),
        committed_utok=_tokens(reader, "committed_tokens", required=False) or 0,
        request_caps=_caps(reader),
        above_cap=cast("Literal['refuse', 'approve']", reader.text("above_cap", default="refuse", choices=("refuse", "approve"))),
        allowance_modality=_modality(reader),
        tokens_per_minute_utok=_tokens(reader, "tokens_per_minute", required=False),
        credit_line_utok=_tokens(reader, "credit_line_tokens", required=False),
        queue_weight=reader.whole("queue_weight", 1, 1000, default=1) or 1,
    )


def _caps(reader: Reader) -> dict[str, int]:
    node = reader.take("request_caps", required=False)
    if node is None:
        return {}
    child = reader.child(node)
    caps = {name: _tokens(child, name, required=True) for name in (node.value if isinstance(node.value, dict) else {})}
    return {name: cap for name, cap in caps.items() if cap is not None}


def _modality(reader: Reader) -> str | None:
    if reader.take("allowance_modality", required=False) is None:
        return None
    return reader.text("allowance_modality", choices=MODALITIES)


def _limit(reader: Reader, key: str) -> int | None:
    return None if reader.take(key, required=False) is None else reader.whole(key, 1, 10**9)


def _tokens(reader: Reader, key: str, *, required: bool) -> int | None:
    if reader.take(key, required=required) is None:
        return None
    amount = reader.decimal(key) * UTOK_PER_TOKEN
    if amount.denominator != 1 or not 0 <= amount <= AMOUNT_UTOK_MAX:
        reader.fault(reader.line(key), f"{key} must be a number of Tokens with at most six decimals")
        return None
    return amount.numerator


_PARSERS: dict[str, Callable[[Reader, Head], Entry]] = {"model": _model, "rate_card": _rate_card, "tariff": read_tariff, "plan": _plan}

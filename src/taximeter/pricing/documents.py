"""From a document's tree to a model, rate card, tariff or plan, and back from the stored text."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import cast

from taximeter.kernel.units import AMOUNT_UTOK_MAX, NANO_PER_UNIT, UTOK_PER_TOKEN, round_half_even
from taximeter.pricing.errors import Problem
from taximeter.pricing.model import (
    BASE_MULTIPLIER,
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
    Tariff,
    Term,
)
from taximeter.pricing.nodes import Node, Reader, canonical, decimal_of, from_plain

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
REFERENCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}(@[1-9][0-9]{0,6})?")
CURRENCY = re.compile(r"[A-Z]{3}")
MODALITIES = ("chat", "embeddings", "speech", "video", "images", "classification", "other")
VERSION_MAX = 1_000_000
TERMS_MAX = 50
PRICE_MAX_NANO = 10**15
MULTIPLIER_MAX = 1000

Head = tuple[str, int, datetime]


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
    except ValueError:
        return None
    if moment.tzinfo is None:
        # A bare date is midnight UTC; a time of day without its zone could be any of 24.
        return moment.replace(tzinfo=UTC) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else None
    return moment.astimezone(UTC)


def _rate_card(reader: Reader, head: Head) -> RateCard:
    lines = tuple(_line(reader.child(node)) for node in reader.items("lines"))
    if not lines:
        reader.fault(reader.line("lines"), "lines must hold at least one line")
    labels = [line.label for line in lines]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            reader.fault(reader.line("lines"), f"the label {label!r} stands twice")
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
    )
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
    line = Line(label=label, terms=terms, factor=_factor(reader))
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


def _tariff(reader: Reader, head: Head) -> Tariff:
    currency = reader.text("currency")
    if currency and not CURRENCY.fullmatch(currency):
        reader.fault(reader.line("currency"), "currency must be a code of three capital letters, such as USD")
    price = reader.decimal("price_per_token") * NANO_PER_UNIT
    node = reader.take("price_per_token", required=False)
    free = reader.flag("free")
    if node is not None and decimal_of(node) is not None:
        if price < 0:
            reader.fault(node.line, "price_per_token must not be negative")
        elif price == 0 and not free:
            reader.fault(node.line, "price_per_token is 0; write free: true if that is meant")
        elif price.denominator != 1 or price > PRICE_MAX_NANO:
            reader.fault(node.line, "price_per_token must have at most nine decimals and be at most 1000000")
    multipliers: dict[str, Decimal] = {}
    for name, value in (reader.entries("multipliers") if reader.take("multipliers", required=False) else {}).items():
        number = decimal_of(value)
        if number is None or not 0 < number <= MULTIPLIER_MAX:
            reader.fault(value.line, f"multiplier {name} must be a decimal above 0 and at most {MULTIPLIER_MAX}")
        else:
            multipliers[name] = number
    multipliers.setdefault(BASE_MULTIPLIER, Decimal(1))
    return Tariff(*head, currency=currency, price_nano=round_half_even(price), multipliers=multipliers, notes=reader.text("notes", default=""))


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
    )


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
    )


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


_PARSERS: dict[str, Callable[[Reader, Head], Entry]] = {"model": _model, "rate_card": _rate_card, "tariff": _tariff, "plan": _plan}

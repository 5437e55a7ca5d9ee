"""Quotes without a server or a database: what the command line and notebooks share.

>>> from taximeter import quote
>>> quote("wan2.2-t2v-a14b", size="1280x720", seconds=5)
"""

import html
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from taximeter import meters
from taximeter.cli import asking
from taximeter.cli.cheaper import Alternatives
from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import format_tokens
from taximeter.metering.fares import ANYONE, Fare, quote_fare, read_catalog
from taximeter.metering.quotes import alternatives
from taximeter.metering.quotes.words import told
from taximeter.pricing import Buyer, Catalog
from taximeter.pricing.basis import WORDS
from taximeter.pricing.currencies import money_text
from taximeter.pricing.errors import ModelNotFound
from taximeter.pricing.model import FareLine, decimal_text
from taximeter.pricing.tariffs import STANDARD

_COLUMNS = ("", "quantity", "rate", "expected", "at most")
_WORDS_COLUMNS = 3
# Before the name of what a line is made of.
_INSIDE = "- "


class OfflineFare(Fare, frozen=True, kw_only=True):
    """A fare with what a person at a prompt wants of it; ``str`` of it is a table, and so is a notebook's cell.

    Attributes:
        body: the request that it is for.
        catalog: what it was priced by.
    """

    body: Mapping[str, Any]
    catalog: Catalog

    @property
    def tokens(self) -> Decimal:
        """What is likely charged, in Tokens, exactly."""
        return Decimal(format_tokens(self.expected_utok))

    @property
    def tokens_max(self) -> Decimal:
        """What is charged at most, in Tokens, exactly."""
        return Decimal(format_tokens(self.maximum_utok))

    @property
    def lines(self) -> Sequence[FareLine]:
        """How they come about, line by line."""
        return self.parts.lines

    @property
    def work(self) -> Mapping[str, int]:
        """What the request likely takes, by quantity of the model's meter."""
        return self.estimate.expected

    @property
    def work_max(self) -> Mapping[str, int]:
        """What it takes at most."""
        return self.estimate.maximum

    @property
    def resident_bytes(self) -> Mapping[str, int] | None:
        """Memory that the model's weights take when everything is loaded, by component; None where its profile does not say."""
        return meters.resident_bytes(self.model.meter, self.model.profile)

    def alternatives(self) -> Alternatives:
        """The same job with something less of it, each computed like any fare and cheaper than this one; the cheapest first."""

        def price(other: Mapping[str, Any]) -> OfflineFare:
            return fare(self.catalog, self.model.name, other, {}, card=self.card_name, plan=self.buyer.plan, currency=self.buyer.currency)

        return Alternatives(self, tuple(alternatives(self.body, self, price)))

    def to_dict(self) -> dict[str, Any]:
        """Everything, as ``taximeter quote --json`` prints it."""
        parts = self.parts
        currency, expected_nano, maximum_nano = _money(self)
        return {
            "model": self.model.name,
            "modality": self.model.modality,
            "card": self.card_name,
            "rate_card": parts.rate_card,
            "basis": self.priced.card.basis,
            "tariff": parts.tariff,
            "tier": self.tier,
            "plan": self.buyer.plan,
            "multiplier": str(parts.multiplier),
            "multipliers": [to_builtins(one) for one in self.parts.multipliers],
            "tokens_utok": parts.expected_utok,
            "tokens_max_utok": parts.maximum_utok,
            "tokens": format_tokens(parts.expected_utok),
            "tokens_max": format_tokens(parts.maximum_utok),
            "tokens_exact": decimal_text(parts.expected.exact).replace(",", ""),
            "work": dict(self.estimate.expected),
            "work_max": dict(self.estimate.maximum),
            "resident_bytes": None if self.resident_bytes is None else dict(self.resident_bytes),
            "breakdown": [
                {
                    "label": line.label,
                    "quantity": line.quantity,
                    "rate": line.rate,
                    "tokens_utok": line.expected_utok,
                    "tokens_max_utok": line.maximum_utok,
                    "text": words.text,
                }
                for line, words in zip(parts.lines, told(self), strict=True)
            ],
            "price": {"currency": currency, "amount_nano": expected_nano, "amount_max_nano": maximum_nano},
        }

    def __repr__(self) -> str:
        """One line for a prompt."""
        currency, expected_nano, _ = _money(self)
        most = f", at most {self.tokens_max}" if self.maximum_utok != self.expected_utok else ""
        return f"<{self.model.name} by {self.parts.rate_card}: {self.tokens} Tokens{most}; {money_text(expected_nano, currency)} {currency}>"

    def __str__(self) -> str:
        """The table of ``taximeter quote``."""
        rows = [_COLUMNS, *_rows(self)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        lines = ["  ".join(_aligned(row, widths)) for row in rows]
        rule = "-" * max(map(len, lines))
        return "\n".join((_head(self), "", lines[0], rule, *lines[1:-2], rule, *(line.rstrip() for line in lines[-2:])))

    def _repr_html_(self) -> str:
        """The same table for a notebook."""
        rows = _rows(self)

        def row(cells: Sequence[str], tag: str = "td") -> str:
            sides = ("left",) * _WORDS_COLUMNS + ("right",) * (len(_COLUMNS) - _WORDS_COLUMNS)
            return "".join(f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True))

        body = "".join(f"<tr>{row(cells)}</tr>" for cells in rows[:-2])
        foot = "".join(f"<tr>{row(cells, 'th')}</tr>" for cells in rows[-2:])
        head = f"<caption>{html.escape(_head(self))}</caption><thead><tr>{row(_COLUMNS, 'th')}</tr></thead>"
        return f"<table>{head}<tbody>{body}</tbody><tfoot>{foot}</tfoot></table>"


def quote(  # noqa: PLR0913 - what a quote is made of
    model: str,
    request: Mapping[str, Any] | None = None,
    *,
    card: str | None = None,
    catalog: Catalog | Path | str | None = None,
    plan: str | None = None,
    currency: str = "USD",
    tier: str | None = None,
    **fields: Any,  # noqa: ANN401 - what a request says is checked by the model's meter
) -> OfflineFare:
    """What a request would cost: offline, by the built-in catalog.

    Args:
        model: its name in the catalog.
        request: the body that one would send; or, instead of it, ``fields``.
        card: another of the model's cards than its default one (``article-v1``).
        catalog: a folder of catalog files, or a catalog that was read, instead of the built-in one.
        plan: whose prices count.
        currency: what the price is told in.
        tier: the service tier (``batch``), as far as the model offers it.
        fields: the request in a few words: ``text`` or ``chars``, ``size``, ``seconds`` or ``frames``, ``fps``, ``steps``, ``guidance``,
            ``images``, ``max_tokens``, as far as they say something about the model.

    Raises:
        Refusal: with one sentence that says what to change (ModelNotFound, CardNotFound, InvalidRequest ...).
    """
    _check_types({"model": model, "currency": currency}, {"card": card, "plan": plan, "tier": tier}, request, catalog)
    found = catalog if isinstance(catalog, Catalog) else read(catalog)
    return fare(found, model, request, fields, card=card, plan=plan, currency=currency, tier=tier)


def fare(  # noqa: PLR0913 - what a quote is made of
    catalog: Catalog,
    model: str,
    request: Mapping[str, Any] | None,
    fields: Mapping[str, Any],
    *,
    card: str | None = None,
    plan: str | None = None,
    currency: str = ANYONE.currency,
    tier: str | None = None,
) -> OfflineFare:
    """``quote`` on a catalog that was read."""
    entry = catalog.models.get(model)
    if entry is None:
        message = f"there is no model {model[:100]!r}; there are {', '.join(sorted(catalog.models))}"
        raise ModelNotFound(message, param="model")
    if request is not None and fields:
        message = f"the request is given as a whole; leave {', '.join(sorted(fields))} out"
        raise InvalidRequest(message)
    catalog.check_buyer(plan, None)
    body = asking.body(entry, fields) if request is None else request
    if tier is not None:
        if "service_tier" in body:
            message = "the request names its service_tier; leave the tier beside it out"
            raise InvalidRequest(message, param="service_tier")
        body = {**body, "service_tier": tier}
    found = quote_fare(catalog, model, body, card, buyer=Buyer(plan=plan, currency=currency))
    return OfflineFare(**{name: getattr(found, name) for name in Fare.__struct_fields__}, body=body, catalog=catalog)


def _check_types(texts: Mapping[str, object], optional: Mapping[str, object], request: object, catalog: object) -> None:
    """A notebook can hand over anything."""
    for name, value in {**texts, **{name: value for name, value in optional.items() if value is not None}}.items():
        if not isinstance(value, str):
            message = f"{name} must be a text, and not of type {type(value).__name__}"
            raise InvalidRequest(message, param=name)
    if not isinstance(request, Mapping | None):
        message = "request must be the body that one would send, as a mapping of its fields"
        raise InvalidRequest(message)
    if not isinstance(catalog, Catalog | Path | str | None):
        message = "catalog must be a folder, or a catalog that was read"
        raise InvalidRequest(message)


_builtin: Catalog | None = None


def read(path: Path | str | None = None) -> Catalog:
    """The catalog of a folder, or the built-in one, as of now.  Raises CatalogInvalid with every fault and its line."""
    global _builtin  # noqa: PLW0603 - read once: it takes a hundred times as long as a quote
    now = utc_from_ms(SystemClock().now_ms())
    if path is not None:
        return read_catalog(Path(path), now)
    if _builtin is None or (_builtin.next_change is not None and now >= _builtin.next_change):
        _builtin = read_catalog(None, now)
    return _builtin


def _money(fare: Fare) -> tuple[str, int, int]:
    """The currency, and the fare in billionths of its unit, expected and at most."""
    money = fare.money
    return money.currency, money.expected_nano, money.maximum_nano


def _head(fare: Fare) -> str:
    chosen = [f"card {fare.card_name}", WORDS[fare.priced.card.basis]]
    chosen += [f"tier {fare.tier}"] if fare.tier != STANDARD else []
    chosen += [f"plan {fare.buyer.plan}"] if fare.buyer.plan is not None else []
    return f"{fare.model.title or fare.model.name} by {fare.parts.rate_card} and {fare.parts.tariff} ({', '.join(chosen)})"


def _rows(fare: Fare) -> list[tuple[str, ...]]:
    """The lines, then the sum in Tokens and in money."""
    currency, expected_nano, maximum_nano = _money(fare)
    rows: list[tuple[str, ...]] = []
    for line in told(fare):
        rows.append((line.label, line.both, line.rate, format_tokens(line.expected_utok), format_tokens(line.maximum_utok)))
        rows += [(f"{_INSIDE}{part.label}", part.quantity, part.rate, part.percent, part.percent) for part in line.parts]
    for one in fare.parts.multipliers:
        factor = f"x {one.factor}" if one.factor else ""
        rows.append((one.label, "", factor, format_tokens(one.expected_utok), format_tokens(one.maximum_utok)))
    rows.append(("Total, Tokens", "", "", format_tokens(fare.expected_utok), format_tokens(fare.maximum_utok)))
    rows.append((f"Total, {currency}", "", "", money_text(expected_nano, currency), money_text(maximum_nano, currency)))
    return rows


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.ljust(width) if column < _WORDS_COLUMNS else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))]

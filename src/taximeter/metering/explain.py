"""Computes a receipt again from what is stored: inputs, the engine's report, and the versions it names.  Pure.

The arithmetic is that of the settlement: the same meter, the same card, the same factors, the same rounding.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from taximeter import meters, pricing
from taximeter.kernel.units import format_tokens
from taximeter.metering.explanation import Explanation, Phase, Record, Step
from taximeter.metering.inputs import OF_TARIFF, Inputs, read_inputs
from taximeter.metering.model import Price
from taximeter.metering.rules import NOTHING, Bill, Terms, bill
from taximeter.pricing import Buyer, Catalog, Factors, ModelNotPriced, RateCard, Versions


def explain(catalog: Catalog, record: Record) -> Explanation:
    """The walk from the request's inputs to what it cost, each figure beside the one that is stored."""
    return _Walk(catalog, record).explanation()


class _Walk:
    """One receipt on its way."""

    def __init__(self, catalog: Catalog, record: Record) -> None:
        self._catalog = catalog
        self._record = record
        self._inputs: Inputs | None = read_inputs(record.fare)
        self._notes: list[str] = []
        self._steps: list[Step] = []

    def explanation(self) -> Explanation:
        """All steps, in order."""
        if self._inputs is None:
            self._notes.append(
                "the request was held by an earlier release, which kept neither the engine's report nor the model's version nor the price in money:"
                " the work is taken as it is stored"
            )
        self._steps += self._versions()
        card = self._catalog.cards.get(self._record.rate_card)
        if card is not None:
            factors = self._factors()
            self._steps += self._estimate(card, factors)
            for phase in self._record.phases:
                self._steps += self._phase(card, factors, phase)
        if not self._record.phases:
            self._notes.append("the request has not ended: nothing is charged yet")
        self._steps += self._end()
        return Explanation(self._record.id, tuple(self._steps), tuple(self._notes))

    def _versions(self) -> Iterator[Step]:
        record, inputs = self._record, self._inputs
        yield Step("versions", "Held at", record.created_at.isoformat())
        named: dict[str, tuple[str, Mapping[str, Any]]] = {
            "Model": (record.model if inputs is None else inputs.model, self._catalog.models_by_id),
            "Rate card": (record.rate_card, self._catalog.cards),
            "Tariff": (record.tariff, self._catalog.tariffs),
        }
        if inputs is not None and inputs.plan is not None and "@" in inputs.plan:
            named["Plan"] = (inputs.plan, self._catalog.plans_by_id)
        for label, (name, published) in named.items():
            entry = published.get(name) if "@" in name else None
            how = "" if entry is None else f"in force from {entry.effective_from:%Y-%m-%d}"
            if "@" not in name:
                yield Step("versions", label, f"{name}, version not kept")
            else:
                yield Step("versions", label, how, name if entry is not None else f"{name} is not published", name)
        if inputs is not None:
            yield Step("versions", "Service tier", inputs.service_tier)
            yield Step("versions", "Meter", inputs.meter)
            if inputs.quote is not None:
                yield Step("versions", "Bound to quote", inputs.quote)

    def _factors(self) -> Factors:
        inputs = self._inputs
        return Factors.base(Fraction(self._record.multiplier)) if inputs is None else inputs.factors

    def _factors_again(self, inputs: Inputs) -> Factors | str:
        """The factors by the versions that the receipt names; a text: why there are none."""
        extra = tuple(multiplier for multiplier in inputs.factors.fixed if multiplier.name not in OF_TARIFF)
        plan = inputs.plan if inputs.plan is not None and "@" in inputs.plan else None
        versions = Versions(model=inputs.model, card=self._record.rate_card, tariff=self._record.tariff, plan=plan)
        buyer = Buyer(currency=inputs.currency, extra=extra)
        try:
            return self._catalog.priced(self._record.model, inputs.card, versions, buyer).factors(inputs.service_tier, buyer)
        except (ModelNotPriced, KeyError) as error:
            return str(error)

    def _estimate(self, card: RateCard, factors: Factors) -> Iterator[Step]:
        inputs, record = self._inputs, self._record
        if inputs is None:
            yield Step("estimate", "Held", "as the ledger took it", None, format_tokens(record.held_utok))
            return
        again = self._factors_again(inputs)
        shown = again if isinstance(again, str) else _factors_text(again)
        yield Step("estimate", "Factors before the run", "by tariff, tier, model and plan", shown, _factors_text(factors))
        estimate = inputs.estimate()
        for label, work, stored in (("Expected", estimate.expected, inputs.expected_utok), ("At most", estimate.maximum, inputs.maximum_utok)):
            consumption = pricing.rate(card, work)
            charged = consumption.charge(factors)
            how = f"{_consumed(consumption.total_utok, consumption.borne_utok)} x {factors.multiplier(work)}"
            yield Step("estimate", label, how, format_tokens(charged), format_tokens(stored))
        yield Step("estimate", "Held", "the most it may cost", format_tokens(inputs.maximum_utok), format_tokens(record.held_utok))

    def _phase(self, card: RateCard, factors: Factors, phase: Phase) -> Iterator[Step]:
        late = " (late)" if phase.phase > 1 else ""
        reason = f": {phase.reason}" if phase.reason else ""
        yield Step("report", f"Outcome{late}", f"{phase.outcome}{reason}")
        if not phase.work:
            yield from _compare(card, factors, phase, NOTHING, late)
            return
        if not phase.measured:
            yield Step("report", "Measured", "no: the engine could not count everything, so something was estimated")
        try:
            computed = self._bill(card, factors, phase)
        except (meters.BadReport, ModelNotPriced, KeyError) as error:
            yield Step("work", f"Work{late}", "", f"cannot be computed again: {error}", "")
            return
        for name, value in computed.reported.items():
            yield Step("report", name, f"{value:,}")
        yield from _compare(card, factors, phase, computed, late)

    def _bill(self, card: RateCard, factors: Factors, phase: Phase) -> Bill:
        """The bill that the settlement must have made.  Raises what ``bill`` does, and KeyError when the meter lacks an input."""
        inputs = self._inputs
        reported = phase.detail.get("reported")
        if inputs is not None and reported is not None:
            model = self._catalog.models_by_id[inputs.model]
            terms = Terms(card, inputs.meter, model.profile, inputs.estimate(), factors, inputs.maximum_utok)
            return bill(terms, {name: int(value) for name, value in reported.items()}, measured=phase.measured)
        work = _whole(phase.work)
        consumption = pricing.rate(card, work)
        charged_utok = consumption.charge(factors, self._record.held_utok)
        lines = tuple(
            {"label": line.label, "quantity": line.quantity, "rate": line.rate, "tokens": format_tokens(line.amount_utok)}
            for line in consumption.lines
        )
        # An earlier release kept one factor, and no lines of factors: there is nothing to compare those with.
        return Bill(work, phase.measured, consumption.total_utok, charged_utok, lines, multiplier=factors.multiplier(work))

    def _end(self) -> Iterator[Step]:
        charged_utok = sum(phase.charged_utok for phase in self._record.phases)
        inputs = self._inputs
        if inputs is not None and self._record.phases:
            tariff = self._catalog.tariffs.get(self._record.tariff)
            price = Price(inputs.currency, inputs.price_nano)
            plan = None if inputs.plan is None else inputs.plan.partition("@")[0]
            if tariff is not None:
                prices = {each.plan: each.price_nano for each in tariff.prices if each.currency == inputs.currency}
                by_tariff = prices.get(plan or "standard", prices.get(None))
                how = f"{tariff.id}, plan {plan or 'none'}, {inputs.currency}, in billionths"
                yield Step("money", "Price of a Token", how, str(by_tariff), str(inputs.price_nano))
            how = f"{format_tokens(charged_utok)} Tokens x {inputs.price_nano} billionths of {inputs.currency}"
            yield Step("money", "In money", how, f"{price.amount_nano(charged_utok)} billionths of {inputs.currency}")
        for refund in self._record.refunds:
            yield Step("refunds", refund.public_id, f"{format_tokens(refund.amount_utok)} given back: {refund.reason}")
        if self._record.refunds:
            left = charged_utok - sum(refund.amount_utok for refund in self._record.refunds)
            yield Step("refunds", "Left to pay", f"{format_tokens(charged_utok)} charged, less what was given back", format_tokens(left))


def _compare(card: RateCard, factors: Factors, phase: Phase, computed: Bill, late: str) -> Iterator[Step]:
    """Each figure of a bill beside the stored one."""
    work = _whole(phase.work)
    for name in sorted(work.keys() | computed.work.keys()):
        yield Step("work", name, "", _count(computed.work, name), _count(work, name))
    stored = [str(line.get("tokens", "")) for line in phase.lines]
    for index, line in enumerate(computed.lines):
        arithmetic = _arithmetic(card, index, computed.work)
        known = phase.lines[index] if index < len(phase.lines) else {}
        same_words = {name: known.get(name) for name in ("label", "quantity", "rate")} == {name: line[name] for name in ("label", "quantity", "rate")}
        yield Step("card", str(line["label"]), arithmetic, str(line["tokens"]), (stored[index] if same_words else str(dict(known))))
    for known in phase.lines[len(computed.lines) :]:
        yield Step("card", str(known.get("label")), "not by this card", "", str(known.get("tokens")))
    yield Step("card", f"Consumed{late}", "the sum of the lines", format_tokens(computed.consumed_utok), format_tokens(phase.consumed_utok))
    changes = phase.detail.get("multipliers", [])
    for index in range(max(len(changes), len(computed.multipliers))):
        again = dict(computed.multipliers[index]) if index < len(computed.multipliers) else {}
        kept = dict(changes[index]) if index < len(changes) else {}
        either = again or kept
        how = f"x {either['factor']}" if either["factor"] else ""
        yield Step(
            "factors", either["label"], how, str(again.get("tokens", "none")), str(kept.get("tokens", "none")) if _same(again, kept) else str(kept)
        )
    how = f"{format_tokens(computed.consumed_utok)}{_less(computed)} x {computed.multiplier}, rounded once, never above what was held"
    if not factors.plain and factors.cap is not None:
        how += f"; all factors together at most {factors.cap}"
    yield Step("charge", f"Charge{late}", how, format_tokens(computed.charged_utok), format_tokens(phase.charged_utok + phase.shortfall_utok))
    if phase.shortfall_utok:
        yield Step("charge", "Not covered by the wallet", f"{format_tokens(phase.shortfall_utok)}; the operator bears it")
        yield Step("charge", "Taken from the wallet", format_tokens(phase.charged_utok))


def _consumed(total_utok: int, borne_utok: int) -> str:
    consumed = f"{format_tokens(total_utok)} consumed"
    return f"({consumed} - {format_tokens(borne_utok)} borne)" if borne_utok else consumed


def _less(computed: Bill) -> str:
    borne = next((str(each["tokens"]) for each in computed.multipliers if each["name"] == "borne"), "")
    return f" less {borne.removeprefix('-')} borne" if borne else ""


def _same(again: Mapping[str, str], kept: Mapping[str, str]) -> bool:
    return {name: again.get(name) for name in ("name", "label", "factor")} == {name: kept.get(name) for name in ("name", "label", "factor")}


def _count(work: Mapping[str, int], name: str) -> str:
    return f"{work[name]:,}" if name in work else "none"


def _whole(work: Mapping[str, int | str]) -> dict[str, int]:
    return {name: int(value) for name, value in work.items()}


def _arithmetic(card: RateCard, index: int, work: Mapping[str, int]) -> str:
    """``1,000 fresh prompt tokens x 0.00107 Tokens each``; the exact sum where rounding changes it."""
    if index >= len(card.lines):
        return f"{card.round_to.replace('_', ' ')}s are the smallest part of this card"
    line, rates = card.lines[index], card.rates[index].split(" + ")
    words = [f"{work[quantity]:,} {unit} x {rate}" for (quantity, unit), rate in zip(card.units[index], rates, strict=True)]
    exact = sum((work[term.quantity] * term.tokens / term.per for term in line.terms), Fraction(0)) * line.factor * card.factor
    utok = exact * 1_000_000
    return " + ".join(words) + ("" if utok.denominator == 1 else ", rounded once")


def _factors_text(factors: Factors) -> str:
    fixed = [f"{multiplier.name} {multiplier.factor}" for multiplier in factors.fixed]
    bands = [f"{band.quantity} above {band.above}: {band.factor}" for band in factors.bands]
    cap = [] if factors.cap is None or factors.plain else [f"at most {factors.cap}"]
    return ", ".join((*fixed, *bands, *cap)) or "none"

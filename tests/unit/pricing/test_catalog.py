"""What a model costs whom: plans, currencies, tiers, and exact versions."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest

from taximeter.kernel.errors import InvalidRequest
from taximeter.pricing.catalog import Catalog
from taximeter.pricing.errors import CurrencyNotPriced, ModelNotPriced, PlanNotPriced, TierNotOffered, UnknownCurrency, UnknownPlan
from taximeter.pricing.store import snapshot
from taximeter.pricing.tariffs import Buyer, Multiplier, Versions
from taximeter.pricing.yaml_source import load_text

HEAD = "effective_from: 2026-01-01\n"
CATALOG = f"""kind: rate_card
name: card
version: 1
{HEAD}lines: [{{label: a, quantity: a, tokens: 1}}]
---
kind: tariff
name: t
version: 1
{HEAD}prices:
  - {{currency: USD, price_per_token: 0.0003}}
  - {{plan: big, currency: USD, price_per_token: 0.0002}}
  - {{plan: big, currency: JPY, price_per_token: 0.03}}
multipliers: {{base: "1.1"}}
service_tiers: {{batch: 0.5, priority: 2}}
size_classes: {{small: "0.8", large: "1.5"}}
context_bands: [{{quantity: a, above: 10, factor: 3}}]
committed_volume: {{mode: graduated, tiers: [{{up_to_tokens: 100, factor: 1}}, {{factor: "0.5"}}]}}
multiplier_max: 6
---
kind: plan
name: big
version: 1
{HEAD}allowance_period: none
committed_tokens: 400
---
kind: model
name: m
version: 1
{HEAD}modality: chat
meter: {{id: text.tokens/1}}
tiers: [priority, standard]
size_class: large
default_card: now
cards: {{now: {{rate_card: card, tariff: t}}}}
"""
LATER = """---
kind: tariff
name: t
version: 2
effective_from: 2026-03-01
currency: USD
price_per_token: 0.5
---
kind: model
name: m
version: 2
effective_from: 2026-03-01
modality: chat
meter: {id: text.tokens/1}
default_card: now
cards: {now: {rate_card: card, tariff: t}}
"""


def catalog(text: str = CATALOG) -> Catalog:
    return snapshot(load_text(text), datetime(2026, 6, 15, tzinfo=UTC))


def test_a_price_is_the_plans_own_or_the_one_for_all_others() -> None:
    priced = catalog().priced("m")
    assert [priced.price(Buyer(plan)).price_nano for plan in (None, "standard", "big")] == [300_000, 300_000, 200_000]
    assert priced.price(Buyer("big", "JPY")).amount_nano(10_000_000) == 300_000_000


def test_what_has_no_price_is_refused_with_those_there_are() -> None:
    priced = catalog().priced("m")
    with pytest.raises(CurrencyNotPriced, match="no price in EUR: the tariff t@1 has one in JPY, USD") as caught:
        priced.price(Buyer("big", "EUR"))
    assert (caught.value.status, caught.value.code) == (403, "currency_not_priced")
    with pytest.raises(PlanNotPriced, match="no price for the plan 'standard'") as refused:
        priced.price(Buyer(None, "JPY"))
    assert (refused.value.status, refused.value.code) == (403, "plan_not_priced")
    with pytest.raises(PlanNotPriced, match="the plan 'gold', which is not in force"):
        catalog().priced("m", buyer=Buyer("gold"))


def test_every_factor_has_its_line() -> None:
    priced = catalog().priced("m", buyer=Buyer("big"))
    surge = Multiplier("surge", "Busy hour", "1.25")
    factors = priced.factors("priority", Buyer("big", extra=(surge,)))
    # 400 Tokens: 100 at 1 and 300 at 0.5.
    expected = [("base", "1.1"), ("service_tier", "2"), ("size_class", "1.5"), ("committed_volume", "0.625"), ("surge", "1.25")]
    assert [(each.name, each.factor) for each in factors.fixed] == expected
    assert factors.product({"a": 10}) == Fraction("1.1") * 2 * Fraction("1.5") * Fraction("0.625") * Fraction("1.25")
    assert [line.name for line in factors.lines(1000, {"a": 11})][-2:] == ["context", "multiplier_max"]
    assert factors.product({"a": 11}) == 6


def test_only_what_the_model_offers_can_be_asked_for() -> None:
    priced = catalog().priced("m")
    assert priced.offered() == ("standard", "priority")
    assert [priced.tier(wanted) for wanted in (None, "auto", "default", "standard", "priority")] == ["standard"] * 4 + ["priority"]
    with pytest.raises(TierNotOffered, match="m has no service tier batch; it offers standard, priority") as caught:
        priced.tier("batch")
    assert (caught.value.status, caught.value.param) == (400, "service_tier")
    for wrong in ("turbo", 5, ["batch"]):
        with pytest.raises(InvalidRequest, match="one of auto, default, batch, flex, standard, priority"):
            priced.tier(wrong)


def test_a_published_version_prices_as_it_did_whatever_is_in_force() -> None:
    now = catalog(CATALOG + LATER)
    assert (now.priced("m").tariff.id, now.priced("m").model.id) == ("t@2", "m@2")
    then = now.priced("m", versions=Versions(model="m@1", card="card@1", tariff="t@1", plan="big@1"))
    assert (then.model.id, then.tariff.id, then.plan and then.plan.id) == ("m@1", "t@1", "big@1")
    assert then.factors("priority").product({}) == Fraction("1.1") * 2 * Fraction("1.5") * Fraction("0.625")
    for versions in (Versions(model="m@9"), Versions(card="card@9"), Versions(tariff="t@9"), Versions(plan="big@9")):
        with pytest.raises(ModelNotPriced, match="@9, which is not published"):
            now.priced("m", versions=versions)


def test_history_tells_past_present_and_future() -> None:
    later = CATALOG + LATER + LATER.split("---\n")[1].replace("version: 2", "version: 3").replace("2026-03-01", "2027-01-01").join(["---\n", ""])
    states = [(version.document.entry.id, version.state) for version in catalog(later).history("tariff")]
    assert states == [("t@1", "past"), ("t@2", "in_force"), ("t@3", "future")]
    first, second, third = catalog(later).history("tariff")
    assert (first.in_force_until, second.in_force_until, third.in_force_until) == (second.in_force_from, third.in_force_from, None)


def test_a_project_can_have_only_plans_and_currencies_that_there_are() -> None:
    catalog().check_buyer("big", "CHF")
    catalog().check_buyer(None, None)
    catalog().check_buyer("standard", None)
    with pytest.raises(UnknownPlan, match="there are big, standard"):
        catalog().check_buyer("gold", None)
    for code in ("usd", "XXX", "ECU", ""):
        with pytest.raises(UnknownCurrency):
            catalog().check_buyer(None, code)

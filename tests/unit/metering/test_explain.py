"""A receipt whose card bears something: what was thrown away is consumed, and computed again to the last digit."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from taximeter.metering.explain import explain
from taximeter.metering.explanation import Phase, Record
from taximeter.metering.fares import quote_fare, read_catalog
from taximeter.metering.inputs import fare_fact
from taximeter.metering.rules import Bill, bill, receipt_fact, terms_of
from taximeter.pricing import Buyer, Catalog, Versions
from taximeter.pricing.tariffs import Multiplier

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SPEECH = {"input": "Good evening. The meter is running.", "voice": "alloy"}
REPORT = {"prefill_positions": 12, "decode_steps": 20, "total_steps": 50, "attempts": 2}
BUYERS = [Buyer(), Buyer(extra=(Multiplier("surge", "Surge", "1.5"),))]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog(None, NOW)


def settled(catalog: Catalog, buyer: Buyer, card: str | None = None) -> tuple[Bill, Record]:
    """A speech with one attempt thrown away, as it is stored."""
    versions = None if card is None else Versions(model="voxcpm-1.5@2", card=card, tariff="standard@2", plan=None)
    fare = quote_fare(catalog, "voxcpm-1.5", SPEECH, buyer=buyer, versions=versions)
    charge = bill(terms_of(fare), REPORT, measured=True)
    fact: dict[str, Any] = json.loads(msgspec.json.encode(receipt_fact(charge, "completed", None, {}, 5)))
    kept = {name: fact[name] for name in ("outcome", "reason", "work", "measured", "consumed_utok", "lines", "detail")}
    phase = Phase(phase=1, charged_utok=charge.charged_utok, shortfall_utok=0, **kept)
    record = Record(
        id=UUID(int=1),
        project_id=UUID(int=2),
        model="voxcpm-1.5",
        modality="speech",
        rate_card=fare.parts.rate_card,
        tariff=fare.parts.tariff,
        multiplier=fare.parts.multiplier,
        held_utok=fare.maximum_utok,
        fare=json.loads(msgspec.json.encode(fare_fact(fare))),
        created_at=NOW,
        phases=[phase],
        refunds=[],
    )
    return charge, record


@pytest.mark.parametrize("buyer", BUYERS, ids=["plain", "surge"])
def test_an_attempt_that_was_thrown_away_is_consumed_not_charged_and_explained(catalog: Catalog, buyer: Buyer) -> None:
    charge, record = settled(catalog, buyer)
    before, _ = settled(catalog, buyer, "voxcpm-1.5-calibrated@2")
    # 30 steps and 12 positions again, which the card before left out of what was consumed; the charge is the same.
    assert charge.consumed_utok - before.consumed_utok == 30 * 19_200 + 12 * 960
    assert charge.charged_utok == before.charged_utok
    assert charge.multipliers[0] == {"name": "borne", "label": "Borne by who runs the engine", "factor": "", "tokens": "-0.58752"}
    explanation = explain(catalog, record)
    assert [step for step in explanation.steps if step.agrees is False] == []
    assert explanation.agrees
    assert "less 0.58752 borne" in explanation.text()
    wrong = msgspec.structs.replace(record, phases=[msgspec.structs.replace(record.phases[0], charged_utok=charge.charged_utok + 1)])
    assert not explain(catalog, wrong).agrees


def test_a_receipt_by_the_card_of_before_means_what_it_meant(catalog: Catalog) -> None:
    charge, record = settled(catalog, Buyer(), "voxcpm-1.5-calibrated@2")
    assert charge.multipliers == ()
    assert charge.consumed_utok == charge.charged_utok
    assert explain(replace(catalog, seq=catalog.seq + 1), record).agrees

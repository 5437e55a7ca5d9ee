"""Factors from hold to receipt: the maximum decides what is held, the work what is charged."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from taximeter.db.pool import connect_owner
from taximeter.engines import Chunk, Done
from taximeter.kernel.units import parse_tokens
from taximeter.metering import Receipt
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir, builtin_dir
from tests.support.tenants import Town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

TARIFF = """
kind: tariff
name: long
version: 1
effective_from: 2026-01-01
currency: USD
price_per_token: 0.0003
multipliers: {base: 1.1}
service_tiers: {flex: 0.75}
context_bands: [{quantity: output_tokens, above: 10, factor: 2}]
multiplier_max: 1.5
"""


@pytest.fixture
async def long_town(town: Town, database_url: str, tmp_path: Path) -> Town:
    """A town with a chat model whose tariff has a band on the length of the answer, a tier, a base and a cap."""
    entries = yaml.safe_load_all((builtin_dir() / "10-chat.yaml").read_text(encoding="utf-8"))
    model: dict[str, Any] = next(entry for entry in entries if entry["kind"] == "model" and entry["name"] == "smollm2-135m")
    model |= {"name": "long-chat", "version": 1, "effective_from": "2026-01-01", "tiers": ["standard", "flex"], "default_card": "calibrated"}
    model["cards"] = {"calibrated": {"rate_card": model["cards"]["calibrated"]["rate_card"], "tariff": "long"}}
    (tmp_path / "long.yaml").write_text(f"{TARIFF}---\n{yaml.safe_dump(model)}", encoding="utf-8")
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "long.yaml", METERS)
    await owner.close()
    await until(lambda: "long-chat" in town.office.desk.catalog.models)
    return town


@pytest.mark.parametrize(("tier", "output", "names", "multiplier"), [
    ("auto", 5, ["base"], "1.1"),
    ("flex", 5, ["base", "service_tier"], "0.825"),
    ("flex", 15, ["base", "service_tier", "context", "multiplier_max"], "1.5"),
])  # fmt: skip
async def test_the_band_of_the_work_is_charged_and_that_of_the_maximum_is_held(
    long_town: Town, tier: str, output: int, names: list[str], multiplier: str
) -> None:
    town, caller = long_town, await long_town.caller()
    engine = town.engines["chat"]
    text = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
    engine.script = (text, Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": output, "reasoning_tokens": 0}))
    order = town.order(caller, service_tier=tier)
    ride = await town.metering.open(type(order)(caller=caller, model="long-chat", modality="chat", request=order.request))
    # Twenty tokens of answer at most: above the band, and with it above the cap.
    assert ride.fare.parts.multiplier == "1.5"
    assert ride.fare.maximum_utok == ride.fare.parts.maximum.total_utok * 3 // 2
    (receipt,) = [item async for item in ride.events() if isinstance(item, Receipt)]
    assert engine.jobs[-1].request.get("service_tier") == (None if tier == "auto" else tier)
    stored = await town.records.receipt(caller, ride.id)
    for told in (receipt, stored):
        assert ([line["name"] for line in told.multipliers], told.multiplier) == (names, multiplier)
        changes = sum(_utok(line["tokens"]) for line in told.multipliers)
        assert told.consumed_utok + changes == told.charged_utok <= told.held_utok
    explanation = await town.records.explanation(town.office.desk.catalog, ride.id)
    assert [step for step in explanation.steps if step.agrees is False] == []
    assert len([step for step in explanation.steps if step.part == "factors"]) == len(names)
    await town.assert_books_agree()


def _utok(tokens: str) -> int:
    return -parse_tokens(tokens[1:]) if tokens.startswith("-") else parse_tokens(tokens)

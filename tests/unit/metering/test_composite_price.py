"""The example of a composite price: its commands print what its page shows, and the receipt in the documents is computed."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from taximeter import cli
from taximeter.cli import offline
from taximeter.kernel.units import format_tokens
from taximeter.metering.fares import quote_fare
from taximeter.metering.rules import bill, terms_of
from taximeter.pricing import Buyer

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "composite_price"
REQUEST = {"messages": [{"role": "user", "content": "word " * 1200}], "max_tokens": 100, "service_tier": "flex"}


def shown() -> Iterator[tuple[str, str]]:
    """Each command of the page with the block of output behind it."""
    for part in (EXAMPLE / "README.md").read_text(encoding="utf-8").split("```console\n$ taximeter ")[1:]:
        command, _, rest = part.partition("\n```\n")
        yield command, rest.partition("```text\n")[2].partition("```")[0] if rest.startswith("\n```text") else ""


@pytest.mark.parametrize(("command", "printed"), [pair for pair in shown() if pair[1]])
def test_each_command_of_the_page_prints_what_stands_there(
    command: str, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.main(shlex.split(command)) == 0
    assert capsys.readouterr().out == printed


def test_the_receipt_in_the_documents_is_the_one_that_the_settlement_computes() -> None:
    catalog = offline.read(str(EXAMPLE / "catalog"))
    buyer = Buyer(plan="composite-committed", currency="EUR")
    fare = quote_fare(catalog, "composite-chat", REQUEST, buyer=buyer)
    report = {"prompt_tokens": 1188, "cached_tokens": 400, "output_tokens": 80, "reasoning_tokens": 0}
    charge = bill(terms_of(fare), report, measured=True)
    rows = [f"| {line['label']} | {line['quantity']} at {line['rate']} | {line['tokens']} |" for line in charge.lines]
    rows.append(f"| **consumed** | | **{format_tokens(charge.consumed_utok)}** |")
    rows += [f"| {line['label']} | x {line['factor']} | {line['tokens']} |" for line in charge.multipliers]
    rows.append(f"| **charged** | x {charge.multiplier} | **{format_tokens(charge.charged_utok)}** |")
    amount_nano = fare.priced.price(buyer).amount_nano(charge.charged_utok)
    rows.append(f"| money | {fare.money.price_nano:,} billionths of EUR a Token | {amount_nano:,} billionths: {buyer.money_text(amount_nano)} EUR |")
    table = (ROOT / "docs" / "concepts" / "money.md").read_text(encoding="utf-8").partition("### All at once")[2].partition("\n\n## ")[0]
    assert [line for line in table.splitlines() if line.startswith("| ")] == ["| line | | Tokens |", *rows], "\n".join(rows)

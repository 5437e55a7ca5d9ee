"""Every number on the page about the founding articles, computed anew from the page itself."""

import argparse
import ast
import re
import shlex
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from taximeter import quote
from taximeter.cli import asking
from taximeter.cli.offline import OfflineFare
from taximeter.cli.quote import add_parser
from taximeter.meters import article
from taximeter.meters.video_dit import produced_frames
from taximeter.pricing.currencies import money_text

PAGE = (Path(__file__).parents[2] / "docs" / "concepts" / "founding-articles.md").read_text(encoding="utf-8")
WAN = "wan2.2-t2v-a14b"
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda one, other: one + other,
    ast.Sub: lambda one, other: one - other,
    ast.Mult: lambda one, other: one * other,
    ast.Div: lambda one, other: one / other,
    ast.FloorDiv: lambda one, other: Fraction(one // other),
}


def rows(head: str) -> list[list[str]]:
    """The rows of the table whose head begins with these cells."""
    block = PAGE.partition(f"\n| {head}")[2].partition("\n\n")[0]
    assert block, head
    return [re.split(r"\s*\|\s*", line.strip("| ")) for line in block.splitlines()[2:]]


def asked(command: str, card: str | None = None) -> OfflineFare:
    """What a command of the page quotes."""
    arguments = shlex.split(command.strip("`"))
    assert arguments[:2] == ["taximeter", "quote"]
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = vars(parser.parse_args(arguments[1:]))
    return quote(args["model"], card=card, **{name: args[name] for name in asking.ALL_WORDS if args.get(name) is not None})


def equations() -> Iterator[tuple[str, str, str]]:
    """Each ``left = right`` and ``left ≈ right`` in code."""
    for code in re.findall(r"`([^`\n]+)`", PAGE):
        left, sign, right = (part.strip() for part in re.split("( = | ≈ )", code, maxsplit=1)) if re.search(" [=≈] ", code) else ("", "", "")
        if sign:
            yield left, sign, right


def value(text: str) -> Fraction:
    """An arithmetic expression as it is printed, exactly."""

    def of(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](of(node.left), of(node.right))
        assert isinstance(node, ast.Constant), text
        # The digits as written: a float would not be the decimal.
        return Fraction(plain[node.col_offset : node.end_col_offset])

    plain = text.replace(",", "").replace(" x ", " * ")
    return of(ast.parse(plain, mode="eval").body)


def shown(number: Fraction, like: str) -> str:
    """A number rounded to as many decimals as another one is shown with."""
    decimals = len(like.partition(".")[2])
    scaled = round(number * 10**decimals)
    return f"{Decimal(scaled).scaleb(-decimals):.{decimals}f}"


@pytest.mark.parametrize("row", rows("command | the article | `article-v1`"), ids=lambda row: row[0][-60:])
def test_every_founding_film_costs_what_the_page_says(row: list[str]) -> None:
    command, _, *tokens, _ = row
    for card, printed in zip(("article-v1", "article-v1-formula", "article-v1-dense", "calibrated"), tokens, strict=True):
        fare = asked(command, card)
        assert (card, str(fare.tokens)) == (card, printed)
        assert fare.tokens == fare.tokens_max


@pytest.mark.parametrize("row", rows("command | the article | Tokens at most"), ids=lambda row: row[0])
def test_every_founding_speech_and_text_costs_what_the_page_says(row: list[str]) -> None:
    command, printed, tokens, money, _ = row
    fare = asked(command, "article-v1")
    price = fare.to_dict()["price"]
    assert (str(fare.tokens_max), price["currency"], Decimal(money_text(price["amount_max_nano"], "USD"))) == (tokens, "USD", Decimal(money))
    assert printed in {"", tokens, f"{money} USD"}


@pytest.mark.parametrize(("left", "sign", "right"), list(equations()))
def test_every_equation_holds(left: str, sign: str, right: str) -> None:
    if sign == "=":
        assert value(left) == value(right)
    else:
        assert shown(value(left), right) == right.replace(",", "")


def test_there_are_equations_for_every_contradiction_with_numbers() -> None:
    assert len(list(equations())) >= 20
    assert re.findall(r"^- \*\*([a-k])\. ", PAGE, re.MULTILINE) == list("abcdefghijk")


@pytest.mark.parametrize("what", ["operations", "calibrated"])
def test_the_map_of_mispricing_follows_from_the_meter_and_the_card(what: str) -> None:
    def due(size: str, seconds: int) -> Fraction:
        fare = quote(WAN, size=size, seconds=seconds, fps=16, steps=40)
        cost = fare.work["linear_flop"] + fare.work["attention_flop"] if what == "operations" else fare.expected_utok
        return Fraction(cost, fare.work["article_units"])

    normal = due("1280x720", 5)
    lengths = [int(length) for length in re.findall(r"([0-9]+) s", re.findall(rf"^\| {what} \|.*$", PAGE, re.MULTILINE)[0])]
    for size, *cells in rows(f"{what} |"):
        assert [shown(due(size, seconds) / normal, "0.000") for seconds in lengths] == cells


def test_what_the_text_says_of_the_model_is_what_the_meter_counts() -> None:
    film = quote(WAN, size="1280x720", frames=81, steps=40)
    small = quote(WAN, size="832x480", frames=81, steps=40)
    for fare in (film, small):
        assert f"{fare.work['linear_flop'] + fare.work['attention_flop']:,}" in PAGE
    assert (produced_frames(120, "diffusers"), produced_frames(120, "native")) == (121, 117)
    assert article.frames(25, Fraction("4.6")) == 114
    assert asked("taximeter quote voxcpm-1.5 --seconds 5").work["decode_steps"] == 32
    short = [steps for steps in range(1, 4097) if int(steps * 7056 / 44100 * 6.25) < steps]
    assert (len(short), short[0]) == (287, 29)
    assert (round(1 * 0.8e-6, 6), round(31 * 0.8e-6, 9)) == (0.000001, 0.0000248)

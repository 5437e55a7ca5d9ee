"""One fare, told in four places: on the command line, by the API, on a page, and by what was held and settled."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import html
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from taximeter import cli
from taximeter.db.pool import connect_owner
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir, builtin_dir

pytestmark = pytest.mark.anyio

# By model: the route, the body, what the page's form says for it, and what the command line says.
JOBS: dict[str, tuple[str, dict[str, Any], dict[str, str], list[str]]] = {
    "teller": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5},
        {"message": "Hi", "max_tokens": "5"},
        ["--text", "Hi", "--max-tokens", "5"],
    ),
    "mapper": ("/v1/embeddings", {"input": "Hi"}, {"input": "Hi"}, ["--text", "Hi"]),
    "speaker": ("/v1/audio/speech", {"input": "Hello", "voice": "alloy"}, {"input": "Hello"}, ["--text", "Hello"]),
    "painter": (
        "/v1/videos",
        {"prompt": "a ball", "seconds": "2", "size": "360x640", "steps": 12},
        {"prompt": "a ball", "seconds": "2", "size": "360x640", "steps": "12"},
        ["--text", "a ball", "--seconds", "2", "--size", "360x640", "--steps", "12"],
    ),
}


def shown(page: str, name: str) -> str:
    found = re.search(rf'id="{name}"[^>]*>([^<]*)<', page)
    assert found is not None, page
    return found[1]


@pytest.mark.parametrize("model", JOBS)
async def test_command_line_api_page_and_settlement_tell_the_same(
    gateway: Any, tenant: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    path, request, form, options = JOBS[model]
    _, _, offer = await gateway.call("POST", "/v1/quotes", tenant.key, json={"model": model, "request": request})
    status, _, page = await gateway.call("GET", f"/quote?{urlencode({'model': model, **form})}", "")
    assert status == 200
    assert cli.main(["quote", model, "-f", str(tmp_path / "catalog"), *options, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    told = {
        (offer["tokens_expected"], offer["tokens_max"], offer["money"]["maximum"]),
        tuple(shown(page.decode(), name) for name in ("tokens-expected", "tokens-max", "money-max")),
    }
    assert told == {(printed["tokens"], printed["tokens_max"], offer["money"]["maximum"])}
    assert str(printed["price"]["amount_max_nano"]) == offer["money"]["maximum_nano"]
    status, headers, _ = await gateway.call("POST", path, tenant.key, json={**request, "model": model}, headers={"taximeter-quote": offer["id"]})
    assert (status, headers["taximeter-tokens-held"]) == (200, printed["tokens_max"])
    await gateway.until_no_hold_is_open()
    receipt = (await gateway.call("GET", f"/v1/receipts/{headers['taximeter-receipt']}", tenant.key))[2]
    assert Decimal(receipt["tokens_charged"]) <= Decimal(offer["tokens_max"])
    if model == "painter":
        # What it takes is known before.
        assert receipt["tokens_charged"] == offer["tokens_expected"]
        assert [line["tokens"] for line in receipt["lines"]] == [line["tokens_expected"] for line in offer["breakdown"]]


def chosen(page: str, name: str) -> str:
    found = re.search(rf'<select name="{name}">.*?<option selected>([^<]*)<', page)
    assert found is not None, page
    return found[1]


async def with_built_in_catalog(gateway: Any, folder: Path) -> None:
    """The built-in catalog beside the tests' own."""
    (folder / "all").mkdir()
    for file in builtin_dir().glob("*.yaml"):
        # The tests' own tariff has the name and version of a built-in one.
        texts = file.read_text(encoding="utf-8").split("---\n")
        documents = [each for each in texts if "kind: tariff\nname: standard\nversion: 1\n" not in each]
        (folder / "all" / file.name).write_text("---\n".join(documents), encoding="utf-8")
    owner = await connect_owner(gateway.office.settings.database_url)
    await apply_dir(owner, folder / "all", METERS)
    await owner.close()
    while "kokoro-82m" not in gateway.office.desk.catalog.models:
        await gateway.call("GET", "/healthz", "")


async def test_each_way_to_be_cheaper_leads_to_a_page_that_says_the_same(gateway: Any, tmp_path: Path) -> None:
    await with_built_in_catalog(gateway, tmp_path)
    seen: set[str] = set()
    for model in ("painter", "sketch-video", "wan2.2-t2v-a14b", "flux.1-dev"):
        _, _, page = await gateway.call("GET", f"/quote?model={model}", "")
        rows = re.findall(r'<a href="([^"]*)">([^<]*)</a></td><td class="mono">([^<]*)<', page.decode())
        assert rows
        for address, text, tokens_max in rows:
            status, _, other = await gateway.call("GET", html.unescape(address), "")
            assert (status, shown(other.decode(), "tokens-max")) == (200, tokens_max), text
            seen.add(text.partition(":")[0])
    assert {"without guidance", "in the service tier batch instead of standard"} <= seen


async def test_a_page_opens_on_the_standard_tier_and_the_whole_work_and_shows_the_whole_price(
    gateway: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await with_built_in_catalog(gateway, tmp_path)
    for model in ("sketch-video", "wan2.2-t2v-a14b"):
        page = (await gateway.call("GET", f"/quote?model={model}", ""))[2].decode()
        assert chosen(page, "service_tier") == "standard"
        assert '"service_tier": "batch"' not in html.unescape(page)
        assert cli.main(["quote", model, "--text", "a red ball over a blue sea", "--json"]) == 0
        assert shown(page, "tokens-max") == json.loads(capsys.readouterr().out)["tokens_max"]
        half = (await gateway.call("GET", f"/quote?model={model}&service_tier=batch", ""))[2].decode()
        assert (chosen(half, "service_tier"), Decimal(shown(half, "tokens-max"))) == ("batch", Decimal(shown(page, "tokens-max")) / 2)
    # Guidance is a field where it changes the work.
    pages = {}
    for model in ("wan2.2-t2v-a14b", "sketch-video", "flux.1-dev", "hunyuanvideo"):
        pages[model] = (await gateway.call("GET", f"/quote?model={model}", ""))[2].decode()
    assert [model for model, page in pages.items() if 'name="guidance"' in page] == ["wan2.2-t2v-a14b"]
    assert chosen(pages["wan2.2-t2v-a14b"], "guidance") == "on"
    for word in ("off", "false", "False"):
        other = (await gateway.call("GET", f"/quote?model=wan2.2-t2v-a14b&guidance={word}", ""))[2].decode()
        assert '"guidance": false' in html.unescape(other)
        assert Decimal(shown(other, "tokens-max")) < Decimal(shown(pages["wan2.2-t2v-a14b"], "tokens-max")) * Decimal("0.51")
    status, _, refused = await gateway.call("GET", "/quote?model=wan2.2-t2v-a14b&guidance=maybe", "")
    assert (status, "Guidance must be on or off" in refused.decode()) == (400, True)
    # A film is told in passes, with the share of each part.
    page = (await gateway.call("GET", "/quote?model=wan2.2-t2v-a14b", ""))[2].decode()
    assert "80 passes over 75,600 latent tokens (81 frames of 1280x720), 1,041.5 s of the reference GPU" in page
    assert re.findall(r"<li><span>([a-z -]+)</span><span class=\"mono\">([^<]*%)</span>", page)[:2] == [
        ("transformer", "50.2 %"),
        ("self-attention", "48.8 %"),
    ]


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("", 200, "Show the fare"),
        ("model=nobody", 404, "no model of this name"),
        ("model=painter&size=1x1", 400, "choose one of 640x360"),
        ("model=painter&steps=many", 400, "Steps must be a number"),
        ("model=painter&steps=%F0%9D%9F%98", 400, "steps"),
        (urlencode({"model": "teller", "message": "x" * 4001}), 400, "at most 4000"),
        (urlencode({"model": "painter", "prompt": '"><script>alert(1)</script>'}), 200, "&#34;&gt;&lt;script&gt;"),
    ],
)
async def test_a_page_that_cannot_show_a_fare_says_why(gateway: Any, query: str, status: int, says: str) -> None:
    found, headers, page = await gateway.call("GET", f"/quote?{query}", "")
    assert (found, headers.get("content-type")) == (status, "text/html; charset=utf-8")
    assert says in page.decode()
    assert "<script>" not in page.decode()
    assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_every_model_of_the_built_in_catalog_has_a_page(gateway: Any, tmp_path: Path) -> None:
    await with_built_in_catalog(gateway, tmp_path)
    catalog = gateway.office.desk.catalog
    for name in catalog.models:
        status, _, page = await gateway.call("GET", f"/quote?{urlencode({'model': name})}", "")
        assert status == 200, (name, re.findall(r'role="alert">(.*?)</div>', page.decode()))


async def test_the_page_opens_on_a_model_that_runs_and_says_which_ones_do_not(gateway: Any) -> None:
    _, _, first = await gateway.call("GET", "/quote", "")
    page = first.decode()
    assert 'name="model" value="teller"' in page
    assert page.count("quote only") == 1
    assert "/v1/chat/completions" in page
    _, _, other = await gateway.call("GET", "/quote?model=orphan", "")
    page = other.decode()
    assert "Nothing here runs this model" in page
    assert ("/v1/quotes" in page, "/v1/chat/completions" in page, "from openai" in page) == (True, False, False)
    # The engine of those that run is not asked; one that is gone is as good as none.
    object.__setattr__(gateway.office.desk, "engines", {})
    page = (await gateway.call("GET", "/quote?model=teller", ""))[2].decode()
    assert ("Nothing here runs this model" in page, "/v1/chat/completions" in page) == (True, False)


async def test_speech_on_the_page_is_written_to_a_file(gateway: Any) -> None:
    page = html.unescape((await gateway.call("GET", "/quote?model=speaker", ""))[2].decode())
    assert "\\\n  -o speech.mp3" in page
    assert '.write_to_file("speech.mp3")' in page


async def test_a_line_tells_both_quantities_where_they_differ_and_no_term_that_is_nothing(gateway: Any) -> None:
    page = (await gateway.call("GET", "/quote?model=speaker&input=Hello", ""))[2].decode()
    assert re.search(r"<small>[0-9,]+ audio frames, at most [0-9,]+, at 0.01 Tokens each<", page), page


async def test_nothing_is_kept_and_list_prices_can_be_nobodys_business(gateway: Any) -> None:
    front = (await gateway.call("GET", "/", ""))[2].decode()
    assert 'href="/quote"' in front
    await gateway.call("GET", "/quote", "")
    assert await gateway.office.pool.fetchval("select count(*) from metering.quotes") == 0
    object.__setattr__(gateway.office.settings, "demo", False)
    status, _, problem = await gateway.call("GET", "/quote", "")
    assert (status, problem["code"]) == (404, "not_found")
    object.__setattr__(gateway.office.settings, "public_prices", True)
    assert (await gateway.call("GET", "/quote", ""))[0] == 200

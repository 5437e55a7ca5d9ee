"""Quotes beside the one call that makes them: the list of them, and what ``taximeter quotes create`` asks of a running gateway."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from taximeter import cli

pytestmark = pytest.mark.anyio

VIDEO: dict[str, Any] = {"prompt": "a ball", "seconds": "1"}


async def command(*arguments: str) -> int:
    """The exit code of a command, while the gateway answers it."""
    return await asyncio.to_thread(cli.main, ["quotes", "create", *arguments])


async def test_a_project_finds_its_own_quotes_newest_first_and_page_by_page(gateway: Any, tenant: Any) -> None:
    other = await gateway.tenant("Other")
    made = []
    for number in range(1, 6):
        _, _, offer = await gateway.call("POST", "/v1/quotes", tenant.key, json={"model": "painter", "request": {**VIDEO, "steps": number}})
        made.append(offer)
    await gateway.call("POST", "/v1/quotes", other.key, json={"model": "painter", "request": VIDEO})
    used = made[2]
    status, headers, _ = await gateway.call(
        "POST", "/v1/videos", tenant.key, json={**VIDEO, "steps": 3, "model": "painter"}, headers={"taximeter-quote": used["id"]}
    )
    assert status == 200
    found: list[dict[str, Any]] = []
    address, pages = "/v1/quotes?limit=2", 0
    while address:
        status, _, page = await gateway.call("GET", address, tenant.key)
        assert status == 200
        found += page["data"]
        pages += 1
        address = page["next_cursor"] and f"/v1/quotes?limit=2&cursor={page['next_cursor']}"
    assert pages == 3
    assert [quote["id"] for quote in found] == [quote["id"] for quote in reversed(made)]
    states = {quote["id"]: (quote["state"], quote["receipt"]) for quote in found}
    assert states.pop(used["id"]) == ("used", headers["taximeter-receipt"])
    assert set(states.values()) == {("open", None)}
    # As each is alone.
    assert (await gateway.call("GET", f"/v1/quotes/{used['id']}", tenant.key))[2] == found[2]
    assert len((await gateway.call("GET", "/v1/quotes", tenant.key))[2]["data"]) == 5
    for wrong in ("limit=0", "limit=x", "cursor=quo_x", f"cursor={headers['taximeter-receipt']}"):
        status, _, problem = await gateway.call("GET", f"/v1/quotes?{wrong}", tenant.key)
        assert (status, problem["param"]) == (400, wrong.partition("=")[0])
    assert (await gateway.call("GET", "/v1/quotes", "sk-nobody"))[0] == 401
    await gateway.until_no_hold_is_open()


async def test_a_command_asks_a_running_gateway_for_a_quote_that_binds_it(
    gateway: Any, tenant: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXIMETER_URL", gateway.url)
    monkeypatch.setenv("OPENAI_API_KEY", tenant.key)
    own = ["painter", "-f", str(tmp_path / "catalog"), "--text", "a ball", "--seconds", "1"]
    assert await command(*own, "--alternatives", "--json") == 0
    kept = capsys.readouterr().out
    offer = json.loads(kept)
    assert offer["alternatives"]
    # It can be checked without the gateway, and it binds the request that the options stand for.
    _, _, keys = await gateway.call("GET", "/v1/keys", "")
    (tmp_path / "quote.json").write_text(kept, encoding="utf-8")
    (tmp_path / "keys.json").write_text(json.dumps(keys), encoding="utf-8")
    assert cli.main(["quotes", "verify", str(tmp_path / "quote.json"), "--key", str(tmp_path / "keys.json")]) == 0
    capsys.readouterr()
    job = {**VIDEO, "model": "painter"}
    status, headers, _ = await gateway.call("POST", "/v1/videos", tenant.key, json=job, headers={"taximeter-quote": offer["id"]})
    assert (status, headers["taximeter-tokens-held"]) == (200, offer["tokens_max"])
    # In words; the key from a file, the whole body instead of options.
    (tmp_path / "key").write_text(f"{tenant.key}\n", encoding="utf-8")
    monkeypatch.delenv("OPENAI_API_KEY")
    asked = ["--request", json.dumps(VIDEO), "--key-file", str(tmp_path / "key"), "--url", f"{gateway.url}/v1", "-f", str(tmp_path / "catalog")]
    assert await command("painter", *asked, "--alternatives") == 0
    told = capsys.readouterr().out
    assert ": painter, at most 10 Tokens (0.01 USD)\nvalid until 20" in told
    assert "\n  Steps: 20 steps at 0.5 Tokens each: 10 Tokens\n" in told
    assert "\n5 steps instead of 20" in told
    # Many at once.
    lines = [{"model": "painter", "request": VIDEO}, {"model": "nobody", "request": {}}]
    (tmp_path / "items").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert await command("--items", str(tmp_path / "items"), "--key-file", str(tmp_path / "key")) == 0
    told = capsys.readouterr().out
    assert "   2  nobody   there is no model 'nobody'" in told
    assert "(model_not_found)" in told
    assert told.endswith("1 quoted, 1 refused: at most 10 Tokens (0.01 USD)\n")
    await gateway.until_no_hold_is_open()


async def test_a_command_that_gets_no_quote_says_why_in_one_line(
    gateway: Any, tenant: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", tenant.key)
    monkeypatch.delenv("TAXIMETER_URL", raising=False)
    (tmp_path / "items").write_text("{", encoding="utf-8")
    (tmp_path / "deep").write_text("[" * 100_000, encoding="utf-8")
    (tmp_path / "note").write_text("the key is\ntx-1", encoding="utf-8")
    here = ["--url", gateway.url]
    wrong: list[tuple[int, list[str], str]] = [
        (78, ["painter", "--request", "{}"], "give --url http://host:port"),
        (78, ["painter", "--request", "{}", "--url", "http://127.0.0.1:9"], "does not answer"),
        (78, ["painter", "--request", "{}", *here, "--key-file", str(tmp_path / "none")], "cannot be read"),
        (1, ["painter", "--request", '{"prompt": "x", "steps": 99}', *here], "(invalid_value, 400)"),
        (1, ["painter", "--steps", "5", *here], "has no model 'painter': give the whole body as --request"),
        (1, ["sketch-video", "--request", "{}", "--steps", "5", *here], "leave steps out"),
        (1, ["painter", "--items", str(tmp_path / "items"), *here], "leave everything else"),
        (1, ["--items", str(tmp_path / "items"), *here], "neither a JSON list"),
        (1, ["--items", str(tmp_path / "deep"), *here], "neither a JSON list"),
        (1, ["painter", "--request", '{"a":' * 100_000, *here], "must be the body as a JSON object"),
        (78, ["painter", "--request", "{}", *here, "--key-file", str(tmp_path / "note")], "note holds is no key"),
        (1, here, "say which MODEL"),
    ]
    for code, arguments, says in wrong:
        assert await command(*arguments) == code, arguments
        told = capsys.readouterr().err
        assert says in told, (arguments, told)
        assert told.count("\n") == 1
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")
    assert await command("painter", "--request", json.dumps(VIDEO), *here) == 1
    assert "401" in capsys.readouterr().err

"""Estimates beside what providers count, by model: on the admin API, on the metrics page and on the command line."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taximeter.cli import main
from taximeter.engines import EngineFailed

pytestmark = pytest.mark.anyio

ADMIN_KEY = "the admin key"
CHAT = "/v1/chat/completions"


def body(text: str, **more: object) -> dict[str, Any]:
    return {"model": "teller", "messages": [{"role": "user", "content": text}], **more}


async def test_the_drift_of_a_model_is_what_its_receipts_say(
    gateway: Any, tenant: Any, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The engine says 10 for every prompt; what was expected differs with its length.
    for text, stream in (("Hello", False), ("Hello there, driver", True), ("Hello" * 20, False)):
        status, _, _ = await gateway.call("POST", CHAT, tenant.key, json=body(text, stream=stream, max_tokens=20))
        assert status == 200
    gateway.engine.failure = EngineFailed("broken")
    assert (await gateway.call("POST", CHAT, tenant.key, json=body("Hello")))[0] == 502
    expected = []
    async with gateway.office.pool.acquire() as connection:
        for fare, outcome in await connection.fetch(
            "select q.fare, r.outcome from metering.requests q join metering.receipts r on r.id = q.id order by q.id"
        ):
            if outcome == "completed":
                expected.append(int(json.loads(fare)["work_expected"]["prompt_tokens"]))
    assert len(expected) == 3
    errors = sorted(abs(10 - tokens) / 10 for tokens in expected)
    (drift,) = (await gateway.admin("GET", "/drift"))["data"]
    assert (drift["model"], drift["requests"], drift["measured"]) == ("teller", 3, 3)
    prompt, answer = drift["prompt"], drift["answer"]
    assert (prompt["expected"], prompt["counted"]) == (sum(expected), 30)
    assert prompt["mean_error"] == pytest.approx(sum(errors) / 3, abs=1e-6)
    assert prompt["p90_error"] == pytest.approx(errors[1] + 0.8 * (errors[2] - errors[1]), abs=1e-6)
    assert (answer["expected"], answer["counted"], answer["mean_error"]) == (60, 9, pytest.approx(17 / 3, abs=1e-6))
    _, _, page = await gateway.call("GET", "/metrics", "")
    lines = page.decode().splitlines()
    for name, part, value in (("expected", "prompt", sum(expected)), ("counted", "prompt", 30), ("expected", "answer", 60), ("counted", "answer", 9)):
        assert f'taximeter_chat_tokens_{name}_total{{model="teller",part="{part}"}} {float(value)}' in lines
    monkeypatch.setenv("TAXIMETER_DATABASE_URL", database_url)
    assert await asyncio.to_thread(main, ["drift", "--json", "--model", "teller"]) == 0
    assert json.loads(capsys.readouterr().out) == drift
    assert await asyncio.to_thread(main, ["drift"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["model", "requests"]
    assert first.split()[:6] == ["teller", "3", "100.0", "prompt", str(sum(expected)), "30"]
    assert second.split()[:3] == ["answer", "60", "9"]


async def test_only_the_wanted_time_and_model_are_looked_at(gateway: Any, tenant: Any) -> None:
    await gateway.call("POST", CHAT, tenant.key, json=body("Hello"))
    now = datetime.now(UTC)
    later, earlier = (now + timedelta(hours=1)).isoformat(), (now - timedelta(hours=1)).isoformat()
    for params, found in (
        ({"from": earlier, "to": later}, 1),
        ({"from": (now - timedelta(days=2)).isoformat(), "to": earlier}, 0),
        ({"model": "teller"}, 1),
        ({"model": "nobody"}, 0),
    ):
        assert len((await gateway.admin("GET", "/drift", params=params))["data"]) == found, params
    for params in ({"from": "soon"}, {"from": later, "to": earlier}, {"from": "2026-01-01", "to": "2026-03-01"}):
        status, _, answer = await gateway.call("GET", "/v1/admin/drift", ADMIN_KEY, params=params)
        assert (status, answer["code"]) == (400, "invalid_value")
    assert (await gateway.call("GET", "/v1/admin/drift", tenant.key))[0] == 401


async def test_the_span_is_a_range_of_the_primary_keys(gateway: Any) -> None:
    from taximeter.db import sql  # noqa: PLC0415 - the statement itself is what is looked at

    statement = sql.load("taximeter.metering")["drift"]
    async with gateway.office.pool.acquire() as connection:
        await connection.execute("set enable_seqscan = off")
        first, last = "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001"
        plan = "\n".join(row[0] for row in await connection.fetch(f"explain {statement}", first, last, None))
    assert "Index Scan using requests_pkey on requests" in plan or "Bitmap Index Scan on requests_pkey" in plan
    assert "receipts_pkey" in plan

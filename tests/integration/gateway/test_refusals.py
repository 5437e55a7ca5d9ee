"""Bad input: the right status, envelope and code, nothing charged, nothing held, and no engine asked."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
import itertools
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from taximeter.engines import EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable

pytestmark = pytest.mark.anyio

CHAT: dict[str, Any] = {"model": "teller", "messages": [{"role": "user", "content": "Hi"}]}
SPEECH: dict[str, Any] = {"model": "speaker", "input": "Hi", "voice": "alloy"}
VIDEO: dict[str, Any] = {"model": "painter", "prompt": "a ball"}
EMBED: dict[str, Any] = {"model": "mapper", "input": "Hi"}
PATHS = {
    "teller": "/v1/chat/completions",
    "orphan": "/v1/chat/completions",
    "speaker": "/v1/audio/speech",
    "painter": "/v1/videos",
    "mapper": "/v1/embeddings",
}


async def nothing_happened(gateway: Any, tenant: Any) -> None:
    assert await gateway.wallet(tenant) == ("1000", "0")
    assert await gateway.holds_open() == 0
    assert gateway.engine.jobs == []


BAD_VALUES: list[tuple[dict[str, Any], int, str]] = [
    ({**CHAT, "messages": []}, 400, "invalid_value"),
    ({**CHAT, "messages": [{"role": "user", "content": ""}]}, 400, "invalid_value"),
    ({**CHAT, "messages": "Hi"}, 400, "invalid_value"),
    ({"model": "teller"}, 400, "invalid_value"),
    ({**CHAT, "messages": [{"role": "user", "content": "x" * 301}]}, 400, "prompt_too_long"),
    ({**CHAT, "max_tokens": 0}, 400, "invalid_value"),
    ({**CHAT, "max_tokens": -1}, 400, "invalid_value"),
    ({**CHAT, "max_tokens": 10**30}, 400, "invalid_value"),
    ({**CHAT, "max_tokens": "many"}, 400, "invalid_value"),
    ({**CHAT, "temperature": 9}, 400, "invalid_value"),
    ({**CHAT, "n": 5}, 400, "unsupported_parameter"),
    ({**CHAT, "model": "nobody"}, 404, "model_not_found"),
    ({**CHAT, "model": "mapper"}, 400, "wrong_modality"),
    ({**CHAT, "model": "orphan"}, 503, "engine_unavailable"),
    ({**SPEECH, "input": ""}, 400, "invalid_value"),
    ({**SPEECH, "input": "x" * 101}, 400, "prompt_too_long"),
    ({**SPEECH, "voice": "nobody"}, 400, "unknown_voice"),
    ({**SPEECH, "response_format": "midi"}, 400, "unsupported_format"),
    ({**SPEECH, "speed": 0}, 400, "invalid_value"),
    ({**SPEECH, "speed": 100}, 400, "invalid_value"),
    ({**VIDEO, "prompt": ""}, 400, "invalid_value"),
    ({**VIDEO, "prompt": "x" * 32_001}, 400, "prompt_too_long"),
    ({**VIDEO, "size": "64x64"}, 400, "unsupported_size"),
    ({**VIDEO, "size": "-640x360"}, 400, "unsupported_size"),
    ({**VIDEO, "size": "999999999x1"}, 400, "unsupported_size"),
    ({**VIDEO, "seconds": "-4"}, 400, "invalid_value"),
    ({**VIDEO, "seconds": "0"}, 400, "invalid_value"),
    ({**VIDEO, "seconds": "1e99"}, 400, "invalid_value"),
    ({**VIDEO, "seconds": "NaN"}, 400, "invalid_value"),
    ({**VIDEO, "steps": -1}, 400, "invalid_value"),
    ({**VIDEO, "steps": 10**12}, 400, "invalid_value"),
    ({**VIDEO, "fps": 0}, 400, "invalid_value"),
    ({**VIDEO, "fps": "1e300"}, 400, "invalid_value"),
    ({**VIDEO, "input_reference": {"image_url": "x"}}, 400, "unsupported_input"),
    ({**EMBED, "input": ""}, 400, "invalid_value"),
    ({**EMBED, "input": []}, 400, "invalid_value"),
    ({**EMBED, "encoding_format": "hex"}, 400, "invalid_value"),
]


async def test_bad_values_cost_nothing(gateway: Any, tenant: Any, subtests: pytest.Subtests) -> None:
    for body, status, code in BAD_VALUES:
        with subtests.test(body=str(body)[:100]):
            # The path is the one of the model, or of the model that somebody takes it for.
            path = "/v1/chat/completions" if "messages" in body else PATHS[body["model"]]
            got, _, answer = await gateway.call("POST", path, tenant.key, json=body)
            assert (got, answer["error"]["code"]) == (status, code), answer
            assert set(answer["error"]) == {"message", "type", "param", "code"}
            await nothing_happened(gateway, tenant)


async def test_unknown_fields_are_ignored(gateway: Any, tenant: Any) -> None:
    for ask in (CHAT, SPEECH, VIDEO, EMBED):
        body = {**ask, "no_such_field": {"a": [1]}, "user": "u"}
        assert (await gateway.call("POST", PATHS[str(ask["model"])], tenant.key, json=body))[0] == 200


BAD_BODIES: list[tuple[bytes, dict[str, str], int, str]] = [
    (b'{"model": "teller", "messages": [', {}, 400, "invalid_json"),
    (b'{"model": "teller", "temperature": NaN}', {}, 400, "invalid_json"),
    (b'{"model": "tell\xff"}', {}, 400, "invalid_utf8"),
    (b'{"model": "\\u0000"}', {}, 400, "invalid_json"),
    (b"model=teller", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    (b" " * 100_001, {}, 413, "body_too_large"),
    (b"[" * 90_000, {}, 400, "invalid_json"),
]


async def test_bad_bodies_cost_nothing(gateway: Any, tenant: Any, subtests: pytest.Subtests) -> None:
    for data, headers, status, code in BAD_BODIES:
        with subtests.test(data=data[:50]):
            sent = {"Content-Type": "application/json", **headers}
            got, _, answer = await gateway.call("POST", "/v1/chat/completions", tenant.key, data=data, headers=sent)
            assert (got, answer["error"]["code"]) == (status, code)
            await nothing_happened(gateway, tenant)


async def test_two_gigabytes_are_refused_before_they_are_sent(gateway: Any, tenant: Any) -> None:
    address = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {2 * 1024**3}\r\n\r\n"
    )
    writer.write(head.encode())
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer
    writer.close()
    await nothing_happened(gateway, tenant)


async def talk(gateway: Any, sent: bytes) -> bytes:
    """Everything that is answered until the server closes the connection."""
    address = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(sent)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/v1/chat/completions", "application/json"), ("/v1/videos", "multipart/form-data; boundary=B"), ("/v1/admin/projects", "application/json")],
)
async def test_a_body_that_never_comes_is_not_waited_for(gateway: Any, tenant: Any, path: str, kind: str) -> None:
    key = "the admin key" if "admin" in path else tenant.key
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\nContent-Length: 9\r\n\r\n{{"
    answer = await talk(gateway, head.encode())
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"body_timeout" in answer
    assert b"x-should-retry: false" in answer
    await nothing_happened(gateway, tenant)


async def test_headers_of_a_megabyte_are_refused_without_a_key(gateway: Any) -> None:
    answer = await talk(gateway, b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000)
    assert answer.startswith(b"HTTP/1.1 431")
    assert b"headers_too_large" in answer


async def test_a_body_without_an_end_is_cut_off(gateway: Any, tenant: Any) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 2 * 1024**3:
            sent += 65_536
            yield b"x" * 65_536

    try:
        status, _, answer = await gateway.call(
            "POST", "/v1/chat/completions", tenant.key, data=endless(), headers={"Content-Type": "application/json"}
        )
    except aiohttp.ClientConnectionError:
        # The connection was closed under the sender; some clients see that before the answer.
        pass
    else:
        assert (status, answer["error"]["code"]) == (413, "body_too_large")
    assert sent < 100 * 1024**2
    await nothing_happened(gateway, tenant)


async def test_a_form_of_a_video_is_checked_like_json(gateway: Any, tenant: Any) -> None:
    for field, value, code in (("prompt", b"\xff\xfe", "invalid_utf8"), ("seconds", b"-1", "invalid_value"), ("size", b"1x1", "unsupported_size")):
        writer = aiohttp.MultipartWriter("form-data")
        for name, content in {"model": b"painter", "prompt": b"a ball", field: value}.items():
            writer.append(content).set_content_disposition("form-data", name=name)
        status, _, answer = await gateway.call("POST", "/v1/videos", tenant.key, data=writer)
        assert (status, answer["error"]["code"]) == (400, code)
    await nothing_happened(gateway, tenant)


FAILURES = [
    (EngineFailed("it broke"), 502),
    (EngineUnavailable("no room"), 503),
    (EngineTimeout("too slow"), 504),
    (EngineRefused("not like this"), 400),
]


async def test_an_engine_that_fails_costs_nothing_and_the_answer_names_the_receipt(gateway: Any, tenant: Any, subtests: pytest.Subtests) -> None:
    for (failure, status), ask in itertools.product(FAILURES, (CHAT, SPEECH, EMBED)):
        with subtests.test(failure=failure.code, model=ask["model"]):
            gateway.engine.failure = failure
            got, headers, answer = await gateway.call("POST", PATHS[str(ask["model"])], tenant.key, json=ask)
            assert (got, answer["error"]["code"]) == (status, failure.code)
            assert ("x-should-retry" in headers) == (status == 504)
            await gateway.until_no_hold_is_open()
            assert await gateway.wallet(tenant) == ("1000", "0")
            receipt, *_ = await gateway.receipts(tenant)
            assert (receipt["outcome"], receipt["tokens_charged"], receipt["id"]) == ("failed", "0", headers["taximeter-receipt"])


async def test_a_video_that_fails_costs_nothing_and_says_why(gateway: Any, tenant: Any) -> None:
    gateway.engine.failure = EngineFailed("the brush broke")
    _, _, video = await gateway.call("POST", "/v1/videos", tenant.key, json=VIDEO)
    video = await until_ended(gateway, tenant, video["id"])
    assert (video["status"], video["error"]["code"]) == ("failed", "engine_failed")
    assert "the brush broke" in video["error"]["message"]
    assert await gateway.wallet(tenant) == ("1000", "0")
    status, _, answer = await gateway.call("GET", f"/v1/videos/{video['id']}/content", tenant.key)
    assert (status, answer["error"]["code"]) == (400, "video_failed")


async def test_content_before_completion_is_400_and_so_asked_once(gateway: Any, tenant: Any) -> None:
    gateway.engine.gate = asyncio.Event()
    _, _, video = await gateway.call("POST", "/v1/videos", tenant.key, json=VIDEO)
    status, _, answer = await gateway.call("GET", f"/v1/videos/{video['id']}/content", tenant.key)
    assert (status, answer["error"]["code"]) == (400, "video_not_ready")
    gateway.engine.gate.set()
    assert (await until_ended(gateway, tenant, video["id"]))["status"] == "completed"


async def test_a_video_deleted_while_it_runs_is_stopped_and_free(gateway: Any, tenant: Any) -> None:
    gateway.engine.gate = asyncio.Event()
    _, _, video = await gateway.call("POST", "/v1/videos", tenant.key, json=VIDEO)
    async with asyncio.timeout(10):
        while not gateway.engine.jobs:
            await asyncio.sleep(0.01)
    assert await gateway.wallet(tenant) == ("990", "10")
    status, _, answer = await gateway.call("DELETE", f"/v1/videos/{video['id']}", tenant.key)
    assert (status, answer["deleted"]) == (200, True)
    assert await gateway.wallet(tenant) == ("1000", "0")
    assert (await gateway.call("GET", f"/v1/videos/{video['id']}", tenant.key))[0] == 404
    async with asyncio.timeout(10):
        while not gateway.engine.cancelled:
            await asyncio.sleep(0.01)
    (receipt,) = await gateway.receipts(tenant)
    assert (receipt["outcome"], receipt["tokens_charged"]) == ("cancelled", "0")


async def until_ended(gateway: Any, tenant: Any, video_id: str) -> Any:
    async with asyncio.timeout(10):
        while True:
            _, _, video = await gateway.call("GET", f"/v1/videos/{video_id}", tenant.key)
            if video["status"] not in ("queued", "in_progress"):
                return video
            await asyncio.sleep(0.02)


async def test_wrong_keys_are_401(gateway: Any, tenant: Any) -> None:
    for key in ("", "sk-wrong", "tx-00000000-" + "0" * 40):
        status, headers, answer = await gateway.call("POST", "/v1/chat/completions", key, json=CHAT)
        assert (status, answer["error"]["code"], headers["WWW-Authenticate"]) == (401, "invalid_api_key", "Bearer")
    await nothing_happened(gateway, tenant)


async def test_a_revoked_key_is_refused_soon(gateway: Any, tenant: Any) -> None:
    assert (await gateway.call("GET", "/v1/wallet", tenant.key))[0] == 200
    await gateway.admin("DELETE", f"/projects/{tenant.id}/keys/{tenant.key_id}")
    async with asyncio.timeout(10):
        while True:
            status, _, answer = await gateway.call("GET", "/v1/wallet", tenant.key)
            if status != 200:
                break
            await asyncio.sleep(0.01)
    assert (status, answer["code"]) == (401, "revoked_api_key")


async def test_another_tenants_objects_do_not_exist(gateway: Any, tenant: Any) -> None:
    other = await gateway.tenant("Other")
    _, _, video = await gateway.call("POST", "/v1/videos", tenant.key, json=VIDEO)
    await until_ended(gateway, tenant, video["id"])
    receipt_id = video["taximeter"]["receipt"]
    for method, path in (
        ("GET", f"/v1/videos/{video['id']}"),
        ("DELETE", f"/v1/videos/{video['id']}"),
        ("GET", f"/v1/videos/{video['id']}/content"),
        ("GET", f"/v1/receipts/{receipt_id}"),
    ):
        assert (await gateway.call(method, path, other.key))[0] == 404, path
    assert (await gateway.call("GET", "/v1/videos", other.key))[2]["data"] == []
    assert await gateway.receipts(other) == []
    assert (await gateway.call("GET", f"/v1/videos?after={video['id']}", other.key))[0] == 404
    assert (await gateway.call("GET", f"/v1/videos/{video['id']}", tenant.key))[0] == 200


async def test_a_limit_of_the_callers_own_is_kept(gateway: Any, tenant: Any) -> None:
    status, _, answer = await gateway.call("POST", "/v1/videos", tenant.key, json=VIDEO, headers={"taximeter-max-tokens": "9.999999"})
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "above_max_tokens", "taximeter-max-tokens")
    await nothing_happened(gateway, tenant)
    assert (await gateway.call("POST", "/v1/videos", tenant.key, json=VIDEO, headers={"taximeter-max-tokens": "10"}))[0] == 200

"""The application as a whole: keys first, envelopes, health, metrics, pages, and a document that names every route."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import re
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from taximeter.gateway import admin_values
from tests.support.described import document_of, undescribed

pytestmark = pytest.mark.anyio

ROUTES = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/audio/speech"),
    ("POST", "/v1/videos"),
    ("GET", "/v1/videos"),
    ("GET", "/v1/videos/x"),
    ("DELETE", "/v1/videos/x"),
    ("GET", "/v1/videos/x/content"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/x"),
    ("POST", "/v1/quotes"),
    ("GET", "/v1/quotes"),
    ("GET", "/v1/quotes/x"),
    ("GET", "/v1/approvals"),
    ("GET", "/v1/approvals/x"),
    ("GET", "/v1/receipts"),
    ("GET", "/v1/receipts/x"),
    ("GET", "/v1/receipts/x/explanation"),
    ("GET", "/v1/surge"),
    ("GET", "/v1/wallet"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/budgets"),
    ("GET", "/v1/limits"),
]
ADMIN_ROUTES = [
    ("POST", "/v1/admin/organisations"),
    ("GET", "/v1/admin/organisations"),
    ("POST", "/v1/admin/projects"),
    ("GET", "/v1/admin/projects"),
    ("GET", "/v1/admin/projects/x"),
    ("PATCH", "/v1/admin/projects/x"),
    ("POST", "/v1/admin/projects/x/keys"),
    ("GET", "/v1/admin/projects/x/keys"),
    ("DELETE", "/v1/admin/projects/x/keys/y"),
    ("PATCH", "/v1/admin/projects/x/keys/y"),
    ("POST", "/v1/admin/limits"),
    ("GET", "/v1/admin/limits"),
    ("DELETE", "/v1/admin/limits/x"),
    ("GET", "/v1/admin/limits/x/refusals"),
    ("POST", "/v1/admin/projects/x/top-ups"),
    ("POST", "/v1/admin/projects/x/grants"),
    ("GET", "/v1/admin/projects/x/wallet"),
    ("PATCH", "/v1/admin/organisations/x"),
    ("POST", "/v1/admin/projects/x/subscription"),
    ("GET", "/v1/admin/projects/x/subscription"),
    ("DELETE", "/v1/admin/projects/x/subscription"),
    ("GET", "/v1/admin/projects/x/grants"),
    ("POST", "/v1/admin/projects/x/corrections"),
    ("POST", "/v1/admin/projects/x/payments"),
    ("POST", "/v1/admin/projects/x/credit-line"),
    ("GET", "/v1/admin/projects/x/adjustments"),
    ("POST", "/v1/admin/receipts/x/refunds"),
    ("GET", "/v1/admin/receipts/x/refunds"),
    ("GET", "/v1/admin/jobs"),
    ("GET", "/v1/admin/drift"),
    ("GET", "/v1/admin/surge/changes"),
    ("GET", "/v1/admin/models"),
    ("GET", "/v1/admin/rate-cards"),
    ("GET", "/v1/admin/tariffs"),
    ("GET", "/v1/admin/plans"),
    ("POST", "/v1/admin/budgets"),
    ("GET", "/v1/admin/budgets"),
    ("GET", "/v1/admin/budgets/x"),
    ("PATCH", "/v1/admin/budgets/x"),
    ("DELETE", "/v1/admin/budgets/x"),
    ("GET", "/v1/admin/breakers"),
    ("POST", "/v1/admin/breakers/x/x@1/reset"),
    ("GET", "/v1/admin/events"),
    ("POST", "/v1/admin/webhooks"),
    ("GET", "/v1/admin/webhooks"),
    ("GET", "/v1/admin/webhooks/x"),
    ("PATCH", "/v1/admin/webhooks/x"),
    ("DELETE", "/v1/admin/webhooks/x"),
    ("POST", "/v1/admin/webhooks/x/rotate-secret"),
    ("POST", "/v1/admin/webhooks/x/test"),
    ("GET", "/v1/admin/webhooks/x/deliveries"),
    ("POST", "/v1/admin/webhooks/x/deliveries/y/resend"),
    ("POST", "/v1/admin/webhooks/x/resend-failed"),
    ("GET", "/v1/admin/approvals"),
    ("GET", "/v1/admin/approvals/x"),
    ("POST", "/v1/admin/approvals/x/approve"),
    ("POST", "/v1/admin/approvals/x/decline"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_no_route_answers_a_stranger(client: Any, method: str, path: str) -> None:
    answer = await client(method, path, b"not even json", key="Bearer bad")
    assert answer.status == 401
    body = answer.json
    assert body.get("error", body)["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES)
@pytest.mark.parametrize("key", ["Bearer bad", "Bearer good", ""])
async def test_no_admin_route_answers_without_the_admin_key(client: Any, method: str, path: str, key: str) -> None:
    answer = await client(method, path, b"not even json", key=key)
    assert (answer.status, answer.json["code"]) == (401, "invalid_admin_key")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_path_of_openais_has_openais_envelope(client: Any) -> None:
    for path in ("/v1/responses", "/v1/images/generations", "/v1/chat/completions/", "/v1/"):
        answer = await client("POST", path)
        assert (answer.status, answer.error["code"]) == (404, "unknown_url"), path


async def test_any_other_unknown_path_is_a_problem(client: Any) -> None:
    answer = await client("GET", "/nowhere")
    assert (answer.status, answer.json["code"], answer.headers["content-type"]) == (404, "unknown_url", "application/problem+json")
    assert answer.json["instance"] == answer.headers["x-request-id"]


async def test_a_wrong_method_names_the_right_ones(client: Any) -> None:
    answer = await client("PUT", "/v1/videos")
    assert (answer.status, answer.error["code"], answer.headers["allow"]) == (405, "method_not_allowed", "GET, HEAD, POST")
    assert (await client("GET", "/v1/chat/completions")).status == 405
    assert (await client("PUT", "/v1/admin/projects", key="Bearer admin")).status == 405


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "invalid_json"),
        (b'{"a": NaN}', {}, 400, "invalid_json"),
        (b'{"a": "\xff"}', {}, 400, "invalid_utf8"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {"content-length": "3000000000"}, 413, "body_too_large"),
        (b" " * 2001, {}, 413, "body_too_large"),
        (b"{}", {}, 400, "missing_required_parameter"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/audio/speech", "/v1/videos"])
async def test_bad_bodies_are_refused_in_openais_envelope(
    client: Any, path: str, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await client("POST", path, body, headers)
    assert (answer.status, answer.error["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"{}", 400, "invalid_value"),
        (b'{"name": 7}', 400, "invalid_value"),
        (b" " * 2001, 413, "body_too_large"),
    ],
)
async def test_bad_admin_bodies_are_problems(client: Any, body: bytes, status: int, code: str) -> None:
    answer = await client("POST", "/v1/admin/projects", body, key="Bearer admin")
    assert (answer.status, answer.json["code"], answer.headers["content-type"]) == (status, code, "application/problem+json")


async def test_an_admin_path_that_cannot_be_an_id_is_404(client: Any) -> None:
    for path in ("/v1/admin/projects/x", "/v1/admin/projects/key_0123456789abcdefghjkmnpqrs", "/v1/admin/projects/x/keys"):
        assert (await client("GET", path, key="Bearer admin")).status == 404


@pytest.mark.parametrize("tokens", ["0", "-1", "NaN", "Infinity", "1.0000001", "many", "", "1e30", 0, -5])
async def test_an_impossible_top_up_is_refused(client: Any, tokens: object) -> None:
    path = "/v1/admin/projects/prj_00000000000000000000000001/top-ups"
    answer = await client("POST", path, {"tokens": tokens}, key="Bearer admin")
    assert (answer.status, answer.json["param"]) == (400, "tokens")


@pytest.mark.parametrize("tokens", [1.5, True, None, ["1"]])
async def test_an_amount_is_a_text_or_a_whole_number(client: Any, tokens: object) -> None:
    path = "/v1/admin/projects/prj_00000000000000000000000001/top-ups"
    assert (await client("POST", path, {"tokens": tokens}, key="Bearer admin")).status == 400


def test_amounts_become_micro_tokens() -> None:
    assert (admin_values.amount_utok("0.5"), admin_values.amount_utok(1000)) == (500_000, 1_000_000_000)


@pytest.mark.parametrize("error", [asyncpg.CannotConnectNowError("starting up"), asyncpg.InterfaceError("closed"), ConnectionRefusedError()])
async def test_without_its_database_it_asks_to_come_back(client: Any, metering: Any, error: Exception) -> None:
    metering.refusal = error
    answer = await client("POST", "/v1/chat/completions", {"model": "tiny"})
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "database_unavailable", "1")


async def test_models_are_listed_and_found_by_name(client: Any) -> None:
    assert [model["id"] for model in (await client("GET", "/v1/models")).json["data"]] == ["tiny", "up/stream"]
    assert (await client("GET", "/v1/models/up/stream")).json["modality"] == "speech"
    answer = await client("GET", "/v1/models/nothing")
    assert (answer.status, answer.error["param"]) == (404, "model")


async def test_health_needs_no_key(client: Any) -> None:
    assert (await client("GET", "/healthz", key="")).json == {"status": "ok"}
    assert (await client("GET", "/readyz", key="")).json == {"status": "ready", "parts": {"database": {"ok": True}}}


async def test_metrics_count_by_template_and_never_by_path(client: Any) -> None:
    await client("GET", "/v1/videos/secret-id", key="Bearer bad")
    await client("GET", "/v1/admin/projects/secret-id", key="Bearer admin")
    await client("BREW", "/v1/models")
    text = (await client("GET", "/metrics", key="")).body.decode()
    assert 'taximeter_http_requests_total{method="GET",route="/v1/videos/{video_id}",status="401"} 1.0' in text
    assert 'taximeter_http_requests_total{method="GET",route="/v1/admin/projects/{project_id}",status="404"} 1.0' in text
    assert 'method="OTHER"' in text
    assert "taximeter_holds_open 2.0" in text
    assert "secret-id" not in text


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_load_nothing_from_elsewhere(client: Any, path: str) -> None:
    answer = await client("GET", path, key="")
    page = answer.body.decode()
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert re.findall(r'(?:src|href)="(?!#|/|data:)[^"]*"', page) == []
    assert "undefined" not in page.lower()


async def test_the_front_page_shows_where_it_was_asked(client: Any) -> None:
    page = (await client("GET", "/", key="", headers={"host": 'meter.example"><b>'})).body.decode()
    assert "<b>" not in page
    assert "http://meter.test/v1" in (await client("GET", "/", key="")).body.decode()


def paths(app: FastAPI) -> set[tuple[str, str]]:
    """Every (method, path) that the application serves."""
    own = {(method, route.path.replace(":path", "")) for route in app.routes if isinstance(route, Route) for method in route.methods or ()}
    return {(method, path) for method, path in own if method != "HEAD"}


async def test_the_document_names_every_route(client: Any, app: FastAPI) -> None:
    document = (await client("GET", "/openapi.json", key="")).json
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item if method != "parameters"}
    pages = {("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/quote"), ("GET", "/health")}
    assert paths(app) - pages <= described
    assert {("POST", "/v1/admin/projects"), ("DELETE", "/v1/admin/projects/{project_id}/keys/{key_id}")} <= described
    assert len(described) == len(ROUTES) + len(ADMIN_ROUTES) + 5


async def test_an_answer_with_a_header_or_a_status_that_the_document_lacks_is_found(app: FastAPI) -> None:
    document = document_of(app)
    sent = ("x-request-id", "RateLimit-Policy", "taximeter-queue-position", "content-type")
    assert undescribed(document, "POST", "/v1/chat/completions", 200, sent) == set()
    assert undescribed(document, "POST", "/v1/chat/completions", 200, (*sent, "x-new", "retry-after")) == {"x-new", "retry-after"}
    assert undescribed(document, "POST", "/v1/chat/completions", 429, (*sent, "retry-after", "openai-poll-after-ms")) == {"openai-poll-after-ms"}
    assert undescribed(document, "GET", "/v1/models/up/stream?x=1", 200, ("x-request-id", "taximeter-balance")) == {"taximeter-balance"}
    assert undescribed(document, "GET", "/v1/admin/limits", 401, ("WWW-Authenticate", "x-new")) == {"x-new"}
    assert undescribed(document, "GET", "/v1/wallet", 302, ()) == {"status 302"}


async def test_every_reference_of_the_document_resolves(client: Any) -> None:
    document = (await client("GET", "/openapi.json", key="")).json
    for found in set(re.findall(r'"#/([^"]+)"', (await client("GET", "/openapi.json", key="")).body.decode())):
        target = document
        for step in found.split("/"):
            target = target[step]


async def test_the_reference_page_shows_every_operation(client: Any) -> None:
    document = (await client("GET", "/openapi.json", key="")).json
    page = (await client("GET", "/docs", key="")).body.decode()
    for path, item in document["paths"].items():
        assert path in page
        for method, operation in item.items():
            if method != "parameters":
                assert f'class="verb {method}"' in page
                assert operation["summary"].replace("'", "&#39;") in page

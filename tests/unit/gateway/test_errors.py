"""docs/reference/errors.md and the code agree on every refusal."""

import http
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import taximeter
from taximeter.gateway.envelopes import is_native, openai_error, problem, refusal_headers
from taximeter.gateway.errors import BodyTooLarge, InternalError
from taximeter.kernel.errors import InvalidRequest, Refusal, Unavailable

PACKAGE = Path(taximeter.__file__).parent
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "errors.md"
ROW = re.compile(r"^\| `(\w+)` \| (\d{3}) \|", re.MULTILINE)


def refusals(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    for subclass in kind.__subclasses__():
        if hasattr(subclass, "code") and subclass.__module__.startswith("taximeter."):
            yield subclass
        yield from refusals(subclass)


def in_code() -> dict[str, int]:
    for path in PACKAGE.rglob("errors.py"):
        importlib.import_module(".".join(("taximeter", *path.relative_to(PACKAGE).with_suffix("").parts)))
    return {refusal.code: refusal.status for refusal in refusals(Refusal)}


def test_every_refusal_has_a_row_with_its_status() -> None:
    rows = [(code, int(status)) for code, status in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert len(rows) == len(dict(rows)), "a code stands twice"
    assert dict(rows) == in_code()


def test_one_code_has_one_class() -> None:
    in_code()
    found: dict[str, set[str]] = {}
    for refusal in refusals(Refusal):
        found.setdefault(refusal.code, set()).add(refusal.__qualname__)
    # A subclass may share its parent's code: the caller can do nothing else about it.
    assert {code: names for code, names in found.items() if len(names) > 1} == {}


def test_openai_routes_answer_in_openais_envelope() -> None:
    refusal = InvalidRequest("no", param="size")
    assert openai_error(refusal) == {"error": {"message": "no", "type": "invalid_request_error", "param": "size", "code": "invalid_value"}}
    assert openai_error(InternalError("oh"))["error"] == {"message": "oh", "type": "server_error", "param": None, "code": "internal_error"}


def test_native_routes_answer_with_problems() -> None:
    assert problem(BodyTooLarge("too much"), "req_1") == {
        "type": "urn:taximeter:error:body_too_large",
        "title": http.HTTPStatus(413).phrase,
        "status": 413,
        "detail": "too much",
        "code": "body_too_large",
        "instance": "req_1",
    }


def test_the_path_decides_the_envelope() -> None:
    for path in ("/v1/quotes", "/v1/receipts", "/v1/receipts/rcp_1", "/v1/wallet", "/v1/usage", "/v1/admin/projects", "/v1/admin", "/nothing", "/"):
        assert is_native(path), path
    for path in ("/v1/chat/completions", "/v1/videos/x/content", "/v1/models", "/v1/responses", "/v1/walletx", "/v1/"):
        assert not is_native(path), path


class Teapot(Refusal):
    code = "teapot"

    def __init__(self, status: int) -> None:
        super().__init__("short and stout")
        self.status = status  # type: ignore[misc]


def test_answers_that_another_try_cannot_better_tell_the_client_so() -> None:
    assert refusal_headers(Teapot(408)) == {"x-should-retry": "false"}
    assert refusal_headers(Teapot(409)) == {"x-should-retry": "false"}
    assert refusal_headers(Teapot(504)) == {"x-should-retry": "false"}
    assert refusal_headers(Teapot(429)) == {"retry-after": "1"}
    assert refusal_headers(Unavailable("later", headers={"Retry-After": "30"})) == {"retry-after": "30"}
    assert refusal_headers(Teapot(402)) == {}

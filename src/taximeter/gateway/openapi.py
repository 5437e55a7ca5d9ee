"""The OpenAPI document: FastAPI's part for the admin API, ours for the routes with raw handlers."""

import copy
from functools import cache
from importlib import resources
from typing import Any

import yaml
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

import taximeter

PARAGRAPHS = [
    (
        "Taximeter meters generative AI: each request is quoted, held on the caller's wallet, run on a real engine, "
        "settled on the work that was measured, and receipted."
    ),
    (
        "Send a project's key as `Authorization: Bearer tx-...`. The routes that OpenAI has keep OpenAI's shapes and error envelope; "
        "the official client works with another base URL. Our own routes answer errors as RFC 9457 problems. Both carry a stable `code`."
    ),
    (
        "Amounts of Tokens are decimal strings. Answers that cost something carry headers `taximeter-*`, "
        "and JSON bodies the same as an object `taximeter`."
    ),
]


# What the middleware adds to every answer.
_ALWAYS = {"x-request-id": {"$ref": "#/components/headers/RequestId"}, "openai-processing-ms": {"$ref": "#/components/headers/ProcessingMs"}}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, as OpenAPI 3.1."""
    made = get_openapi(title="Taximeter", version=taximeter.__version__, description="\n\n".join(PARAGRAPHS), routes=app.routes)
    ours = copy.deepcopy(_ours())
    components = made.setdefault("components", {})
    for kind, entries in ours["components"].items():
        components.setdefault(kind, {}).update(entries)
    problem = {"default": {"$ref": "#/components/responses/Problem"}}
    for path in made["paths"].values():
        for operation in path.values():
            # FastAPI announces its own 422, which our handler answers as a 400 problem.
            operation["responses"].pop("422", None)
            operation["responses"].update(problem)
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    made["paths"] = {**ours["paths"], **made["paths"]}
    operations = (operation for path in made["paths"].values() for method, operation in path.items() if method != "parameters")
    for answers in (components["responses"], *(operation["responses"] for operation in operations)):
        for answer in answers.values():
            if "$ref" not in answer:
                # Answers share their lists of headers; each gets its own.
                answer["headers"] = {**answer.get("headers", {}), **_ALWAYS}
    made["tags"] = ours["tags"]
    made["security"] = [{"ApiKey": []}]
    return made


@cache
def _ours() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(resources.files("taximeter.gateway").joinpath("openapi.yaml").read_text(encoding="utf-8"))
    return read

"""Whether an answer is one that the OpenAPI document describes: its status, and every header that is not the transport's."""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI

TRANSPORT = frozenset({"cache-control", "connection", "content-length", "content-type", "date", "server", "transfer-encoding", "x-accel-buffering"})
_documents: list[dict[str, Any]] = []


def document_of(app: FastAPI) -> dict[str, Any]:
    """The document, which is the same for every application; making it takes a second."""
    if not _documents:
        _documents.append(app.openapi())
    return _documents[0]


def undescribed(document: Mapping[str, Any], method: str, path: str, status: int, headers: Iterable[str]) -> set[str]:
    """The headers of an answer that the document does not have, and its status if that is not there either; pages are not described at all."""
    operation = _operation(document, "get" if method == "HEAD" else method.lower(), path.partition("?")[0])
    if operation is None:
        return set()
    answer = operation["responses"].get(str(status)) or (operation["responses"].get("default") if status >= 400 else None)
    if answer is None:
        return {f"status {status}"}
    return {name.lower() for name in headers} - TRANSPORT - set(_resolved(document, answer).get("headers", {}))


def _operation(document: Mapping[str, Any], method: str, path: str) -> dict[str, Any] | None:
    steps = path.split("/")
    found = [template for template in document["paths"] if _matches(template.split("/"), steps) and method in document["paths"][template]]
    if not found:
        return None
    operation: dict[str, Any] = document["paths"][min(found, key=lambda template: template.count("{"))][method]
    return operation


def _matches(template: list[str], steps: list[str]) -> bool:
    # The name of a model may have slashes in it.
    if template[-1] == "{model}" and len(steps) > len(template):
        steps = [*steps[: len(template) - 1], "model"]
    return len(template) == len(steps) and all(known.startswith("{") or known == step for known, step in zip(template, steps, strict=True))


def _resolved(document: Mapping[str, Any], answer: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = answer.get("$ref")
    return answer if reference is None else document["components"]["responses"][reference.rpartition("/")[2]]

"""The OpenAPI document as a page: what the template needs, nothing that a browser must fetch from elsewhere.  Pure."""

import json
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")


def groups(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations by tag, in the order of the document's tags."""
    calls: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                operation = item[method]
                shared = item.get("parameters", [])
                calls.setdefault(operation["tags"][0], []).append(_call(document, path, method, operation, shared))
    return [{"name": name, "anchor": _anchor(name), "calls": found} for name, found in calls.items() if found]


def _call(document: dict[str, Any], path: str, method: str, operation: dict[str, Any], shared: list[Any]) -> dict[str, Any]:
    parameters = [_resolve(document, parameter) for parameter in [*shared, *operation.get("parameters", [])]]
    body, example = _body(document, operation)
    return {
        "anchor": _anchor(f"{method} {path}"),
        "method": method,
        "path": path,
        "summary": operation["summary"],
        "description": [text for text in operation.get("description", "").split("\n\n") if text],
        "parameters": [
            _row(document, found["name"], found.get("schema", {}), required=found.get("required", False), text=found.get("description"))
            for found in parameters
        ],
        "body": body,
        "example": None if example is None else _curl(path, method, example),
        "answers": [
            {"name": status, "type": "", "description": _resolve(document, answer).get("description", ""), "required": False}
            for status, answer in operation["responses"].items()
        ],
    }


def _body(document: dict[str, Any], operation: dict[str, Any]) -> tuple[list[dict[str, Any]], Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return [], None
    schema = _resolve(document, content["schema"])
    required = schema.get("required", [])
    rows = [_row(document, name, found, required=name in required) for name, found in schema.get("properties", {}).items()]
    return rows, content.get("example")


def _row(document: dict[str, Any], name: str, schema: dict[str, Any], *, required: bool, text: str | None = None) -> dict[str, Any]:
    schema = _resolve(document, schema)
    notes = [text or schema.get("description", "")]
    if "enum" in schema:
        notes.append("One of " + ", ".join(str(value) for value in schema["enum"]) + ".")
    if schema.get("default") is not None:
        notes.append(f"Default: {json.dumps(schema['default'])}.")
    return {"name": name, "type": _type(document, schema), "required": required, "description": " ".join(note for note in notes if note)}


def _type(document: dict[str, Any], schema: dict[str, Any]) -> str:
    schema = _resolve(document, schema)
    if "anyOf" in schema:
        return " or ".join(_type(document, option) for option in schema["anyOf"])
    kind = schema.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _resolve(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """What a ``$ref`` points to."""
    while "$ref" in value:
        found: Any = document
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def _curl(path: str, method: str, example: object) -> str:
    body = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
    lines = (
        f"curl -X {method.upper()} $TAXIMETER_URL{path}",
        '-H "Authorization: Bearer $OPENAI_API_KEY"',
        "-H 'Content-Type: application/json'",
        f"-d '{body}'",
    )
    return " \\\n  ".join(lines)


def _anchor(text: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())

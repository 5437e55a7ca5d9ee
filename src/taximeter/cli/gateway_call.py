"""Calls of commands to a running gateway, with a key: as any client would."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taximeter.kernel.errors import InvalidRequest, SetupError

URL, KEY = "TAXIMETER_URL", "OPENAI_API_KEY"
TIMEOUT_S = 60.0


def gateway_url(given: str | None, environ: Mapping[str, str]) -> str:
    """Where the gateway is.  Raises SetupError when nothing says it, or nothing that is an address."""
    url = (given or environ.get(URL, "")).rstrip("/").removesuffix("/v1")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        message = f"{url!r} is no address of a gateway; give --url http://host:port, or set {URL} (demo.env has it)"
        raise SetupError(message)
    return url


def gateway_key(file: Path | None, environ: Mapping[str, str]) -> str:
    """The project's key; never an argument, which everybody on the machine could read.  Raises SetupError when there is none."""
    key = environ.get(KEY, "").strip()
    if file is not None:
        try:
            key = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            message = f"{file} cannot be read ({error.strerror if isinstance(error, OSError) else error.reason})"
            raise SetupError(message) from error
    if key and not (key.isascii() and key.isprintable()):
        message = f"what {file or KEY} holds is no key: one line like tx-..., and nothing else"
        raise SetupError(message)
    if not key:
        message = f"there is no key to ask with; set {KEY} (demo.env has it), or give --key-file FILE with the key alone in it"
        raise SetupError(message)
    return key


def post(url: str, key: str, body: Mapping[str, Any]) -> str:
    """The JSON that the gateway answers.  Raises InvalidRequest with its refusal, SetupError when it cannot be asked."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310 - http or https, as was checked
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as above
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        raise InvalidRequest(_refusal(error.code, error.read())) from error
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        message = f"{url} does not answer ({reason})"
        raise SetupError(message) from error


def _refusal(status: int, body: bytes) -> str:
    """What a refusal says, in one line."""
    try:
        problem = json.loads(body)
        return f"{problem['detail']} ({problem['code']}, {status})"
    except (ValueError, KeyError, TypeError):
        return f"the gateway answered {status}, and nothing that is ours"

"""The front page, the page of prices and the API reference: plain HTML, nothing fetched from elsewhere."""

from functools import cache

from fastapi import FastAPI
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

import taximeter
from taximeter.gateway import quote_page, reference
from taximeter.gateway.envelopes import json_response
from taximeter.gateway.openapi import PARAGRAPHS, document
from taximeter.gateway.services import Services

# The pages are complete in themselves; whatever tries to load more is not ours.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def routes(app: FastAPI, services: Services) -> list[Route]:
    """The pages that people read, and the document behind them."""
    environment = open_templates()
    shows_prices = quote_page.is_shown(services.settings)

    async def front(request: Request) -> Response:
        page = environment.get_template("front.html").render(
            version=taximeter.__version__,
            base_url=f"{request.url.scheme}://{request.url.netloc}",
            demo=services.settings.demo,
            models=_examples(services),
            shows_prices=shows_prices,
        )
        return HTMLResponse(page, headers=HEADERS)

    async def quote(request: Request) -> Response:
        asked = quote_page.answer(services, dict(request.query_params))
        base_url = f"{request.url.scheme}://{request.url.netloc}"
        page = environment.get_template("quote.html").render(version=taximeter.__version__, base_url=base_url, asked=asked)
        return HTMLResponse(page, asked.status, headers=HEADERS)

    @cache
    def reference_page() -> str:
        template = environment.get_template("docs.html")
        return template.render(version=taximeter.__version__, description=PARAGRAPHS, groups=reference.groups(document(app)))

    async def docs(_request: Request) -> Response:
        return HTMLResponse(reference_page(), headers=HEADERS)

    async def openapi(_request: Request) -> Response:
        return json_response(app.openapi())

    return [
        Route("/", front, methods=["GET"]),
        Route("/quote", quote, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
    ]


def open_templates() -> Environment:
    """The templates, with what they need."""
    environment = Environment(loader=PackageLoader("taximeter.gateway"), autoescape=True, undefined=StrictUndefined)
    environment.filters["code"] = with_code
    return environment


def with_code(text: str) -> Markup:
    """Text with its `backticks` as code, and everything else escaped."""
    pieces = str(escape(text)).split("`")
    return Markup("".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces)))  # noqa: S704 - escaped above


def _examples(services: Services) -> dict[str, str | None]:
    """A model of each kind to show in the snippets, when there is one."""
    shown: dict[str, str | None] = {"chat": None, "speech": None}
    for model in services.metering.models():
        if shown.get(model["modality"], "") is None:
            shown[model["modality"]] = model["id"]
    return shown

"""GET /health, a page for people, and GET /v1/health: which engines are up, which breakers are open, what happened lately."""

from datetime import datetime

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

import taximeter
from taximeter.gateway import quote_page
from taximeter.gateway.envelopes import json_response
from taximeter.gateway.pages import HEADERS, open_templates
from taximeter.gateway.services import Services

NO_STORE = {"Cache-Control": "no-store"}
STATUS = {"ok": "Everything runs", "degraded": "Something is out of order", "down": "The database does not answer"}
STATE = {"closed": "closed", "half_open": "half open: the next call decides", "open": "open"}


def routes(services: Services) -> list[Route]:
    """The health routes; none needs a key."""
    template = open_templates().get_template("health.html")
    shows_prices = quote_page.is_shown(services.settings)

    async def page(_request: Request) -> Response:
        look = await services.health.look()
        rendered = template.render(
            version=taximeter.__version__, look=look, title=STATUS[look.status], states=STATE, shows_prices=shows_prices, clock=_clock
        )
        return HTMLResponse(rendered, headers={**HEADERS, **NO_STORE})

    async def told(_request: Request) -> Response:
        return json_response((await services.health.look()).to_api(), NO_STORE)

    return [Route("/health", page, methods=["GET"]), Route("/v1/health", told, methods=["GET"])]


def _clock(text: str | datetime) -> str:
    """A moment as people read it, in UTC."""
    moment = datetime.fromisoformat(text) if isinstance(text, str) else text
    return moment.strftime("%Y-%m-%d %H:%M:%S")

"""/healthz: this process runs.  /readyz: it can serve.  /metrics: Prometheus."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.gateway.envelopes import encode_json, json_response
from taximeter.gateway.metrics import CONTENT_TYPE, Metrics
from taximeter.kernel.errors import Refusal

CHECK_TIMEOUT_S = 2.0

Check = Callable[[], Awaitable[Mapping[str, Any]]]
Figures = Callable[[], Awaitable[Mapping[str, tuple[str, float]]]]


def routes(checks: Mapping[str, Check], figures: Figures, metrics: Metrics) -> list[Route]:
    """The routes of machines that watch machines; none needs a key."""

    async def healthz(_request: Request) -> Response:
        return json_response({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        results = await asyncio.gather(*(_run(check) for check in checks.values()))
        parts = dict(zip(checks, results, strict=True))
        ready = all(part["ok"] for part in parts.values())
        body = encode_json({"status": "ready" if ready else "not ready", "parts": parts})
        return Response(body, 200 if ready else 503, {"Cache-Control": "no-store"}, "application/json")

    async def scrape(_request: Request) -> Response:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            now = await figures()
        return Response(metrics.render(now), 200, media_type=CONTENT_TYPE)

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", scrape, methods=["GET"]),
    ]


async def _run(check: Check) -> dict[str, Any]:
    """One part's state.  Its own words stay in the log: this page is open to everybody."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return {"ok": True, **await check()}
    except Refusal as refusal:
        return {"ok": False, "reason": refusal.code}
    except (OSError, TimeoutError) as error:
        return {"ok": False, "reason": type(error).__name__}

"""The native API: receipts, wallet, limits, usage.  Quotes: ``quotes.py``."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.gateway.envelopes import json_response
from taximeter.gateway.orders import authenticate
from taximeter.gateway.paging import cursor, page, page_size
from taximeter.gateway.services import Services
from taximeter.kernel.clock import Clock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest, NotFound
from taximeter.kernel.ids import decode_id
from taximeter.metering import Receipt

DEFAULT_PAGE = 50
GROUPS = ("day", "model", "project", "key")
USAGE_DAYS = 30
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
USAGE_DAYS_MAX = 400


def routes(services: Services, clock: Clock) -> list[Route]:
    """The native routes."""

    async def wallet(request: Request) -> Response:
        caller = await authenticate(services, request)
        return json_response(await services.tenancy.wallet(caller.project_id))

    async def limits(request: Request) -> Response:
        caller = await authenticate(services, request)
        model, end_user = request.query_params.get("model") or None, request.query_params.get("user") or None
        return json_response(await services.tenancy.limits(caller, model, end_user))

    async def usage(request: Request) -> Response:
        caller = await authenticate(services, request)
        groups = _groups(request.query_params.get("group_by"))
        start, end = _span(request, utc_from_ms(clock.now_ms()))
        rows = await services.records.usage(caller, groups, start, end)
        return json_response({"from": start.isoformat(), "to": end.isoformat(), "group_by": groups, "data": list(rows)})

    return [
        *_receipt_routes(services),
        Route("/v1/wallet", wallet, methods=["GET"]),
        Route("/v1/limits", limits, methods=["GET"]),
        Route("/v1/usage", usage, methods=["GET"]),
    ]


def _receipt_routes(services: Services) -> list[Route]:
    def told(receipt: Receipt) -> dict[str, Any]:
        return receipt.to_api(services.catalog().basis(receipt.rate_card))

    async def receipts(request: Request) -> Response:
        caller = await authenticate(services, request)
        limit = page_size(request.query_params.get("limit"), DEFAULT_PAGE, services.settings.page_size_max)
        after = cursor("rcp", request.query_params.get("cursor"))
        found = await services.records.receipts(caller, after, limit + 1)
        return json_response(page(found, limit, told))

    async def receipt(request: Request) -> Response:
        caller = await authenticate(services, request)
        return json_response(told(await services.records.receipt(caller, _receipt_id(request))))

    async def explanation(request: Request) -> Response:
        caller = await authenticate(services, request)
        return json_response((await services.records.explanation(services.catalog(), _receipt_id(request), caller)).to_api())

    return [
        Route("/v1/receipts", receipts, methods=["GET"]),
        Route("/v1/receipts/{receipt_id}", receipt, methods=["GET"]),
        Route("/v1/receipts/{receipt_id}/explanation", explanation, methods=["GET"]),
    ]


def _receipt_id(request: Request) -> UUID:
    receipt_id = decode_id("rcp", request.path_params["receipt_id"])
    if receipt_id is None:
        message = "There is no receipt with this id."
        raise NotFound(message)
    return receipt_id


def _groups(text: str | None) -> list[str]:
    groups = [name.strip() for name in ("day" if text is None else text).split(",")]
    if not set(groups) <= set(GROUPS) or len(set(groups)) != len(groups):
        message = f"'group_by' must be a comma-separated choice of {', '.join(GROUPS)}."
        raise InvalidRequest(message, param="group_by")
    return groups


def _span(request: Request, now: datetime) -> tuple[datetime, datetime]:
    return span(request, now, USAGE_DAYS, USAGE_DAYS_MAX)


def span(request: Request, now: datetime, days: int, days_max: int) -> tuple[datetime, datetime]:
    """The wanted time: ``from`` included, ``to`` not; a ``to`` that is a day includes that day.  Without both: whole days, which are quick.

    Raises InvalidRequest for what is no time, and for more than ``days_max`` days.
    """
    end = _time(request, "to", days=1) or datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
    start = _time(request, "from", days=0) or max(end, EARLIEST + timedelta(days=days)) - timedelta(days=days)
    if not start < end or end - start > timedelta(days=days_max):
        message = f"'from' must be before 'to', by at most {days_max} days."
        raise InvalidRequest(message, param="from")
    return start, end


def _time(request: Request, name: str, *, days: int) -> datetime | None:
    text: Any = request.query_params.get(name)
    if text is None:
        return None
    try:
        if len(text) == len("2026-01-31"):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=days)
        # The plus of a zone arrives as a space when the client did not escape it.
        value = datetime.fromisoformat(text.replace(" ", "+"))
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"'{name}' must be a day such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z."
        raise InvalidRequest(message, param=name) from error

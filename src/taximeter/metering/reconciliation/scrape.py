"""What Prometheus gets to see, against what the processes reported.

A page is made from the reports of its moment, so it lies between the sums of the reports before and after it was fetched.
"""

from collections.abc import Mapping

import aiohttp
import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from taximeter.db import sql
from taximeter.kernel.errors import InvalidRequest
from taximeter.metering.reconciliation.model import SHOWN, Check

_SQL = sql.load("taximeter.metering.reconciliation")

TIMEOUT_S = 10.0
RECEIPTS, CHARGED = "taximeter_receipts_total", "taximeter_charged_utok_total"
Sums = Mapping[tuple[str, str], int]


async def compare_page(connection: asyncpg.Connection, url: str) -> Check:
    """The counters on a gateway's metrics page.  Raises OSError when it cannot be read, InvalidRequest when it is no such page."""
    before = await _reported(connection)
    text = await _fetch(url)
    try:
        page = read_page(text)
    except ValueError as error:
        message = f"{url} is not a metrics page in Prometheus's text format; name a gateway's /metrics"
        raise InvalidRequest(message) from error
    after = await _reported(connection)
    off = outside(page, before, after)
    return Check(
        name="metrics_counters",
        compared=len(after),
        left=sum(value for (name, _), value in page.items() if name == CHARGED),
        right=sum(value for (name, _), value in after.items() if name == CHARGED),
        differences=len(off),
        unexplained_utok=sum(value for (name, _), value in off.items() if name == CHARGED),
        first=tuple(f'{name}{{kind="{kind}"}} on {url}' for name, kind in sorted(off))[:SHOWN],
    )


def outside(page: Sums, before: Sums, after: Sums) -> dict[tuple[str, str], int]:
    """By how much each series lies below what was reported before, or above what is reported after."""
    off = {key: max(before.get(key, 0) - page.get(key, 0), page.get(key, 0) - after.get(key, 0), 0) for key in {*page, *after}}
    return {key: value for key, value in off.items() if value}


def read_page(text: str) -> dict[tuple[str, str], int]:
    """The two counters on a page, by name and kind of process.  Raises ValueError for what is no such page."""
    try:
        families = text_string_to_metric_families(text)
        samples = [sample for family in families for sample in family.samples if sample.name in (RECEIPTS, CHARGED)]
        return {(sample.name, sample.labels["kind"]): int(sample.value) for sample in samples}
    except (ValueError, LookupError, OverflowError) as error:
        raise ValueError(str(error)) from error


async def _reported(connection: asyncpg.Connection) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for row in await connection.fetch(_SQL["reported"]):
        sums[RECEIPTS, row["kind"]], sums[CHARGED, row["kind"]] = row["receipts"], row["charged_utok"]
    return sums


async def _fetch(url: str) -> str:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), raise_for_status=True) as http, http.get(url) as answer:
            return await answer.text(errors="replace")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        message = f"{url}: {error}"
        raise OSError(message) from error

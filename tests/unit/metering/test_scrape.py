"""What a metrics page says, against what was reported before and after it."""

import pytest

from taximeter.gateway import Metrics
from taximeter.metering.reconciliation.scrape import CHARGED, RECEIPTS, Sums, outside, read_page

GATEWAY, WORKER = (CHARGED, "gateway"), (CHARGED, "worker")


def test_the_counters_of_a_page_are_read_by_kind() -> None:
    figures = {
        'taximeter_receipts_total{kind="gateway"}': ("Requests ended.", 7),
        'taximeter_charged_utok_total{kind="gateway"}': ("Charged.", 123_456_789_012),
        'taximeter_charged_utok_total{kind="worker"}': ("Charged.", 5),
        "taximeter_holds_open": ("Holds.", 3),
    }
    assert read_page(Metrics().render(figures).decode()) == {(RECEIPTS, "gateway"): 7, GATEWAY: 123_456_789_012, WORKER: 5}


@pytest.mark.parametrize(
    ("page", "before", "after", "off"),
    [
        ({}, {}, {}, {}),
        ({GATEWAY: 5}, {GATEWAY: 5}, {GATEWAY: 5}, {}),
        ({GATEWAY: 6}, {GATEWAY: 5}, {GATEWAY: 7}, {}),
        ({GATEWAY: 4}, {GATEWAY: 5}, {GATEWAY: 7}, {GATEWAY: 1}),
        ({GATEWAY: 9}, {GATEWAY: 5}, {GATEWAY: 7}, {GATEWAY: 2}),
        ({GATEWAY: 5}, {GATEWAY: 5, WORKER: 2}, {GATEWAY: 5, WORKER: 2}, {WORKER: 2}),
        ({GATEWAY: 5, WORKER: 1}, {GATEWAY: 5}, {GATEWAY: 5}, {WORKER: 1}),
    ],
)
def test_a_page_lies_between_the_reports_before_and_after(page: Sums, before: Sums, after: Sums, off: Sums) -> None:
    assert outside(page, before, after) == off


@pytest.mark.parametrize(
    "page",
    [
        "<!doctype html><html><body>Hello</body></html>",
        f'{CHARGED}{{kind="gateway"}} lots',
        f'{CHARGED}{{kind="gateway"}} NaN',
        f'{CHARGED}{{kind="gateway"}} +Inf',
        f"{CHARGED} 5",
    ],
)
def test_a_page_that_is_not_prometheus_text_is_a_value_error(page: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_page(page)

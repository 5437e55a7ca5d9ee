"""The soak: its clock, its drift, and what it makes of the tables."""

from dataclasses import replace

import pytest

from bench.soak import DAY_MS, Check, MidnightClock, State, Window, by_table, drift, hot_share, over_time, picture
from taximeter.kernel.clock import SystemClock

EMPTY = State(bytes=8192, rows=0, dead=0, updated=0, updated_hot=0, vacuums=0)
ACCOUNTS = State(bytes=700_000, rows=2000, dead=400, updated=1000, updated_hot=990, vacuums=2)
HOLDS = State(bytes=9_000_000, rows=50, dead=60_000, updated=0, updated_hot=0, vacuums=1)
BEFORE = {"ledger.accounts": EMPTY, "ledger.holds": EMPTY, "ledger.transfers_20300101": EMPTY}


def windows(rates: list[float]) -> list[Window]:
    tables = {"ledger.accounts": ACCOUNTS, "ledger.holds": HOLDS, "ledger.transfers_20300101": EMPTY}
    return [Window(30.0 * (number + 1), rate, 3.0, 9.0, 30_000, 60, tables) for number, rate in enumerate(rates)]


def test_a_day_of_the_ids_ends_in_the_middle_of_the_run() -> None:
    now_ms = SystemClock().now_ms()
    clock = MidnightClock(600)
    assert (clock.moved_ms + now_ms + 300_000) % DAY_MS == pytest.approx(0, abs=5_000) or (
        clock.moved_ms + now_ms + 300_000
    ) % DAY_MS == pytest.approx(DAY_MS, abs=5_000)
    assert clock.now_ms() - SystemClock().now_ms() == pytest.approx(clock.moved_ms, abs=5_000)


def test_drift_is_the_last_third_against_the_first() -> None:
    assert drift([100, 100, 70, 60, 50, 50]) == 0.5
    assert drift([7]) == 1.0


def test_the_tables_judge_drift_and_hot_updates() -> None:
    steady, slower = over_time(windows([100.0] * 6)), over_time(windows([100.0, 100.0, 80.0, 80.0, 60.0, 60.0]))
    assert "goal operations/s drift >= 0.9: 1.00, met" in steady.notes
    assert "goal operations/s drift >= 0.9: 0.60, not met" in slower.notes
    assert steady.rows[0] == ("30", "100", "3.0", "9.0", "500", "400", "60,000")
    sizes = by_table(BEFORE, windows([100.0]))
    assert [row[0] for row in sizes.rows] == ["ledger.accounts", "ledger.holds"]
    assert "goal HOT updates of ledger.accounts >= 95%, in %: 99.00, met" in sizes.notes


def test_the_share_of_hot_updates_is_that_of_the_run() -> None:
    later = replace(ACCOUNTS, updated=2000, updated_hot=1490)
    assert hot_share(ACCOUNTS, later) == 0.5
    assert hot_share(ACCOUNTS, ACCOUNTS) == 1.0


def test_the_check_finds_what_is_missing_wrong_or_in_the_default_partition() -> None:
    days = {"ledger.transfers_20300101": 40, "ledger.transfers_20300102": 40}
    good = Check(pairs=20, days=days, wrong_accounts=0, open_holds=0, requests=20, receipts=20, charged_utok=20 * 600)
    assert good.agrees
    assert good.sentence().endswith("everything agrees")
    faults = [
        replace(good, receipts=19),
        replace(good, wrong_accounts=1),
        replace(good, open_holds=1),
        replace(good, charged_utok=1),
        replace(good, days={"ledger.transfers_20300101": 80}),
        replace(good, days={"ledger.transfers_20300101": 40, "ledger.transfers_other": 40}),
    ]
    assert [fault.agrees for fault in faults] == [False] * len(faults)


def test_the_picture_has_three_charts() -> None:
    assert picture(windows([100.0, 90.0])).count("<polyline") == 5

"""Simulated days of callers who mind the price, with the product's controller: the same seeds, the same days."""

import math
import random
import re
from pathlib import Path

import pytest

from bench import surge
from bench.processes import ROOT
from bench.surge_day import DAY_S, WANTED_BY_HOUR, Day, World, _poisson, play, wanted
from taximeter.admission.surge.model import Policy
from taximeter.admission.surge.policy_file import check_policy, read_plans

SEEDS = (1,)


@pytest.fixture(scope="module")
def days() -> dict[str, list[Day]]:
    return {name: [play(policy, World(), seed, days=2) for seed in SEEDS] for name, policy in surge.POLICIES.items()}


def test_the_default_price_does_not_swing_and_one_that_follows_each_sample_does(days: dict[str, list[Day]]) -> None:
    assert max(day.turns for name in ("surge", "revenue-neutral") for day in days[name]) <= surge.TURNS_GOAL
    assert min(day.turns for day in days["curve alone"]) > 100 * surge.TURNS_GOAL / 2


def test_a_surge_moves_load_off_the_peak(days: dict[str, list[Day]]) -> None:
    for plain, dear in zip(days["no surge"], days["surge"], strict=True):
        assert dear.peak_load < plain.peak_load / 5
        assert dear.peak_work_s < plain.peak_work_s * 0.85
        assert dear.wait_p99_s < plain.wait_p99_s / 5
        assert 1.1 < dear.charged_ratio < 1.3
        assert plain.charged_ratio == 1


def test_a_discount_gives_back_what_the_surge_brings_in(days: dict[str, list[Day]]) -> None:
    for day in days["revenue-neutral"]:
        assert abs(day.charged_ratio - 1) < 0.05
        assert min(day.prices_pct) == 80


def test_an_account_is_the_charge_less_what_was_consumed() -> None:
    day = play(surge.POLICIES["revenue-neutral"], World(), 3)
    assert day.surplus_utok == day.charged_utok - day.consumed_utok


def test_a_seed_is_a_day() -> None:
    one, again, other = (play(surge.POLICIES["surge"], World(), seed) for seed in (5, 5, 6))
    assert one == again
    assert one != other


def test_the_policies_that_are_compared_are_ones_that_an_operator_can_have() -> None:
    for policy in surge.POLICIES.values():
        if policy is not None:
            check_policy(policy)


def test_the_neutral_policy_in_the_documents_is_the_one_that_was_measured(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "concepts" / "surge.md").read_text(encoding="utf-8")
    [block] = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "engines:" not in block]
    (tmp_path / "surge.yaml").write_text(block, encoding="utf-8")
    [plan] = read_plans(tmp_path / "surge.yaml", {"demo-text"}, {})
    assert plan.policy == surge.POLICIES["revenue-neutral"]
    [whole] = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "engines:" in block]
    (tmp_path / "surge.yaml").write_text(whole, encoding="utf-8")
    assert [plan.policy for plan in read_plans(tmp_path / "surge.yaml", {"demo-text", "gpu-pool"}, {})] == [Policy()] * 4


def test_callers_who_come_back_as_they_are_told_are_no_peak_of_their_own_when_they_are_told_different_times() -> None:
    one_moment, several = (play(Policy(), World(return_s=0, spread=spread), 1).peak_load for spread in (False, True))
    assert several < one_moment / 2


def test_what_is_wanted_goes_straight_from_hour_to_hour_and_round_the_clock() -> None:
    world = World(slots=10, service_s=10.0)
    assert wanted(world, 0) == WANTED_BY_HOUR[0] / 100
    assert wanted(world, 1800) == pytest.approx((WANTED_BY_HOUR[0] + WANTED_BY_HOUR[1]) / 200)
    assert wanted(world, DAY_S + 1800) == wanted(world, 1800)


def test_arrivals_come_as_often_as_they_should() -> None:
    source = random.Random(1)  # noqa: S311 - a simulation
    for mean in (0.0, 0.2, 3.0):
        counts = [_poisson(source, mean) for _ in range(4_000)]
        assert sum(counts) / len(counts) == pytest.approx(mean, abs=4 * math.sqrt(mean / 4_000) + 1e-9)


def test_turns_are_changes_of_direction() -> None:
    assert (Day(prices_pct=[100, 105, 110, 110, 105, 105, 110]).turns, Day(prices_pct=[100, 105, 110]).turns) == (2, 0)
    assert Day(prices_pct=[100, 105, 105, 100]).changes == 2

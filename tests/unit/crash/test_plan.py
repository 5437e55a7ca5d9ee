"""The plans of the crash tests: every fault point in each round, the same for the same seed."""

from itertools import islice

from bench.crash import plan
from taximeter.kernel.faults import POINTS

ROUND = len(plan.OTHERS) + 2 * (len(plan.GATEWAY_POINTS) + len(plan.WORKER_POINTS))


def test_a_round_kills_the_process_and_the_database_at_every_point() -> None:
    cells = list(islice(plan.long(seed=5), ROUND))
    for victim in (plan.PROCESS, plan.DATABASE):
        assert {cell.moment for cell in cells if cell.spec and cell.victim == victim} == set(POINTS)
    assert sorted(map(str, cells)) == sorted(map(str, islice(plan.long(seed=6), ROUND)))


def test_a_seed_decides_the_order() -> None:
    assert list(islice(plan.long(seed=5), ROUND)) == list(islice(plan.long(seed=5), ROUND))
    assert list(islice(plan.long(seed=5), ROUND)) != list(islice(plan.long(seed=6), ROUND))


def test_the_short_plan_has_every_point_and_every_other_moment() -> None:
    moments = {cell.moment for cell in plan.short(seed=1)}
    wanted = {*POINTS, plan.ANY, plan.BEFORE_JOB, plan.BEFORE_RECEIPT, plan.BEFORE_JOB_END, plan.CHECKPOINT, plan.POWER}
    assert moments == wanted


def test_a_process_is_armed_to_die_or_to_freeze() -> None:
    assert plan.Cell("metering.held", plan.PROCESS, "gateway-1").spec == "metering.held"
    assert plan.Cell("metering.held", plan.DATABASE, "gateway-1").spec == "metering.held:1:freeze"
    assert not plan.Cell(plan.ANY, plan.DATABASE).spec

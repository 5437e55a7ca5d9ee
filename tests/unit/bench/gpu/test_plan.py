"""The plan: what is fitted, what is predicted, and that each cell fits into a piece of eight minutes."""

import pytest

from bench.gpu.drivers import drivers
from bench.gpu.plan import CAUTION, FAMILIES, cells
from bench.gpu.scales import FULL, SCALES, Scale

BUDGET_S = 480


def test_the_cells_are_those_of_the_published_plan() -> None:
    plan = {cell.id: cell for cell in cells(FULL)}
    assert {cell.args["film"].tokens for cell in plan.values() if cell.group == "A2"} == {7800, 20280, 32760, 75600, 111600}
    expert = {cell.args["film"].tokens: cell.role for cell in plan.values() if cell.group == "A4"}
    assert expert == {14040: "holdout", 46800: "holdout", 48360: "holdout", 32760: "check", 75600: "check"}
    assert {cell.id for cell in plan.values() if cell.kind == "request"} == {"B1/request-832x480x81", "B2/request-1280x720x81"}
    assert {cell.args["steps"] for cell in plan.values() if cell.group == "C1" and cell.role == "holdout"} == {75, 300}
    assert {name for name, cell in plan.items() if cell.group == "C2" and cell.role == "holdout"} == {
        "C2/prefill-2048",
        "C2/prefill-8192",
        "C2/decode-16x4096",
    }


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda scale: scale.name)
def test_names_are_unique_and_what_is_fitted_comes_before_what_is_predicted(scale: Scale) -> None:
    plan = cells(scale)
    assert len({cell.id for cell in plan}) == len(plan)
    for family in FAMILIES:
        roles = [cell.is_predicted for cell in plan if cell.family == family]
        assert roles == sorted(roles)
        assert {True, False} == set(roles)


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda scale: scale.name)
def test_everything_that_is_predicted_is_made_of_what_is_fitted(scale: Scale) -> None:
    plan = cells(scale)
    for cell in plan:
        if cell.is_predicted:
            known = {name for other in plan if other.model == cell.model and other.role == "fit" for name in drivers(other, scale)}
            assert set(drivers(cell, scale)) <= known


def test_no_shape_of_the_holdout_set_is_fitted() -> None:
    plan = cells(FULL)
    fitted = {(cell.kind, str(sorted(cell.args.items(), key=str))) for cell in plan if cell.role == "fit"}
    assert [cell.id for cell in plan if cell.role == "holdout" and (cell.kind, str(sorted(cell.args.items(), key=str))) in fitted] == []
    tokens = {cell.args["film"].tokens for cell in plan if cell.role == "fit" and cell.kind == "block"}
    assert [cell.id for cell in plan if cell.role == "holdout" and cell.kind == "expert" and cell.args["film"].tokens in tokens] == []


def test_each_cell_fits_into_a_piece_and_all_of_them_into_half_an_hour() -> None:
    plan = cells(FULL)
    assert max(cell.estimate_s for cell in plan) * CAUTION < BUDGET_S
    assert sum(cell.estimate_s for cell in plan) < 30 * 60

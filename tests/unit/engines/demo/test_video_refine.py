"""Refinement gets closer to the drawing with every pass, and with more passes."""

import itertools

import numpy as np
import pytest

from taximeter.engines.demo.video.latent import Grid, Levels, decode, encode
from taximeter.engines.demo.video.refine import Sampler
from taximeter.engines.demo.video.render import Renderer
from taximeter.engines.demo.video.scene import compose

GRID = Grid(320, 180)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(compose("a dog and a cat in a garden", 1, width=320, height=180), (320, 180), 1.0)


@pytest.fixture(scope="module")
def ideal(renderer: Renderer) -> Levels:
    rows = np.empty((3, GRID.cells), np.uint8)
    for number, row in enumerate(rows):
        encode(renderer.frame(number / 3), row)
    return rows


def go_on() -> None:
    """Never stops."""


def run(ideal: Levels, steps: int, seed: int = 7) -> Sampler:
    sampler = Sampler(ideal, GRID, steps, seed)
    for _ in range(steps):
        sampler.advance(go_on)
    return sampler


def test_the_start_is_noise_that_knows_nothing_of_the_drawing(ideal: Levels) -> None:
    state = Sampler(ideal, GRID, 4, 7).frame(0)
    assert abs(float(np.corrcoef(state, ideal[0])[0, 1])) < 0.02
    assert float(state.std()) == pytest.approx(64, rel=0.05)


def test_each_pass_brings_the_state_closer(ideal: Levels) -> None:
    sampler = Sampler(ideal, GRID, 10, 7)
    errors = [sampler.error()]
    for _ in range(10):
        sampler.advance(go_on)
        errors.append(sampler.error())
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))
    assert sampler.passes == 10


def test_more_steps_give_a_cleaner_film(ideal: Levels) -> None:
    samplers = [run(ideal, steps) for steps in (1, 2, 3, 4, 6, 8, 12, 16, 24, 40)]
    errors = [sampler.error() for sampler in samplers]
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))
    assert errors[0] > 30
    assert errors[-1] < 1
    assert samplers[0].trust() < 0.01
    assert samplers[-1].trust() > 0.95


def test_the_same_seed_gives_the_same_state_and_another_seed_another(ideal: Levels) -> None:
    first, again, other = run(ideal, 3, 7), run(ideal, 3, 7), run(ideal, 3, 8)
    assert np.array_equal(first.frame(2), again.frame(2))
    assert not np.array_equal(first.frame(2), other.frame(2))


def test_a_stop_in_the_middle_of_a_pass_is_not_counted_as_a_pass(ideal: Levels) -> None:
    sampler = Sampler(ideal, GRID, 3, 7)

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        sampler.advance(stop)
    assert sampler.passes == 0


def test_a_settled_latent_decodes_to_the_drawing_itself(renderer: Renderer, ideal: Levels) -> None:
    picture = renderer.frame(0.0)
    frame = decode(ideal[0].astype(np.float32), ideal[0], picture, 1.0, GRID)
    exact = np.asarray(picture.convert("YCbCr"), np.float32)[:, :, 0] * 219 / 255 + 16
    assert float(np.abs(frame[:180] - exact).max()) <= 1
    assert frame.shape == (270, 320)


@pytest.mark.parametrize(("size", "tokens"), [((640, 360), 40 * 23), ((832, 480), 52 * 30), ((1280, 720), 80 * 45), ((720, 1280), 80 * 45)])
def test_a_token_is_a_patch_of_sixteen_pixels(size: tuple[int, int], tokens: int) -> None:
    assert Grid(*size).tokens == tokens

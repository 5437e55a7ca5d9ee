"""A decoded film really shows what its prompt asked for."""

import io

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from taximeter.engines.demo.video import MODEL, DemoVideo
from taximeter.engines.model import Job, Media
from taximeter.kernel.clock import SystemClock

pytestmark = pytest.mark.anyio

Picture = NDArray[np.int16]


async def film(prompt: str, *, width: int = 640, height: int = 360, steps: int = 16) -> list[Picture]:
    """The frames of a one-second film, rows x columns x RGB."""
    request = {"prompt": prompt, "width": width, "height": height, "frames": 8, "fps": 8, "steps": steps, "seed": 11}
    job = Job(id="e2e", modality="video", model=MODEL, request=request, bound={"steps": steps, "frames": 8}, deadline_s=120)
    data = b"".join([event.data async for event in DemoVideo(SystemClock()).run(job) if isinstance(event, Media)])
    with av.open(io.BytesIO(data), "r") as container:
        return [frame.to_ndarray(format="rgb24").astype(np.int16) for frame in container.decode(video=0)]


def share(picture: Picture, stronger: int, than: tuple[int, int], by: int = 50) -> float:
    """Share of pixels in which one channel leads the other two."""
    lead = (picture[..., stronger] > picture[..., than[0]] + by) & (picture[..., stronger] > picture[..., than[1]] + by)
    return float(lead.mean())


def red(picture: Picture) -> float:
    return share(picture, 0, (1, 2))


def green(picture: Picture) -> float:
    return share(picture, 1, (0, 2), 25)


def blue(picture: Picture) -> float:
    return share(picture, 2, (0, 1))


async def test_a_red_sun_stands_over_a_blue_sea() -> None:
    middle = (await film("a red sun over a blue sea"))[4]
    sky, sea = middle[:190], middle[210:330]
    # A disc of this size covers several percent of the sky, and the sea is blue nearly everywhere.
    assert 0.05 < red(sky) < 0.25
    assert red(sea) == 0
    assert blue(sea) > 0.8
    assert green(middle) < 0.01


async def test_a_green_tree_stands_in_white_snow() -> None:
    frames = await film("a green tree in snow")
    middle = frames[4]
    assert 0.03 < green(middle[60:260, 180:460]) < 0.6
    ground = middle[270:320]
    assert float((ground.min(axis=-1) > 205).mean()) > 0.6
    assert red(middle) < 0.01
    assert np.abs(frames[0] - middle).max() > 60, "the snow falls"


async def test_the_colour_follows_the_prompt_in_english_and_chinese() -> None:
    for prompt, colour, others in (
        ("a red car in the snow", red, (green,)),
        ("a green car in the snow", green, (red,)),
        ("雪地里的一辆红色的汽车", red, (green,)),
        ("雪地里的一辆绿色的汽车", green, (red,)),
    ):
        middle = (await film(prompt))[4]
        assert colour(middle) > 0.02, prompt
        assert all(other(middle) < 0.005 for other in others), prompt


async def test_different_prompts_give_visibly_different_films() -> None:
    prompts = ("a red sun over a blue sea", "a green tree in snow", "a taxi in the city at night", "a rocket in space", "a zorgle")
    middles = [(await film(prompt))[4] for prompt in prompts]
    for index, one in enumerate(middles):
        for other in middles[index + 1 :]:
            assert float(np.abs(one - other).mean()) > 20


async def test_a_driving_car_moves_the_world_and_a_still_life_keeps_still() -> None:
    moving, still = await film("a car driving fast in the city"), await film("an apple")
    assert float(np.abs(moving[0] - moving[4]).mean()) > 5
    assert float(np.abs(still[0] - still[4]).mean()) < 2


async def test_few_steps_leave_grain_that_many_steps_remove() -> None:
    rough, clean = (await film("a panda", steps=2))[4], (await film("a panda", steps=30))[4]
    grain = [float(np.abs(np.diff(picture[:, :, 1], axis=1)).mean()) for picture in (rough, clean)]
    assert grain[0] > 3 * grain[1]


async def test_a_portrait_film_is_upright() -> None:
    frames = await film("a balloon over the sea", width=360, height=640)
    assert frames[0].shape == (640, 360, 3)
    assert blue(frames[4][420:560]) > 0.5

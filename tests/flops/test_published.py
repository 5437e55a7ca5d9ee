"""The published sizes: parameters of the real classes at full size (without memory for them), and the experts' timesteps."""

import importlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from taximeter.meters.diffusion import add_up
from taximeter.meters.diffusion.drafts import _architecture
from taximeter.meters.diffusion.experts import Switch
from taximeter.meters.diffusion.families import FAMILIES
from taximeter.meters.diffusion.pipeline import BYTES_PER_WEIGHT, BYTES_PER_WEIGHT_OF_WAN_VAE
from tests.support.flops import counted, parameters

CONFIGS = Path(__file__).parents[1] / "vectors" / "configs"
CLASSES = {"t5": "T5EncoderModel", "umt5": "UMT5EncoderModel", "llama": "LlamaModel", "clip_text_model": "CLIPTextModel"}


def read(folder: Path) -> dict[str, Any]:
    return {path.relative_to(folder).as_posix(): json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("*.json")}


def hollow(config: dict[str, Any]) -> Any:
    """A model of the real class at its true size, whose weights have shapes but no memory."""
    torch: Any = importlib.import_module("torch")
    with torch.device("meta"):
        if "model_type" in config:
            library: Any = importlib.import_module("transformers")
            name = CLASSES[config["model_type"]]
            kind = getattr(library, name).config_class
            return getattr(library, name)(kind(**{key: value for key, value in config.items() if key != "model_type"}))
        diffusers: Any = importlib.import_module("diffusers")
        return getattr(diffusers, config["_class_name"]).from_config(config)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in CONFIGS.glob("*/model_index.json")))
def test_the_weights_of_a_published_model_are_those_of_the_real_classes(name: str) -> None:
    files = read(CONFIGS / name)
    family = FAMILIES[files["transformer/config.json"]["_class_name"]]
    resident = add_up(_architecture(files, family)).resident
    assert set(resident) == {path.split("/")[0] for path in files if path.endswith("/config.json")}
    for component, taken in resident.items():
        each = BYTES_PER_WEIGHT_OF_WAN_VAE if (component, family.name) == ("vae", "Wan") else BYTES_PER_WEIGHT
        assert taken == each * parameters(hollow(files[f"{component}/config.json"])), component


def test_a_pass_of_wan_at_full_size_agrees_with_the_counter() -> None:
    torch: Any = importlib.import_module("torch")
    config = read(CONFIGS / "wan2.2-t2v-a14b")["transformer/config.json"]
    model = hollow(config)
    with torch.device("meta"):
        film, time, text = torch.empty(1, 16, 21, 60, 104), torch.empty(1), torch.empty(1, 512, 4096)
    flop, _ = counted(lambda: model(film, time, text))
    tokens = 21 * 30 * 52
    assert flop == 819_200 * tokens**2 + 24_328_273_920 * tokens + 2_196_171_653_120


@pytest.mark.parametrize(
    ("shift", "boundary"), [("3", "0.875"), ("5", "0.9"), ("12", "0.875"), ("1", "0.5"), ("2.5", "0.33"), ("8", "1"), ("4", "0")]
)
def test_the_experts_take_turns_as_the_scheduler_counts(shift: str, boundary: str) -> None:
    diffusers: Any = importlib.import_module("diffusers")
    switch = Switch(flow_shift=shift, boundary_ratio=boundary)
    for steps in (*range(1, 61), 100, 199):
        scheduler = diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=float(shift))
        scheduler.set_timesteps(steps)
        high = sum(Fraction(int(time)) >= Fraction(boundary) * 1000 for time in scheduler.timesteps)
        assert switch.high_steps(steps) == high, steps

"""VoxCPM's own classes with random weights; its libraries are imported when they are asked for, since not every machine has them."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest


def torch() -> Any:  # noqa: ANN401 - not typed where it is not installed
    """PyTorch."""
    return importlib.import_module("torch")


@contextmanager
def package() -> Iterator[None]:
    """The package's modules without its entry point, which wants to load audio files and play web pages.

    Reading an example's sound is the one thing that the missing libraries do; nothing here has one.
    """
    found = importlib.util.find_spec("voxcpm")
    assert found is not None, "voxcpm is not installed; see requirements/torch.in"
    # It looks for the missing ones when it loads its tokenizers: before there is anything that stands in.
    transformers = importlib.import_module("transformers")
    assert transformers.LlamaTokenizerFast
    assert transformers.PreTrainedTokenizerFast
    bare = ModuleType("voxcpm")
    bare.__path__ = list(found.submodule_search_locations or [])
    missing = {name: ModuleType(name) for name in ("torchaudio", "librosa") if importlib.util.find_spec(name) is None}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in {"voxcpm": bare, **missing}.items():
            patch.setitem(sys.modules, name, module)
        # At these sizes more threads only wait for each other.
        threads = torch().get_num_threads()
        torch().set_num_threads(1)
        yield
        torch().set_num_threads(threads)


def model_of(content: dict[str, Any]) -> Any:  # noqa: ANN401 - the package has no types
    """A model with this ``config.json``, random weights, and a tokenizer that makes one token of each letter from a to j."""
    torch().manual_seed(7)
    tokenizers = importlib.import_module("tokenizers")
    letters = tokenizers.Tokenizer(tokenizers.models.WordLevel({letter: index for index, letter in enumerate("abcdefghij ")}, unk_token="a"))
    letters.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    tokenizer = importlib.import_module("transformers").PreTrainedTokenizerFast(tokenizer_object=letters)
    name = content["architecture"]
    module = importlib.import_module(f"voxcpm.model.{name}")
    model, decoder = ("VoxCPMModel", "AudioVAE") if name == "voxcpm" else ("VoxCPM2Model", "AudioVAEV2")
    config = module.VoxCPMConfig(**content)
    return getattr(module, model)(config, tokenizer, getattr(module, decoder)(config.audio_vae_config), device="cpu").eval()


def operations(work: Callable[[], object]) -> int:
    """What PyTorch's counter counts."""
    attention = importlib.import_module("torch.nn.attention")
    counter = importlib.import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
    # The counter does not know the fused attention of the CPU; the plain one does the same products.
    with counter, attention.sdpa_kernel(attention.SDPBackend.MATH), torch().inference_mode():
        work()
    return int(counter.get_total_flops())


def loop_operations(model: Any, positions: int, steps: int, timesteps: int) -> int:  # noqa: ANN401
    """The same for reading so many positions and making so many steps."""

    def run() -> None:
        text = torch().ones(1, positions, dtype=torch().int64)
        features = torch().zeros(1, positions, model.patch_size, model.feat_dim)
        mask = torch().ones(1, positions)
        # It may not stop by itself before the last step.
        model.inference(text, mask, features, mask * 0, min_len=steps, max_len=steps, inference_timesteps=timesteps)

    return operations(run)


def numbers(*modules: Any) -> int:  # noqa: ANN401
    """Weights of these modules."""
    return sum(weight.numel() for module in modules for weight in module.parameters())

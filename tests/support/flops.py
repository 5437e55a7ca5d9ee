"""Tiny models of the real classes with random weights, and what torch's FLOP counter says about them."""

import importlib
from collections.abc import Callable
from typing import Any

DIFFUSERS = "diffusers"
TRANSFORMERS = "transformers"


def counted(run: Callable[[], Any]) -> tuple[int, Any]:
    """Operations that the counter sees in a run, and its result.

    Attention is computed in its plain form: the counter does not know the fused kernel for processors.
    """
    torch: Any = importlib.import_module("torch")
    attention: Any = importlib.import_module("torch.nn.attention")
    counter: Any = importlib.import_module("torch.utils.flop_counter")
    torch.set_num_threads(1)
    with torch.no_grad(), attention.sdpa_kernel(attention.SDPBackend.MATH), counter.FlopCounterMode(display=False) as mode:
        result = run()
    return int(mode.get_total_flops()), result


def parameters(model: Any) -> int:  # noqa: ANN401 - torch is no dependency of the program
    """Parameters of a model."""
    return sum(int(weight.numel()) for weight in model.parameters())


def noise(*shape: int) -> Any:  # noqa: ANN401 - a tensor
    """A random tensor, always the same."""
    torch: Any = importlib.import_module("torch")
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def ones(*shape: int) -> Any:  # noqa: ANN401 - a tensor
    """A tensor of ones."""
    torch: Any = importlib.import_module("torch")
    return torch.ones(*shape)


def diffusion(name: str, **entries: object) -> tuple[Any, dict[str, Any]]:
    """A model of diffusers with these entries, and its whole configuration as its file would have it."""
    torch: Any = importlib.import_module("torch")
    torch.manual_seed(7)
    model = getattr(importlib.import_module(DIFFUSERS), name)(**entries).eval()
    config = {key: list(value) if isinstance(value, tuple) else value for key, value in dict(model.config).items() if not key.startswith("_")}
    return model, {"_class_name": name} | config


def text_encoder(name: str, kind: str, **entries: object) -> tuple[Any, dict[str, Any]]:
    """A text encoder of transformers with these entries, and its configuration file."""
    torch: Any = importlib.import_module("torch")
    library: Any = importlib.import_module(TRANSFORMERS)
    torch.manual_seed(7)
    config = getattr(library, kind)(**entries)
    config.architectures = [name]
    return getattr(library, name)(config).eval(), config.to_dict()


def tokenizer(positions: int) -> Any:  # noqa: ANN401 - a tokenizer of transformers
    """A tokenizer that knows a handful of words."""
    library: Any = importlib.import_module(TRANSFORMERS)
    tokenizers: Any = importlib.import_module("tokenizers")
    words = ["[PAD]", "[UNK]", "a", "fox", "walks"]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=words[1]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return library.PreTrainedTokenizerFast(tokenizer_object=made, pad_token=words[0], unk_token=words[1], model_max_length=positions)

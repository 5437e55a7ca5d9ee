"""Which family of models a folder belongs to: each reader looks at the files and says what it makes of them."""

from collections.abc import Callable, Sequence

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, diffusion, language, voxcpm
from taximeter.meters.draft import Draft, Files

Reader = Callable[[Files], Draft | None]
KNOWN = "diffusion transformers in the layout of diffusers, VoxCPM, and language models with a Hugging Face config.json"


def readers() -> tuple[Reader, ...]:
    """The readers, in the order in which they are asked."""
    return diffusion.draft, voxcpm.draft, language.draft


def recognise(files: Files, ask: Sequence[Reader]) -> Draft:
    """What the first reader that knows the files says.

    Raises InvalidRequest when a file of a known family lacks something, or when nobody knows it.
    """
    for reader in ask:
        try:
            draft = reader(files)
        except BadProfile as error:
            message = f"{error.key}: {error.message}" if error.key else error.message
            message = f"the model's files cannot be used: {message}"
            raise InvalidRequest(message) from error
        if draft is not None:
            return draft
    message = (
        f"no reader knows this model ({architecture(files)}); known are {KNOWN}. Write its entry by hand (docs/reference/catalog.md), "
        "with a meter that counts its work"
    )
    raise InvalidRequest(message)


def architecture(files: Files) -> str:
    """What the files call it, for a message."""
    for name in ("model_index.json", "transformer/config.json", "config.json"):
        content = files.get(name, {})
        for key in ("_class_name", "architectures", "model_type", "architecture"):
            if content.get(key):
                value = content[key]
                return f"{name} says {key}: {', '.join(map(str, value)) if isinstance(value, list) else value}"[:200]
    return f"its files are {', '.join(sorted(files)[:10])}"

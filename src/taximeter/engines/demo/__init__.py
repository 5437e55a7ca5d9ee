"""The engines that `taximeter serve` runs by itself: small real models on the CPU, no account, no GPU."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from taximeter.engines.model import Engine, Modality
from taximeter.kernel.clock import Clock
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import PREFIX, Settings

DEMO_ENGINES: Mapping[str, Modality] = MappingProxyType(
    {"demo-text": "chat", "demo-embeddings": "embeddings", "demo-speech": "speech", "demo-video": "video"},
)
"""What each demo engine does, by its name in the catalog."""


def demo_engine(name: str, clock: Clock, settings: Settings) -> Engine:
    """Make one demo engine; its libraries are imported now, its model is loaded by ``start`` or its first job.

    Args:
        name: one of DEMO_ENGINES.
        clock: for busy time and deadlines.
        settings: may name model files to use instead of the packaged ones.

    Raises:
        KeyError: there is no such engine.
        ImportError: the ``demo`` extra is not installed.
        SetupError: a setting names a model file that is not there.
    """
    # Imported one by one, so that a host pays only for the libraries of the engines it serves.
    match name:
        case "demo-text":
            from taximeter.engines.demo.text import DemoText  # noqa: PLC0415

            return DemoText(model_path=_file("text_model_path", settings))
        case "demo-embeddings":
            from taximeter.engines.demo.embeddings import DemoEmbeddings  # noqa: PLC0415

            return DemoEmbeddings(clock, model_path=_file("embeddings_model_path", settings))
        case "demo-speech":
            from taximeter.engines.demo.speech import DemoSpeech  # noqa: PLC0415

            model, styles = _file("speech_model_path", settings), _file("speech_styles_path", settings)
            return DemoSpeech(clock, model_path=model, styles_path=styles)
        case "demo-video":
            from taximeter.engines.demo.video import DemoVideo  # noqa: PLC0415

            return DemoVideo(clock)
        case _:
            raise KeyError(name)


def _file(setting: str, settings: Settings) -> Path | None:
    """The model file that a setting names, None when it names none."""
    text: str = getattr(settings, setting)
    if not text:
        return None
    path = Path(text)
    if not path.is_file():
        message = f"{PREFIX}{setting.upper()} names {text}, which is not a file; correct or unset it"
        raise SetupError(message)
    return path


__all__ = ["DEMO_ENGINES", "demo_engine"]

"""The engines that `taximeter serve` runs by itself: small real models on the CPU, no account, no GPU."""

from collections.abc import Mapping
from types import MappingProxyType

from taximeter.engines.model import Engine, Modality
from taximeter.kernel.clock import Clock

DEMO_ENGINES: Mapping[str, Modality] = MappingProxyType(
    {"demo-text": "chat", "demo-embeddings": "embeddings", "demo-speech": "speech", "demo-video": "video"},
)
"""What each demo engine does, by its name in the catalog."""


def demo_engine(name: str, clock: Clock) -> Engine:
    """Make one demo engine; its libraries are imported now, its model is loaded by ``start`` or its first job.

    Raises KeyError for a name that is not in DEMO_ENGINES and ImportError when the ``demo`` extra is not
    installed.
    """
    # Imported one by one, so that a host pays only for the libraries of the engines it serves.
    match name:
        case "demo-text":
            from taximeter.engines.demo.text import DemoText  # noqa: PLC0415

            return DemoText()
        case "demo-embeddings":
            from taximeter.engines.demo.embeddings import DemoEmbeddings  # noqa: PLC0415

            return DemoEmbeddings(clock)
        case "demo-speech":
            from taximeter.engines.demo.speech import DemoSpeech  # noqa: PLC0415

            return DemoSpeech(clock)
        case "demo-video":
            from taximeter.engines.demo.video import DemoVideo  # noqa: PLC0415

            return DemoVideo(clock)
        case _:
            raise KeyError(name)


__all__ = ["DEMO_ENGINES", "demo_engine"]

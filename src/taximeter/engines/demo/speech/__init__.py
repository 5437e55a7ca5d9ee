"""The demo speech engine: Kokoro-82M on the CPU, English and Chinese, sentence by sentence."""

from typing import TYPE_CHECKING, Any

from taximeter.engines.demo.speech.offer import FORMATS, NATIVE_VOICES, OPENAI_VOICES, PACKAGE_VOICES, VOICES

if TYPE_CHECKING:
    from taximeter.engines.demo.speech.engine import DemoSpeech

__all__ = ["FORMATS", "NATIVE_VOICES", "OPENAI_VOICES", "PACKAGE_VOICES", "VOICES", "DemoSpeech"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type of whatever is asked for
    """Import the engine when it is asked for: who only checks a voice's name needs none of its libraries."""
    if name == "DemoSpeech":
        from taximeter.engines.demo.speech.engine import DemoSpeech  # noqa: PLC0415

        return DemoSpeech
    raise AttributeError(name)

"""The meters there are, by id: the built-in ones, and those that other packages bring (``plugins``)."""

from collections.abc import Mapping
from typing import Any

from taximeter.kernel.errors import SetupError
from taximeter.meters import plugins
from taximeter.meters.classification_tokens import ClassificationTokens
from taximeter.meters.embeddings_tokens import EmbeddingsTokens
from taximeter.meters.errors import MeterUnavailable
from taximeter.meters.images_steps import ImagesSteps
from taximeter.meters.model import Meter, Residing
from taximeter.meters.speech_characters import SpeechCharacters
from taximeter.meters.speech_frames import SpeechFrames
from taximeter.meters.speech_seconds import SpeechSeconds
from taximeter.meters.speech_steps import SpeechSteps
from taximeter.meters.speech_steps_v2 import SpeechStepsV2
from taximeter.meters.text_buckets import TextBuckets
from taximeter.meters.text_flops import TextFlops
from taximeter.meters.text_tokens import TextTokens
from taximeter.meters.video_dit import VideoDit
from taximeter.meters.video_dit_v2 import VideoDitV2
from taximeter.meters.video_frames import VideoFrames

_METERS: dict[str, Meter] = {
    meter.id: meter
    for meter in (
        EmbeddingsTokens(),
        SpeechCharacters(),
        SpeechFrames(),
        SpeechSeconds(),
        SpeechSteps(),
        SpeechStepsV2(),
        TextBuckets(),
        TextFlops(),
        TextTokens(),
        VideoDit(),
        VideoDitV2(),
        ClassificationTokens(),
        ImagesSteps(),
        VideoFrames(),
    )
}
IDS: tuple[str, ...] = tuple(sorted(_METERS))
"""The built-in meters."""


def ids() -> tuple[str, ...]:
    """Every meter that can be used here: the built-in ones and those of plug-ins."""
    return tuple(sorted({*_METERS, *_plugins().meters}))


def find(meter_id: str) -> Meter | None:
    """The meter of this name and version, or None when there is none.

    Plug-ins are asked for only when no built-in meter has the name, so that a broken one stops nobody else.
    Raises SetupError when there is none and a plug-in that might have brought it is broken.
    """
    found = _METERS.get(meter_id)
    if found is not None:
        return found
    others = _plugins()
    if meter_id not in others.meters and others.faults:
        message = f"there is no meter {meter_id[: plugins.ID_CHARS_MAX]!r}, and {'; '.join(others.faults)}"
        raise SetupError(message)
    return others.meters.get(meter_id)


def get(meter_id: str) -> Meter:
    """The meter of this name and version.

    Raises MeterUnavailable when the catalog names one that is not installed in this process.
    """
    # One look-up for nearly every request there is.
    found = _METERS.get(meter_id)
    if found is None:
        others = _plugins()
        found = others.meters.get(meter_id)
        if found is None:
            reason = f": {'; '.join(others.faults)}" if others.faults else "; install the package that brings it"
            message = f"the meter {meter_id!r} of this model is not on this machine{reason}"
            raise MeterUnavailable(message, param="model")
    return found


def _plugins() -> plugins.Plugins:
    return plugins.installed(frozenset(_METERS))


def resident_bytes(meter_id: str, profile: Mapping[str, Any]) -> Mapping[str, int] | None:
    """Memory that a model's weights take when everything is loaded, by component; None where its profile does not say.

    Raises MeterUnavailable as ``get`` does.
    """
    meter = get(meter_id)
    return meter.resident_bytes(profile) if isinstance(meter, Residing) else None

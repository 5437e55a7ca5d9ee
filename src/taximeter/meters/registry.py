"""The meters there are, by id."""

from taximeter.meters.embeddings_tokens import EmbeddingsTokens
from taximeter.meters.model import Meter
from taximeter.meters.speech_frames import SpeechFrames
from taximeter.meters.speech_steps import SpeechSteps
from taximeter.meters.text_buckets import TextBuckets
from taximeter.meters.text_flops import TextFlops
from taximeter.meters.text_tokens import TextTokens
from taximeter.meters.video_dit import VideoDit
from taximeter.meters.video_frames import VideoFrames

_METERS: dict[str, Meter] = {
    meter.id: meter
    for meter in (EmbeddingsTokens(), SpeechFrames(), SpeechSteps(), TextBuckets(), TextFlops(), TextTokens(), VideoDit(), VideoFrames())
}
IDS: tuple[str, ...] = tuple(sorted(_METERS))


def get(meter_id: str) -> Meter:
    """The meter of this name and version.  Raises KeyError: the catalog was checked when it was loaded."""
    return _METERS[meter_id]

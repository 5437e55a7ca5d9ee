"""Kokoro-82M on onnxruntime: tokens in, samples out."""

import numpy as np
import numpy.typing as npt
import onnxruntime

from taximeter.engines.demo.speech.model_files import ModelFiles, Style
from taximeter.engines.demo.speech.offer import BLEND
from taximeter.engines.demo.speech.symbols import TOKENS_MAX, tokens

SAMPLE_RATE_HZ = 24_000
# One step of the duration predictor: the decoder doubles it once, then upsamples by 10 and 6 with a hop of 5.
SAMPLES_PER_FRAME = 600
# Memory grows with the frames of one call: 0.7 GB in all for 200 tokens at speed 1, 1 GB for 510 (or 80 at speed 0.25).
_TOKENS_PER_CALL = 200
_TOKENS_PER_CALL_MIN = 80
# A recogniser understood both languages best at this share, of the three that were tried.
_ENGLISH_SHARE = 0.7


class Kokoro:
    """The loaded model.  ``say`` blocks; run it in a thread."""

    def __init__(self, files: ModelFiles, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Between calls the cores belong to the other processes of this machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(files.weights, options, providers=["CPUExecutionProvider"])
        self.file_name = files.name
        self.styles = files.styles

    def say(self, phonemes: str, voice: str, speed: float, options: onnxruntime.RunOptions) -> npt.NDArray[np.int16]:
        """Speak one piece.

        Args:
            phonemes: at most 510 cleaned symbols.
            voice: a style's name, or an English and a Chinese one with ``BLEND`` between them.
            speed: 1 is natural; durations are divided by it.
            options: from ``run_options``; setting ``terminate`` on it from another thread stops the call.

        Returns:
            24 kHz samples; a whole number of frames of 600.
        """
        numbers = tokens(phonemes)
        assert 0 < len(numbers) <= TOKENS_MAX
        style = self._style(voice)
        feed = {
            "tokens": np.array([[0, *numbers, 0]], dtype=np.int64),
            "style": style[min(len(numbers), len(style)) - 1].reshape(1, 256),
            "speed": np.array([speed], dtype=np.float32),
        }
        (audio,) = self._session.run(["audio"], feed, options)
        samples = np.asarray(audio, dtype=np.float32).ravel()
        whole = len(samples) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
        return np.rint(np.clip(np.nan_to_num(samples[:whole]), -1.0, 1.0) * 32767).astype(np.int16)

    def _style(self, voice: str) -> Style:
        english, _, chinese = voice.partition(BLEND)
        if not chinese:
            return self.styles[english]
        return _ENGLISH_SHARE * self.styles[english] + (1 - _ENGLISH_SHARE) * self.styles[chinese]


def run_options() -> onnxruntime.RunOptions:
    """Options for one call; between calls the model gives its working memory back to the machine."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def tokens_per_call(speed: float) -> int:
    """Most tokens to give the model at once: slow speech makes more frames of each."""
    return max(_TOKENS_PER_CALL_MIN, int(_TOKENS_PER_CALL * min(speed, 1.0)))

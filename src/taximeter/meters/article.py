"""The founding formulas, to the letter: they are kept so that old bills can be recomputed.

Video: an input Token per ten characters other than the space, from 1 to 50; output units are latent
cells times frames times steps, with frames truncated in floating point as the founding code does
(25 frames a second for 4.6 seconds are 114 frames).  Speech: one Token per 0.16 seconds, 6.25 a
second, counted in exact rationals (in floating point 287 of the first 4,096 exact lengths go wrong).
"""

from fractions import Fraction

INPUT_CHARS_PER_TOKEN = 10
INPUT_TOKENS_MAX = 50
PIXELS_PER_LATENT_CELL = 8
SPEECH_STEPS_PER_S = Fraction(25, 4)


def input_tokens(prompt: str) -> int:
    """Input Tokens of a video prompt: characters without U+0020, divided by ten, from 1 to 50."""
    return max(1, min(INPUT_TOKENS_MAX, len(prompt.replace(" ", "")) // INPUT_CHARS_PER_TOKEN))


def frames(fps: int, seconds: Fraction) -> int:
    """Frames as the founding code counts them: ``int(fps * seconds)`` in binary floating point."""
    return int(float(fps) * float(seconds))


def output_units(width: int, height: int, frames_count: int, steps: int) -> int:
    """Latent cells x frames x steps; 100 Tokens are due per million of them."""
    return (height // PIXELS_PER_LATENT_CELL) * (width // PIXELS_PER_LATENT_CELL) * frames_count * steps


def speech_steps(seconds: Fraction) -> int:
    """Decode steps in ``seconds`` of audio, at 25/4 a second, rounded down, exactly."""
    return seconds.numerator * SPEECH_STEPS_PER_S.numerator // (seconds.denominator * SPEECH_STEPS_PER_S.denominator)


def speech_steps_of_samples(samples: int, rate_hz: int) -> int:
    """The same from a sample count: exact for every length."""
    return speech_steps(Fraction(samples, rate_hz))

"""``speech.steps/1``: speech models that decode audio step by step (VoxCPM), counted in real decode steps."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import msgspec

from taximeter.meters import article, fields, speech_request
from taximeter.meters.errors import BadProfile, BadReport
from taximeter.meters.model import Estimate, Work
from taximeter.meters.tokenizers.counts import bytes_bound

# The model's own bound on its decode loop: min(6 x text tokens + 10, 4096).
STEPS_PER_TEXT_TOKEN_MAX = 6
STEPS_BASE_MAX = 10
STEPS_MODEL_MAX = 4096
# The loop can first stop after its fourth step.
STEPS_MIN = 4
# One position beside the text: the mark that audio starts here.
PREFILL_EXTRA = 1
# A quarter of the steps' count is skipped at the start of the solver: n - max(1, int((n + 1) * 0.04)).
SOLVER_SKIPPED = Fraction(4, 100)

# How fast people read aloud; only the expectation rests on it, never the bound.
WIDE_CHARS_PER_S = Fraction(9, 2)
NARROW_CHARS_PER_S = 15
WIDE_FROM = 0x2E80  # CJK radicals and everything after: one syllable a character.
NARROW_CHARS_PER_TOKEN = 4
RATES_KEPT_MAX = 64


class StepsProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A step-by-step speech model's entry in the catalog."""

    voices: tuple[str, ...]
    formats: tuple[str, ...] = speech_request.FORMATS
    steps_per_s: str = "6.25"
    steps_max: int = STEPS_MODEL_MAX
    inference_timesteps: int = 10
    input_chars: int = speech_request.INPUT_CHARS_MAX
    seconds_max: int = 3600


def solver_evaluations(timesteps: int) -> int:
    """Evaluations of the diffusion head in one decode step with ``timesteps`` solver steps."""
    return timesteps - max(1, (timesteps + 1) * SOLVER_SKIPPED.numerator // SOLVER_SKIPPED.denominator)


@dataclass(frozen=True, slots=True)
class SpeechSteps:
    """Speech, by decode step."""

    id: str = "speech.steps/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "characters": "characters of the text",
            "prefill_positions": "positions the language model reads before the first step",
            "decode_steps": "iterations of the decode loop",
            "solver_evaluations": "evaluations of the diffusion head, over all steps",
            "article_steps": "seconds of audio x 25/4, rounded down (the founding count)",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(StepsProfile, profile)
        speech_request.check_voices(entry.voices, entry.formats)
        try:
            rate = Fraction(entry.steps_per_s)
        except (ValueError, ZeroDivisionError) as error:
            raise BadProfile(key="steps_per_s", message="must be a decimal number as text") from error
        if rate <= 0:
            raise BadProfile(key="steps_per_s", message="must be above 0")
        for key in ("steps_max", "inference_timesteps", "input_chars", "seconds_max"):
            if getattr(entry, key) < 1:
                raise BadProfile(key=key, message="must be at least 1")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Expect a reading pace, bound by the model's own loop; ``seconds`` in the request replaces both.

        Raises InvalidRequest, PromptTooLong, UnknownVoice, UnsupportedFormat.
        """
        entry = fields.read_profile(StepsProfile, profile)
        speech = speech_request.read(request, entry.voices, entry.formats, entry.input_chars)
        rate = _rate(entry.steps_per_s)
        wide = _wide(speech.text)
        likely_tokens, most_tokens = _text_tokens(speech.text, wide)
        if request.get("seconds") is None:
            most = min(STEPS_PER_TEXT_TOKEN_MAX * most_tokens + STEPS_BASE_MAX, STEPS_MODEL_MAX, entry.steps_max)
            seconds = _reading_s(wide, len(speech.text) - wide, speech.speed)
            likely = min(most, max(STEPS_MIN, _steps(seconds, rate)))
            article_most = _article(most, rate)
            article_likely = min(article.speech_steps(seconds), article_most)
        else:
            seconds = fields.number(request["seconds"], "seconds", "0.01", entry.seconds_max)
            likely = most = _steps(seconds, rate)
            article_likely = article_most = article.speech_steps(seconds)
        evaluations = solver_evaluations(entry.inference_timesteps)
        return Estimate(
            expected=_work(len(speech.text), likely_tokens + PREFILL_EXTRA, likely, likely * evaluations, article_likely),
            maximum=_work(len(speech.text), most_tokens + PREFILL_EXTRA, most, most * evaluations, article_most),
            bound={"decode_steps": most},
            request=speech.to_engine() | {"inference_timesteps": entry.inference_timesteps},
        )

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """Steps the engine's hook counted; the founding count from the samples really produced.  Raises BadReport."""
        entry = fields.read_profile(StepsProfile, profile)
        steps = fields.reported_quantity(reported, "decode_steps")
        evaluations = steps * solver_evaluations(entry.inference_timesteps)
        if "audio_samples" in reported:
            rate_hz = fields.reported_quantity(reported, "sample_rate_hz")
            if rate_hz == 0:
                message = "the engine reported a sample rate of 0; the request was not charged"
                raise BadReport(message)
            article_steps = article.speech_steps_of_samples(fields.reported_quantity(reported, "audio_samples"), rate_hz)
        else:
            # Without a sample count the audio is as long as its steps are.
            article_steps = _article(steps, _rate(entry.steps_per_s))
        return _work(
            estimate.expected["characters"],
            fields.reported_quantity(reported, "prefill_positions"),
            steps,
            fields.reported_quantity(reported, "solver_evaluations", evaluations),
            article_steps,
        )


def _work(characters: int, prefill: int, steps: int, evaluations: int, article_steps: int) -> dict[str, int]:
    return {
        "characters": characters,
        "prefill_positions": prefill,
        "decode_steps": steps,
        "solver_evaluations": evaluations,
        "article_steps": article_steps,
    }


@functools.lru_cache(maxsize=RATES_KEPT_MAX)
def _rate(text: str) -> Fraction:
    return Fraction(text)


def _steps(seconds: Fraction, rate: Fraction) -> int:
    """Steps that are begun in so many seconds."""
    return -(-seconds.numerator * rate.numerator // (seconds.denominator * rate.denominator))


def _article(steps: int, rate: Fraction) -> int:
    return article.speech_steps(Fraction(steps * rate.denominator, rate.numerator))


def _wide(text: str) -> int:
    return 0 if text.isascii() else sum([1 for letter in text if ord(letter) >= WIDE_FROM])


def _text_tokens(text: str, wide: int) -> tuple[int, int]:
    """Likely and most text tokens: a wide character is one, narrow ones share; never more than bytes and a start mark."""
    likely = wide - (wide - len(text)) // NARROW_CHARS_PER_TOKEN
    return likely, max(likely, bytes_bound(text) + 1)


def _reading_s(wide: int, narrow: int, speed: Fraction) -> Fraction:
    """How long reading aloud takes: ``wide`` over WIDE_CHARS_PER_S and ``narrow`` over NARROW_CHARS_PER_S, at this speed, as one quotient."""
    counted = wide * WIDE_CHARS_PER_S.denominator * NARROW_CHARS_PER_S + narrow * WIDE_CHARS_PER_S.numerator
    return Fraction(counted * speed.denominator, WIDE_CHARS_PER_S.numerator * NARROW_CHARS_PER_S * speed.numerator)

"""``speech.steps/2``: speech models that decode step by step (VoxCPM), from the model's own configuration.

Beside what ``/1`` counts: the sound of an example to imitate, attempts that the engine threw away, patches that the audio
decoder made, and how many steps a second of audio has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import Any

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import article, fields, solver, speech_pace, speech_request
from taximeter.meters.errors import BadProfile, BadReport, UnsupportedParameter
from taximeter.meters.model import Estimate, Work
from taximeter.meters.tokenizers.counts import bytes_bound

# The model's own bound on its loop: min(int(6 x text tokens) + 10, max_length).
STEPS_PER_TEXT_TOKEN_MAX = 6
STEPS_BASE_MAX = 10
# The loop can first stop after its fourth step.
STEPS_MIN = 4
# One position beside the text: the mark that audio starts here.
PREFILL_EXTRA = 1
MODE_S = 100
SAMPLE_RATE_HZ_MAX = 1_000_000


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sound that a voice imitates: how long it is, and what is said in it."""

    seconds: str
    text: str = ""


class LoopProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """A step-by-step speech model's entry in the catalog."""

    voices: tuple[str, ...]
    formats: tuple[str, ...] = speech_request.FORMATS
    input_chars: int = speech_request.INPUT_CHARS_MAX
    patch_size: int
    sample_rate_hz: int
    encoder_rates: tuple[int, ...]
    max_length: int = 4096
    inference_timesteps: int = 10
    timesteps_max: int | None = None
    attempts_max: int = 3
    seconds_max: int = 3600
    examples: dict[str, Example] = {}
    prompt_seconds_max: int = 0
    prompt_marks: int = 0
    prompt_context_patches: int = 2
    vae_patches_per_step: int = 1

    @cached_property
    def rate(self) -> tuple[int, int]:
        """Steps, and the seconds they are, as whole numbers without a common factor."""
        return Fraction(self.sample_rate_hz, prod(self.encoder_rates) * self.patch_size).as_integer_ratio()

    @cached_property
    def mode(self) -> int:
        """Steps in a hundred seconds: 625 at 6.25 a second."""
        steps, seconds = self.rate
        return MODE_S * steps // seconds

    def steps(self, seconds: Fraction) -> int:
        """Steps that ``seconds`` of audio take; the last one may be longer than what is left."""
        steps, per_s = self.rate
        return -(-seconds.numerator * steps // (seconds.denominator * per_s))

    def article_steps(self, steps: int) -> int:
        """The founding count of this many steps."""
        made, seconds = self.rate
        rate = article.SPEECH_STEPS_PER_S
        return steps * seconds * rate.numerator // (made * rate.denominator)

    @cached_property
    def patches(self) -> dict[str, int]:
        """Patches in each voice's example."""
        return {voice: self.steps(Fraction(example.seconds)) for voice, example in self.examples.items()}


@dataclass(frozen=True, slots=True)
class SpeechStepsV2:
    """Speech, by decode step."""

    id: str = "speech.steps/2"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "characters": "characters of the text",
            "prefill_positions": "positions of text and marks that the language model reads before the first step",
            "prompt_audio_positions": "positions of an example's sound that it reads before the first step",
            "decode_steps": "iterations of the decode loop in the attempt that was delivered",
            "retried_steps": "iterations in attempts that the engine threw away",
            "retried_positions": "positions read again for those attempts",
            "solver_evaluations": "evaluations of the diffusion head, over all delivered steps",
            "vae_steps": "patches that the audio decoder turned into samples",
            "article_steps": "seconds of audio x 25/4, rounded down (the founding count)",
            "steps_per_100_s": "the mode: decode steps in a hundred seconds of audio",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(LoopProfile, profile)
        speech_request.check_voices(entry.voices, entry.formats)
        least = {"prompt_seconds_max": 0, "prompt_marks": 0, "prompt_context_patches": 0}
        for key in _COUNTS:
            if getattr(entry, key) < least.get(key, 1):
                raise BadProfile(key=key, message=f"must be at least {least.get(key, 1)}")
        if not entry.encoder_rates or min(entry.encoder_rates) < 1:
            raise BadProfile(key="encoder_rates", message="must be whole numbers, each at least 1")
        if entry.sample_rate_hz > SAMPLE_RATE_HZ_MAX or entry.sample_rate_hz * MODE_S % (prod(entry.encoder_rates) * entry.patch_size):
            raise BadProfile(key="sample_rate_hz", message="must give a whole number of steps in 100 seconds with encoder_rates and patch_size")
        if entry.timesteps_max is not None and entry.timesteps_max < entry.inference_timesteps:
            raise BadProfile(key="timesteps_max", message="must not be below inference_timesteps")
        for voice, example in entry.examples.items():
            _check_example(entry, voice, example)

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Expect a reading pace, bound by the model's own loop; ``seconds`` in the request replaces both.

        Raises InvalidRequest, PromptTooLong, UnknownVoice, UnsupportedFormat, UnsupportedParameter.
        """
        entry = fields.read_profile(LoopProfile, profile)
        speech = speech_request.read(request, entry.voices, entry.formats, entry.input_chars)
        text = speech.text
        chars, wide = len(text), speech_pace.wide_chars(text)
        likely_text, most_text = _text_tokens(text, chars, wide)
        if request.get("seconds") is None:
            most = min(STEPS_PER_TEXT_TOKEN_MAX * most_text + STEPS_BASE_MAX, entry.max_length)
            units, speed = speech_pace.reading_units(chars, wide), speech.speed
            # Reading time over its unit and the speed; multiplied out, so that nothing is ever rounded before the end.
            time, whole = units * speed.denominator, speech_pace.UNITS_PER_S * speed.numerator
            steps, per_s = entry.rate
            likely = min(most, max(STEPS_MIN, -(-time * steps // (whole * per_s))))
            article_most = entry.article_steps(most)
            pace = article.SPEECH_STEPS_PER_S
            article_likely = min(article_most, time * pace.numerator // (whole * pace.denominator))
        else:
            seconds = fields.number(request["seconds"], "seconds", "0.01", entry.seconds_max)
            likely = most = entry.steps(seconds)
            article_likely = article_most = article.speech_steps(seconds)
        patches, likely_extra, most_extra = _example(request, entry, speech.voice)
        likely_read = likely_text + PREFILL_EXTRA + likely_extra
        most_read = most_text + PREFILL_EXTRA + most_extra
        timesteps = _timesteps(request, entry)
        evaluations = solver.evaluations(timesteps)
        again = entry.attempts_max - 1
        context = min(patches, entry.prompt_context_patches)
        decoded = entry.vae_patches_per_step
        mode = entry.mode
        expected = (chars, likely_read, patches, likely, 0, 0, likely * evaluations, likely * decoded + context, article_likely, mode)
        maximum = (
            *(chars, most_read, patches, most, again * most, again * (most_read + patches)),
            *(most * evaluations, most * decoded + context, article_most, mode),
        )
        return Estimate(
            expected=dict(zip(_NAMES, expected, strict=True)),
            maximum=dict(zip(_NAMES, maximum, strict=True)),
            bound={"decode_steps": most},
            request={**speech.to_engine(), **_passed_on(request), "inference_timesteps": timesteps},
        )

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """Steps the engine's hook counted, attempts apart; the founding count from the samples really produced.

        Discarded attempts are never above what was held for: an engine may start again more often than its entry says.  Raises
        BadReport.
        """
        entry = fields.read_profile(LoopProfile, profile)
        mode = fields.reported_quantity(reported, "steps_per_100_s", entry.mode)
        if mode != entry.mode:
            message = f"the engine decodes {mode} steps in 100 seconds and the catalog says {entry.mode}; the request was not charged"
            raise BadReport(message)
        read = fields.reported_quantity(reported, "prefill_positions")
        patches = fields.reported_quantity(reported, "prompt_audio_positions", estimate.expected["prompt_audio_positions"])
        steps = fields.reported_quantity(reported, "decode_steps")
        attempts = fields.reported_quantity(reported, "attempts", 1)
        retried = fields.reported_quantity(reported, "total_steps", steps) - steps
        if attempts < 1 or retried < 0 or (retried > 0) != (attempts > 1):
            message = f"the engine reported {steps} steps of {steps + retried} in {attempts} attempts; the request was not charged"
            raise BadReport(message)
        evaluations = steps * solver.evaluations(estimate.request["inference_timesteps"])
        decoded = steps * entry.vae_patches_per_step + min(patches, entry.prompt_context_patches)
        most = estimate.maximum
        return {
            "characters": estimate.expected["characters"],
            "prefill_positions": read,
            "prompt_audio_positions": patches,
            "decode_steps": steps,
            "retried_steps": min(retried, most["retried_steps"]),
            "retried_positions": min((attempts - 1) * (read + patches), most["retried_positions"]),
            "solver_evaluations": fields.reported_quantity(reported, "solver_evaluations", evaluations),
            "vae_steps": fields.reported_quantity(reported, "vae_steps", decoded),
            "article_steps": _within_what_was_asked(_article_steps(reported, steps, entry), estimate, entry),
            "steps_per_100_s": mode,
        }


_NAMES = tuple(SpeechStepsV2().quantities)
_COUNTS = (
    *("input_chars", "patch_size", "sample_rate_hz", "max_length", "inference_timesteps", "attempts_max", "seconds_max"),
    *("prompt_seconds_max", "prompt_marks", "prompt_context_patches", "vae_patches_per_step"),
)


def _check_example(entry: LoopProfile, voice: str, example: Example) -> None:
    if voice not in entry.voices:
        raise BadProfile(key="examples", message=f"{voice} is not among the voices")
    try:
        length = fields.number(example.seconds, "seconds", "0.01", entry.seconds_max)
    except InvalidRequest as error:
        raise BadProfile(key="examples", message=f"{voice}: {error}") from error
    if entry.steps(length) >= entry.max_length:
        raise BadProfile(key="examples", message=f"{voice}: does not fit into max_length")


def _text_tokens(text: str, chars: int, wide: int) -> tuple[int, int]:
    """Likely and most text tokens; never more than bytes and a start mark."""
    likely = speech_pace.likely_tokens(chars, wide)
    return likely, max(likely, bytes_bound(text) + 1)


def _example(request: Mapping[str, Any], entry: LoopProfile, voice: str) -> tuple[int, int, int]:
    """Patches of the sound to imitate, and the positions, likely and at most, that its text and marks take.

    The request's own example goes before the voice's.
    """
    asked, text = request.get("prompt_seconds"), request.get("prompt_text")
    if asked is None and text is None:
        example = entry.examples.get(voice)
        if example is None:
            return 0, 0, 0
        return entry.patches[voice], *_example_text(example.text, entry)
    if entry.prompt_seconds_max == 0:
        message = "this model takes no example of a voice; leave out prompt_seconds and prompt_text"
        raise UnsupportedParameter(message, param="prompt_seconds" if asked is not None else "prompt_text")
    seconds = fields.number(asked, "prompt_seconds", "0.01", entry.prompt_seconds_max)
    said = "" if text is None else fields.text(text, "prompt_text", entry.input_chars, blank=True)
    return entry.steps(seconds), *_example_text(said, entry)


def _passed_on(request: Mapping[str, Any]) -> dict[str, str]:
    """The request's own example, as the engine gets it: both were checked."""
    return {key: str(request[key]) for key in ("prompt_seconds", "prompt_text") if request.get(key) is not None}


def _example_text(text: str, entry: LoopProfile) -> tuple[int, int]:
    if not text:
        return entry.prompt_marks, entry.prompt_marks
    likely, most = _text_tokens(text, len(text), speech_pace.wide_chars(text))
    return likely + entry.prompt_marks, most + entry.prompt_marks


def _timesteps(request: Mapping[str, Any], entry: LoopProfile) -> int:
    asked = request.get("inference_timesteps")
    if asked is None:
        return entry.inference_timesteps
    if entry.timesteps_max is None:
        message = f"this model always takes {entry.inference_timesteps} solver steps; leave out inference_timesteps"
        raise UnsupportedParameter(message, param="inference_timesteps")
    return fields.whole(asked, "inference_timesteps", 1, entry.timesteps_max)


def _within_what_was_asked(found: int, estimate: Estimate, entry: LoopProfile) -> int:
    """The founding count, but for the rest of the last step, which is longer than what was left of the length asked for."""
    most = estimate.maximum["article_steps"]
    return most if most < found <= entry.article_steps(estimate.bound["decode_steps"]) else found


def _article_steps(reported: Work, steps: int, entry: LoopProfile) -> int:
    if "audio_samples" not in reported:
        # Without a sample count the audio is as long as its steps are.
        return entry.article_steps(steps)
    rate_hz = fields.reported_quantity(reported, "sample_rate_hz")
    if rate_hz == 0:
        message = "the engine reported a sample rate of 0; the request was not charged"
        raise BadReport(message)
    return article.speech_steps_of_samples(fields.reported_quantity(reported, "audio_samples"), rate_hz)

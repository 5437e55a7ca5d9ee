"""Estimates a second, for every meter, by one core in pure Python; and for video the work of a shape alone.

The requests are all different: texts of 20 to 200 characters, several sizes, lengths and speeds.  The profiles are those of
the built-in catalog.  What is counted is CPU time, because other work on the machine must not be blamed on a meter.
"""

import argparse
import gc
import itertools
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import process_time
from typing import Any

from bench.figures import Spread, Table, publish, spread, verdict
from taximeter import meters, pricing
from taximeter.metering.fares import METERS, quote_fare, read_catalog
from taximeter.meters import fields, video_dit
from taximeter.pricing.yaml_source import load_dir

NAME = "meters"
GOAL_PER_S = 50_000
WITH_A_GOAL = ("video", "speech")
REQUESTS = 512
WORDS = [
    "the",
    "a",
    "red",
    "fox",
    "taxi",
    "drives",
    "slowly",
    "through",
    "rain",
    "over",
    "old",
    "bridges",
    "while",
    "people",
    "with",
    "umbrellas",
    "wait",
    "at",
    "night",
]
SIZES = ("832x480", "480x832", "1280x720", "720x1280")

Request = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How often, and for how many seconds of CPU time each."""

    rounds: int
    seconds: float


FULL = Plan(rounds=7, seconds=0.4)
QUICK = Plan(rounds=3, seconds=0.05)


def texts(draw: random.Random) -> str:
    """A line of words."""
    return " ".join(draw.choices(WORDS, k=draw.randrange(4, 36)))[:200]


def request_for(modality: str, draw: random.Random) -> Request:
    """One request of its kind."""
    text = texts(draw)
    picture = {"prompt": text, "size": draw.choice(SIZES), "steps": draw.randrange(4, 51)}
    if modality == "chat":
        return {
            "messages": [{"role": "system", "content": "You are kind."}, {"role": "user", "content": text}],
            "max_tokens": draw.randrange(16, 500),
        }
    if modality in ("embeddings", "classification"):
        return {"input": [text]}
    if modality == "speech":
        return {"input": text, "voice": "alloy", "speed": draw.choice((None, 1, 1.25, "0.8"))}
    if modality == "images":
        return {"prompt": text, "n": draw.randrange(1, 5), "steps": draw.randrange(4, 51)}
    return picture | {"seconds": draw.choice((2, "4", 5, 8)), "fps": draw.choice((8, 16, 24))}


def requests_for(modality: str) -> Sequence[Request]:
    """Different requests, the same ones in every run."""
    draw = random.Random(20_260_101)  # noqa: S311 - what is asked for is no secret
    return [request_for(modality, draw) for _ in range(REQUESTS)]


def per_second(work: Callable[[Any], object], inputs: Sequence[Any], seconds: float) -> float:
    """How often ``work`` is done in a second of CPU time, over all inputs in turn."""
    done, begin = 0, process_time()
    while (spent := process_time() - begin) < seconds:
        for one in inputs:
            work(one)
        done += len(inputs)
    return done / spent


@dataclass
class Contender:
    """One thing that is timed, and what it came to in each round."""

    name: str
    modality: str
    work: Callable[[Any], object]
    inputs: Sequence[Any]
    rounds: list[float]

    @property
    def spread(self) -> Spread:
        """Over the rounds."""
        return spread(self.rounds)


def estimating(model: pricing.ModelEntry) -> Callable[[Request], object]:
    """The meter's part of a quote."""
    meter, profile = meters.get(model.meter), model.profile
    return lambda request: meter.estimate(request, profile)


def fares_of(catalog: pricing.Catalog, name: str) -> Callable[[Request], object]:
    """All of a quote: meter, card and tariff."""
    return lambda request: quote_fare(catalog, name, request)


def shapes(profile: Mapping[str, Any]) -> tuple[Callable[[tuple[video_dit.Shape, int]], object], Sequence[tuple[video_dit.Shape, int]]]:
    """The work of a film whose shape and passes are known: what a price list or a misprice map asks for."""
    entry = fields.read_profile(video_dit.DitProfile, profile)
    sides = [(832, 480), (1280, 720), (1920, 1088), (640, 360)]
    films = [(video_dit.Shape(w, h, frames), passes) for (w, h), frames, passes in itertools.product(sides, range(1, 162, 8), (4, 40, 80))]
    return lambda film: video_dit.physical_work(film[0], film[1], 2, entry), films


def contenders(catalog: pricing.Catalog) -> list[Contender]:
    """Every meter that a published model uses, in force or not, then shapes, then whole fares."""
    published = [document.entry for document in load_dir(pricing.builtin_dir(), METERS)]
    entries = [entry for entry in published if isinstance(entry, pricing.ModelEntry)]
    models = {entry.meter: entry for entry in sorted(entries, key=lambda entry: entry.id, reverse=True)}
    found = []
    for meter, entry in sorted(models.items()):
        found.append(Contender(f"{meter} ({entry.name})", entry.modality, estimating(entry), requests_for(entry.modality), []))
    shaped = models["video.dit/1"]
    work, films = shapes(shaped.profile)
    found.append(Contender(f"work of a shape ({shaped.name})", "video", work, films, []))
    for name in ("sketch-video", "kokoro-82m"):
        entry = catalog.models[name]
        found.append(Contender(f"a whole fare ({name})", "fare", fares_of(catalog, name), requests_for(entry.modality), []))
    return found


def main() -> int:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    plan = QUICK if parser.parse_args().quick else FULL
    raced = contenders(read_catalog(None, datetime.now(tz=UTC)))
    for one in raced:
        per_second(one.work, one.inputs, plan.seconds / 10)  # vocabularies are read, and everything is warm
    gc.collect()
    gc.freeze()
    for number in range(plan.rounds):
        # Every other round in the opposite order, so that none always comes after the same one.
        for one in raced[:: -1 if number % 2 else 1]:
            one.rounds.append(per_second(one.work, one.inputs, plan.seconds))
    goals = [
        verdict(f"{one.name} >= {GOAL_PER_S:,}/s", one.spread.median, met=one.spread.median >= GOAL_PER_S, digits=0)
        for one in raced
        if one.modality in WITH_A_GOAL
    ]
    table = Table(
        f"Meters: {plan.rounds} rounds of {plan.seconds} CPU seconds each, one core, pure Python",
        ("meter (model)", "estimates/s", "us each"),
        [(one.name, one.spread.show(), f"{1e6 / one.spread.median:.1f}") for one in raced],
        (*goals, f"{REQUESTS} different requests in turn; chat, embeddings and classification count with the model's own vocabulary"),
    )
    publish(NAME, [table], {"per_s": {one.name: one.rounds for one in raced}})
    return 0


if __name__ == "__main__":
    sys.exit(main())

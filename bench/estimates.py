"""How good the estimates are: what the meters expected and held, against what the demo engines then did.

Each request is quoted, run on the real engine with the bound that the quote gives, and billed by the engine's report, with
the product's own code; only the books are left out.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench.estimate_requests import GROUPS, Ask, asks
from bench.figures import Table, publish, verdict
from bench.scatter import Dot, Field, svg
from taximeter import meters, pricing
from taximeter.engines import Done, Engine, Job
from taximeter.engines.demo import demo_engine
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.metering.fares import Fare, quote_fare, read_catalog

NAME = "estimates"
DEADLINE_S = 600.0
UTOK = 1_000_000


@dataclass(frozen=True)
class Case:
    """One request, in micro-Tokens of the model's default card.

    Attributes:
        group: the row of the table.
        text: its beginning, for people.
        expected: what was likely.
        maximum: what was held.
        actual: what it took.
        truncated: the engine stopped at its bound.
    """

    group: str
    text: str
    expected: int
    maximum: int
    actual: int
    truncated: bool

    @property
    def error(self) -> float:
        """How far the expectation was off, as a share of what it took: 0.1 is ten per cent too much."""
        return self.expected / self.actual - 1


async def ride(engine: Engine, fare: Fare, number: int) -> Done:
    """Run one request as the gateway would."""
    job = Job(
        id=f"req_{number}",
        modality=engine_modality(fare),
        model=fare.model.engine_model or fare.model.name,
        request=dict(fare.estimate.request),
        bound=dict(fare.estimate.bound),
        deadline_s=DEADLINE_S,
    )
    done: Done | None = None
    async with aclosing(engine.run(job)) as events:  # type: ignore[type-var]  # every engine's is a generator
        async for event in events:
            if isinstance(event, Done):
                done = event
    assert done is not None, "an engine ends with its report"
    return done


def engine_modality(fare: Fare) -> Any:  # noqa: ANN401 - the catalog keeps it as text
    """The catalog's word, which is the engine's."""
    return fare.model.modality


def case_of(ask: Ask, fare: Fare, done: Done) -> Case:
    """Bill the report by the quoted card, without the quote's cap: an estimate that was too low must show."""
    work = meters.get(fare.model.meter).actual(done.work, fare.estimate, fare.model.profile)
    return Case(
        group=ask.group,
        text=str(ask.body.get("input") or ask.body.get("prompt") or ask.body["messages"][-1]["content"])[:40],
        expected=fare.parts.expected.total_utok,
        maximum=fare.parts.maximum.total_utok,
        actual=pricing.rate(fare.priced.card, work).total_utok,
        truncated=done.truncated,
    )


async def run(every: Sequence[Ask]) -> list[Case]:
    """All requests, one after the other, each engine started once."""
    catalog = read_catalog(None, datetime.now(tz=UTC))
    engines: dict[str, Engine] = {}
    cases = []
    try:
        for number, ask in enumerate(every):
            fare = quote_fare(catalog, ask.model, ask.body)
            name = fare.model.engine
            assert name is not None, f"{ask.model} has no engine"
            if name not in engines:
                engines[name] = demo_engine(name, SystemClock(), Settings())
            cases.append(case_of(ask, fare, await ride(engines[name], fare, number)))
            print(f"  {number + 1} of {len(every)}: {ask.group}", file=sys.stderr, flush=True)
    finally:
        for engine in engines.values():
            await engine.close()
    return cases


def percent(share: float, digits: int = 1) -> str:
    """``12.5 %``."""
    return f"{share * 100:.{digits}f} %"


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which this share of them lies: the nearest one that is there."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(group: str, cases: Sequence[Case]) -> tuple[str, ...]:
    """One line of the table."""
    off = [abs(case.error) for case in cases]
    above = sum(case.actual > case.maximum for case in cases)
    held, taken = sum(case.maximum for case in cases), sum(case.actual for case in cases)
    return (
        group,
        str(len(cases)),
        percent(statistics.median(off)),
        percent(quantile(off, 0.9)),
        f"{statistics.median(case.error for case in cases) * 100:+.1f} %",
        f"{(sum(case.expected for case in cases) / taken - 1) * 100:+.1f} %",
        str(above),
        str(sum(case.truncated for case in cases)),
        percent(1 - taken / held, 0),
    )


def table(cases: Sequence[Case]) -> Table:
    """All groups."""
    above = sum(case.actual > case.maximum for case in cases)
    made = Table(
        "Estimate against what the engine did, in Tokens of the calibrated cards",
        (
            "engine",
            "requests",
            "median error",
            "90th percentile",
            "median lean",
            "sum expected",
            "above the hold",
            "stopped at it",
            "hold given back",
        ),
        notes=(
            "error: |expected - actual| / actual; lean and sum: expected / actual - 1, so + is too much; given back: share of all that was held",
            verdict("no request above its hold", above, met=above == 0, digits=0),
        ),
    )
    for group in GROUPS:
        chosen = [case for case in cases if case.group == group]
        if chosen:
            made.rows.append(row(group, chosen))
    return made


def picture(cases: Sequence[Case]) -> str:
    """Each request twice: what was expected, and what was held, over what it took."""
    fields = []
    for group in GROUPS:
        chosen = [case for case in cases if case.group == group]
        if chosen:
            dots = [Dot(case.actual / UTOK, case.expected / UTOK, case.maximum / UTOK) for case in chosen]
            fields.append(Field(f"{group}, {len(chosen)} requests", dots))
    return svg(fields, across="Tokens it took", up="Tokens expected and held", hollow="held", filled="expected", line="as it came")


def main() -> int:
    """Run, print, keep; exit code 1 when a request took more than was held for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one request in six")
    cases = asyncio.run(run(asks(quick=parser.parse_args().quick)))
    rows = [[case.group, case.text, case.expected, case.maximum, case.actual, case.truncated] for case in cases]
    publish(NAME, [table(cases)], {"cases": rows}, picture(cases))
    return 1 if any(case.actual > case.maximum for case in cases) else 0


if __name__ == "__main__":
    sys.exit(main())

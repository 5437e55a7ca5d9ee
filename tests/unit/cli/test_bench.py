"""Which benchmarks run, and with what."""

import argparse
import re

import pytest

from bench import results
from taximeter.cli import bench
from taximeter.kernel.errors import SetupError


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.add_parser(parser.add_subparsers())
    return parser.parse_args(["bench", *arguments])


def test_the_long_ones_run_only_when_they_are_named() -> None:
    assert bench.chosen(parsed()) == ["startup", "ledger", "replay", "gateway"]
    assert bench.chosen(parsed("soak", "peers")) == ["soak", "peers"]


def test_every_benchmark_is_kept() -> None:
    assert (*bench.NAMES, *bench.LONG_NAMES) == results.NAMES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "there is no benchmark 'fly'; choose from startup,"),
        (["ledger", "--requests", "5"], "--requests is an option of the benchmark memory"),
    ],
)
def test_what_cannot_run_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(SetupError, match=re.escape(message)):
        bench.chosen(parsed(*arguments))


def test_an_option_goes_to_the_benchmark_that_has_it() -> None:
    args = parsed("memory", "soak", "--quick", "--requests", "5000", "--seconds", "9", "--rate", "100")
    assert bench.options_of("memory", args) == ["--quick", "--requests", "5000"]
    assert bench.options_of("soak", args) == ["--quick", "--seconds", "9", "--rate", "100"]

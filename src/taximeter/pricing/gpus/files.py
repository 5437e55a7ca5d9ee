"""GPU profiles as YAML files: unknown keys, missing ones and nonsense are reported with file and line, all at once."""

import functools
import re
from collections.abc import Mapping
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import cast

from taximeter.kernel.errors import NotFound
from taximeter.pricing import yaml_source
from taximeter.pricing.errors import CatalogInvalid, Problem
from taximeter.pricing.gpus.model import GIGA, REFERENCE, STATUSES, TERA, Gpu, GpuPrice, Status, Timing
from taximeter.pricing.nodes import Node, Reader, decimal_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
CURRENCY = re.compile(r"[A-Z]{3}")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
FRAMES_MAX = 100_000


@functools.cache
def builtin_gpus() -> Mapping[str, Gpu]:
    """The profiles that come with the program, by name.  Raises CatalogInvalid."""
    gpus = [read_gpu(path) for path in sorted(_folder().glob("*.yaml"))]
    return {gpu.name: gpu for gpu in gpus}


def _folder() -> Path:
    return Path(str(resources.files("taximeter.pricing.gpus")))


def find_gpu(text: str) -> Gpu:
    """A built-in profile by its name, however it is written, or the profile in a file of one's own.

    Raises NotFound, and CatalogInvalid when the file is not a profile.
    """
    if text.endswith((".yaml", ".yml")):
        return read_gpu(Path(text))
    wanted = re.sub(r"[^a-z0-9]", "", text.lower()).removeprefix("nvidia")
    for name, gpu in builtin_gpus().items():
        if name.lower() == wanted:
            return gpu
    message = f"there is no GPU {text[:60]!r}; there are {', '.join(builtin_gpus())}, or give a file of your own (gpu.yaml)"
    raise NotFound(message, param="gpu")


def read_gpu(path: Path) -> Gpu:
    """The profile in a file.  Raises CatalogInvalid with every fault found."""
    problems: list[Problem] = []
    nodes = yaml_source.load_nodes(path, path.name, problems)
    gpu = None
    if len(nodes) == 1:
        gpu = _gpu(Reader(nodes[0], path.name, problems))
    elif not problems:
        problems.append(Problem(path.name, 0, f"the file holds {len(nodes)} documents; a GPU profile is one"))
    if problems or gpu is None:
        raise CatalogInvalid(problems)
    return gpu


def _gpu(reader: Reader) -> Gpu:
    name = reader.text("name")
    if name and not NAME.fullmatch(name):
        reader.fault(reader.line("name"), "name must be letters, digits, dots, dashes and underscores, at most 40 of them")
    status = cast("Status", reader.text("status", choices=STATUSES))
    peak = _above_zero(reader, "peak_tflop_s") * TERA
    rates_of = reader.text("rates_of", default="")
    linear, attention = _borrowed(reader, status, peak, rates_of) if rates_of else _rates(reader, status, peak)
    gpu = Gpu(
        name=name,
        title=reader.text("title"),
        status=status,
        linear_flop_s=linear,
        attention_flop_s=attention,
        peak_flop_s=peak,
        memory_bytes=_bytes(reader, "memory_gb"),
        bandwidth_bytes_s=_bytes(reader, "bandwidth_gb_s"),
        price=_price(reader),
        timings=tuple(_timing(reader.child(node)) for node in reader.items("timings", required=status == "published")),
        sources=tuple(_source(reader, node) for node in reader.items("sources")),
        notes=reader.text("notes", default=""),
        rates_of=rates_of,
    )
    reader.end()
    return gpu


def _rates(reader: Reader, status: Status, peak: Fraction) -> tuple[Fraction, Fraction]:
    if status != "unmeasured":
        return _above_zero(reader, "linear_tflop_s") * TERA, _above_zero(reader, "attention_tflop_s") * TERA
    for key in ("linear_tflop_s", "attention_tflop_s"):
        if reader.take(key, required=False) is not None:
            reader.fault(reader.line(key), f"an unmeasured GPU has no {key}: leave it out, or say where it comes from with status published")
    return peak, peak


def _borrowed(reader: Reader, status: Status, peak: Fraction, name: str) -> tuple[Fraction, Fraction]:
    """The rates of a built-in GPU with the same arithmetic units, for one that nobody has measured."""
    if status != "unmeasured":
        reader.fault(reader.line("rates_of"), f"a {status} GPU has rates of its own: leave rates_of out")
        return peak, peak
    own = _rates(reader, status, peak)
    path = _folder() / f"{name.lower()}.yaml"
    lender = read_gpu(path) if NAME.fullmatch(name) and path.is_file() else None
    if lender is None or lender.status == "unmeasured":
        reader.fault(reader.line("rates_of"), f"rates_of is {name[:40]!r}; it must be a built-in GPU with rates of its own, such as {REFERENCE}")
        return own
    rates = lender.linear_flop_s, lender.attention_flop_s
    if max(rates) > peak:
        reader.fault(reader.line("rates_of"), f"the rates of the {lender.name} are above this GPU's peak_tflop_s: its arithmetic units are others")
    return rates


def _above_zero(reader: Reader, key: str) -> Fraction:
    value = reader.decimal(key)
    node = reader.take(key, required=False)
    if value <= 0 and node is not None and decimal_of(node) is not None:
        reader.fault(node.line, f"{key} must be above 0")
    return value if value > 0 else Fraction(1)


def _bytes(reader: Reader, key: str) -> int:
    return int(_above_zero(reader, key) * GIGA)


def _price(reader: Reader) -> GpuPrice | None:
    node = reader.take("price", required=False)
    if node is None:
        return None
    child = reader.child(node)
    currency, day = child.text("currency"), child.text("date")
    if currency and not CURRENCY.fullmatch(currency):
        child.fault(child.line("currency"), "currency must be a code of three capital letters, such as USD")
    if day and not DAY.fullmatch(day):
        child.fault(child.line("date"), "date must be the day of the price, as 2026-01-31")
    price = GpuPrice(per_hour=_above_zero(child, "per_hour"), currency=currency, date=day)
    child.end()
    return price


def _timing(reader: Reader) -> Timing:
    timing = Timing(
        model=reader.text("model"),
        size=reader.text("size"),
        frames=reader.whole("frames", 1, FRAMES_MAX) or 1,
        steps=reader.whole("steps", 1, FRAMES_MAX) or 1,
        seconds=_above_zero(reader, "seconds"),
    )
    reader.end()
    return timing


def _source(reader: Reader, node: Node) -> str:
    if isinstance(node.value, str) and node.value.strip():
        return node.value
    reader.fault(node.line, "a source must be a sentence")
    return ""

"""``taximeter cards gpus``: the GPUs that a card can be drafted for."""

import argparse
import json
from typing import Any

from taximeter.cli.arguments import Subparsers
from taximeter.cli.cards.drafting import money
from taximeter.cli.table import print_table
from taximeter.pricing.gpus import Gpu, builtin_gpus
from taximeter.pricing.gpus.model import GIGA, TERA
from taximeter.pricing.model import decimal_text

HEAD = ("gpu", "status", "linear TFLOP/s", "attention TFLOP/s", "GB/s", "GB", "an hour", "currency", "price of")


def add_parser(subparsers: Subparsers) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser("gpus", help="the GPUs that a card can be drafted for, with rates and prices")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with sources and notes")


def run(args: argparse.Namespace) -> int:
    """Print one row a GPU."""
    gpus = sorted(builtin_gpus().values(), key=lambda gpu: gpu.name)
    if args.json:
        for gpu in gpus:
            print(json.dumps(_to_json(gpu), ensure_ascii=False))
        return 0
    print_table(HEAD, [_row(gpu) for gpu in gpus])
    return 0


def _row(gpu: Gpu) -> list[str]:
    shown = _to_json(gpu)
    price = shown["price"] or {"per_hour": "", "currency": "", "date": ""}
    figures = [shown[key] for key in ("linear_tflop_s", "attention_tflop_s", "bandwidth_gb_s", "memory_gb")]
    return [gpu.name, gpu.status, *figures, price["per_hour"], price["currency"], price["date"]]


def _to_json(gpu: Gpu) -> dict[str, Any]:
    price = gpu.price
    return {
        "name": gpu.name,
        "title": gpu.title,
        "status": gpu.status,
        "rates_of": gpu.rates_of or None,
        "linear_tflop_s": decimal_text(gpu.linear_flop_s / TERA),
        "attention_tflop_s": decimal_text(gpu.attention_flop_s / TERA),
        "peak_tflop_s": decimal_text(gpu.peak_flop_s / TERA),
        "memory_gb": str(gpu.memory_bytes // GIGA),
        "bandwidth_gb_s": str(gpu.bandwidth_bytes_s // GIGA),
        "price": None if price is None else {"per_hour": money(price.per_hour, price.currency), "currency": price.currency, "date": price.date},
        "sources": list(gpu.sources),
        "notes": gpu.notes,
    }

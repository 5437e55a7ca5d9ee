"""The closed form against what torch counts while the same code runs on shapes alone, and the kernels that attention chose."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.gpu.loads import UNCOUNTED, Shelf, build
from bench.gpu.place import Place
from bench.gpu.plan import Cell
from bench.gpu.scales import Scale


class Miscounted(AssertionError):
    """The closed form and torch's counter do not agree, so no time may be divided by either."""


@dataclass(frozen=True)
class Count:
    """Operations by the closed form and by torch, of the cell with the fewest repetitions of its own loop."""

    closed: int
    counted: int


def count(cell: Cell, scale: Scale) -> Count:
    """Run the cell's code at its true dimensions: large ones on torch's meta device, which has shapes but no numbers.

    Raises Miscounted when the counter and the closed form differ by a single operation.
    """
    if cell.kind in UNCOUNTED:
        return Count(0, 0)
    place = Place(torch.device("meta" if scale.name == "full" else "cpu"), torch.float32)
    load = build(cell.shrunk(), scale, place, Shelf())
    counter = FlopCounterMode(display=False)
    # Written out as matrix products, attention is counted whatever kernel a device has for it.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        load.run()
    counted = counter.get_total_flops()
    if counted != load.flop:
        message = f"{cell.id}: the closed form has {load.flop} operations, torch counts {counted}"
        raise Miscounted(message)
    return Count(load.flop, counted)


class _Witness(TorchDispatchMode):
    """Notes the names of attention kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - torch's own face
        name = str(func)
        if "attention" in name:
            self.seen.add(name.removeprefix("aten.").removesuffix(".default"))
        return func(*args, **(kwargs or {}))


class Counts:
    """Counts of cells, each kind of work counted once: neither precision nor the way of launching changes them."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._known: dict[str, Count] = {}

    def of(self, cell: Cell) -> Count:
        """Raises Miscounted."""
        args = {name: value for name, value in cell.shrunk().args.items() if name not in ("precision", "mode")}
        key = f"{'block' if cell.kind == 'soak' else cell.kind} {sorted(args.items(), key=str)}"
        if key not in self._known:
            self._known[key] = count(cell, self._scale)
        return self._known[key]


def witnessed(run: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Run it once: its result, and the attention kernels that torch chose; none when it took plain matrix products."""
    with _Witness() as witness:
        result = run()
    return result, sorted(witness.seen)

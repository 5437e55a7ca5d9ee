"""``make gpu``: measure, cell by cell, within a budget of time; call it again to go on; ``--report`` writes the page."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from bench.gpu import hardware, plot
from bench.gpu.cards import NotAccepted, draft
from bench.gpu.journal import Journal, write_whole
from bench.gpu.page import PICTURE, page
from bench.gpu.plan import cells
from bench.gpu.run import Bench
from bench.gpu.scales import SCALES
from bench.gpu.verdict import judge

RESULTS = Path(__file__).parent / "results"
# Of `python -m bench.gpu`: finished; cells remain; it cannot run so.
FINISHED, UNFINISHED, REFUSED = 0, 3, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, list or report; 0 when nothing remains, 3 when it should be called again, 2 when it cannot run."""
    args = _parser().parse_args(arguments)
    device = torch.device(args.device)
    scale = SCALES[args.scale]
    if args.list:
        for cell in cells(scale):
            print(f"{cell.id:<44} {cell.role:<8} {cell.model or '-':<28} {cell.estimate_s:6.1f} s")
        return FINISHED
    if scale.name == "full" and device.type != "cuda":
        print("--scale full needs a GPU of 100 GB and more; on a processor use --scale tiny", file=sys.stderr)
        return REFUSED
    folder = Path(args.results) / hardware.slug(device, scale.name)
    journal = Journal(folder)
    remaining = 0
    if not args.report:
        remaining = Bench(scale, device, journal, _say, args.retry).go(args.budget_s, args.only)
    try:
        write_report(journal, args.price_ratio, args.calibrated)
    except (NotAccepted, ValueError) as reason:
        print(str(reason), file=sys.stderr)
        return REFUSED
    print(f"report: {folder}/README.md")
    return UNFINISHED if remaining else FINISHED


def write_report(journal: Journal, price_ratio: float, calibrated: bool = False) -> None:  # noqa: FBT001, FBT002 - a switch of the command line
    """Figures, page, picture and cards beside the journal.  Raises NotAccepted, ValueError."""
    report = judge(journal)
    folder = journal.folder
    write_whole(folder / "report.json", json.dumps(report, indent=1) + "\n")
    write_whole(folder / PICTURE, plot.svg(report["cells"], f"{report['device']}, scale {report['scale']}: seconds"))
    write_whole(folder / "README.md", page(report))
    today = datetime.now(tz=UTC).date().isoformat()
    write_whole(folder / "cards.yaml", draft(report, price_ratio, today, "calibrated" if calibrated else ""))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__)
    parser.add_argument("--scale", choices=list(SCALES), default="full" if torch.cuda.is_available() else "tiny", help="dimensions (full on a GPU)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    parser.add_argument("--budget-s", type=float, default=480.0, help="begin no cell that would end after so many seconds (480)")
    parser.add_argument("--only", nargs="*", default=[], metavar="CELL", help="only cells whose names begin so: A2 C1/voxcpm-1.5")
    parser.add_argument("--results", default=str(RESULTS), metavar="DIR", help="where results lie, a folder for each device (bench/gpu/results)")
    parser.add_argument("--list", action="store_true", help="show the cells and how long each may take")
    parser.add_argument("--report", action="store_true", help="measure nothing; write the report from what is there")
    parser.add_argument("--retry", action="store_true", help="run cells again that failed or were skipped")
    parser.add_argument("--price-ratio", type=float, default=1.0, help="price of an hour of this device / of the reference GPU, for the cards (1)")
    parser.add_argument("--calibrated", action="store_true", help="refuse to write a card that could not be called calibrated")
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""What a film costs, cell by cell: offline, without a server, an account or a GPU.

    .venv/bin/python examples/quote_in_a_notebook.py

The same lines go into a notebook; there, a fare that stands last in a cell shows itself as a table.
"""

import sys
from decimal import Decimal

from taximeter import meters, quote

WAN = "wan2.2-t2v-a14b"
SIZES = ("832x480", "1280x720")
LENGTHS_S = (1, 2, 5, 8)


def main() -> int:
    """Print what each cell would show."""
    film = quote("sketch-video", size="1280x720", seconds=5)
    print(film, end="\n\n")

    print(f"{'Tokens':<10}" + "".join(f"{f'{seconds} s':>12}" for seconds in LENGTHS_S))
    for size in SIZES:
        prices = [quote(WAN, size=size, seconds=seconds).tokens for seconds in LENGTHS_S]
        print(f"{size:<10}" + "".join(f"{price:>12.1f}" for price in prices))

    # The founding formula counts the same film otherwise: by how much, from short and small to long and large?
    print("\nTokens of the calibrated card for one of the founding formula:")
    for size in SIZES:
        print(f"{size:<10}" + "".join(f"{ratio(size, seconds):>12.3f}" for seconds in LENGTHS_S))

    print("\nWhat the meter counts:")
    for name, words in meters.get(film.model.meter).quantities.items():
        print(f"  {film.work[name]:>24,}  {words}")
    return 0


def ratio(size: str, seconds: int) -> Decimal:
    """How many times what the founding formula takes the calibrated card takes."""
    calibrated = quote(WAN, size=size, seconds=seconds)
    return calibrated.tokens / quote(WAN, size=size, seconds=seconds, card="article-v1").tokens


if __name__ == "__main__":
    sys.exit(main())

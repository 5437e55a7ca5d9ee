"""What requests would have cost by another rate card or tariff: past ones, from what their receipts keep, and typical ones, from a grid.

model    sums by customer and model; a grid of typical requests
sides    one receipt by a card or a tariff, in Tokens and in money
sums     adds one receipt after the other
grids    typical requests of each modality, as their meter counts them
usage    reads the receipts of a span of time, row by row
"""

from taximeter.metering.comparison.grids import typical
from taximeter.metering.comparison.model import Comparison, Grid, Left, MoneySums, Span, Sums
from taximeter.metering.comparison.sides import Held, Side
from taximeter.metering.comparison.sums import Comparer
from taximeter.metering.comparison.usage import Customer, compare_usage, customers

__all__ = [
    "Comparer",
    "Comparison",
    "Customer",
    "Grid",
    "Held",
    "Left",
    "MoneySums",
    "Side",
    "Span",
    "Sums",
    "compare_usage",
    "customers",
    "typical",
]

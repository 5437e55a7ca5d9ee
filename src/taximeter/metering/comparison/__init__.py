"""What requests would have cost by another rate card: past ones, from the work on their receipts, and typical ones, from a grid.

model    sums by customer and model; a grid of typical requests
sums     adds one receipt after the other
grids    typical requests of each modality, as their meter counts them
usage    reads the receipts of a span of time, row by row
"""

from taximeter.metering.comparison.grids import typical
from taximeter.metering.comparison.model import Comparison, Grid, Left, Span, Sums
from taximeter.metering.comparison.sums import Comparer
from taximeter.metering.comparison.usage import Customer, compare_usage, customers

__all__ = ["Comparer", "Comparison", "Customer", "Grid", "Left", "Span", "Sums", "compare_usage", "customers", "typical"]

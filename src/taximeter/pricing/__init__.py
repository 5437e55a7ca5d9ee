"""Pricing: rate cards, tariffs, plans and models as immutable versions, and rating by them."""

from taximeter.pricing.catalog import Catalog, Priced
from taximeter.pricing.errors import ModelNotPriced
from taximeter.pricing.factors import Factors
from taximeter.pricing.model import ModelEntry, Plan, RateCard
from taximeter.pricing.rules import FareParts, rate
from taximeter.pricing.service import apply_dir, read_dir
from taximeter.pricing.store import CatalogStore
from taximeter.pricing.tariffs import Buyer, Versions
from taximeter.pricing.yaml_source import builtin_dir

__all__ = [
    "Buyer",
    "Catalog",
    "CatalogStore",
    "Factors",
    "FareParts",
    "ModelEntry",
    "ModelNotPriced",
    "Plan",
    "Priced",
    "RateCard",
    "Versions",
    "apply_dir",
    "builtin_dir",
    "rate",
    "read_dir",
]

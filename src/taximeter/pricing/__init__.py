"""Pricing: rate cards, tariffs, plans and models as immutable versions, and rating by them."""

from taximeter.pricing.errors import ModelNotPriced
from taximeter.pricing.model import Catalog, ModelEntry, Plan, Priced, RateCard
from taximeter.pricing.rules import FareParts, charge, fare, rate
from taximeter.pricing.service import apply_dir, read_dir
from taximeter.pricing.store import CatalogStore
from taximeter.pricing.yaml_source import builtin_dir

__all__ = [
    "Catalog",
    "CatalogStore",
    "FareParts",
    "ModelEntry",
    "ModelNotPriced",
    "Plan",
    "Priced",
    "RateCard",
    "apply_dir",
    "builtin_dir",
    "charge",
    "fare",
    "rate",
    "read_dir",
]

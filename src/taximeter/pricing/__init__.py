"""Pricing: rate cards, tariffs, plans and models as immutable versions, and rating by them."""

from taximeter.pricing.errors import ModelNotPriced
from taximeter.pricing.model import Catalog, FareParts, ModelEntry, Priced, RateCard
from taximeter.pricing.rules import charge, fare, rate, rate_text
from taximeter.pricing.service import apply_dir
from taximeter.pricing.store import CatalogStore, snapshot
from taximeter.pricing.yaml_source import builtin_dir, load_dir

__all__ = [
    "Catalog",
    "CatalogStore",
    "FareParts",
    "ModelEntry",
    "ModelNotPriced",
    "ModelNotPriced",
    "Priced",
    "RateCard",
    "RateCard",
    "apply_dir",
    "builtin_dir",
    "charge",
    "fare",
    "load_dir",
    "rate",
    "rate_text",
    "rate_text",
    "snapshot",
]

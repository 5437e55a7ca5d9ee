"""Meters: pure calculators from a request to work, and from an engine's report to billed work."""

from taximeter.meters.errors import BadProfile, BadReport, PromptTooLong, UnsupportedSize
from taximeter.meters.model import Estimate, Meter, Work
from taximeter.meters.registry import IDS, get

__all__ = ["IDS", "BadProfile", "BadReport", "Estimate", "Meter", "PromptTooLong", "UnsupportedSize", "Work", "get"]

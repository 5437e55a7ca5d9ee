"""Meters: pure calculators from a request to work, and from an engine's report to billed work."""

from taximeter.meters.errors import BadProfile, BadReport, MeterUnavailable, PromptTooLong, UnsupportedSize
from taximeter.meters.model import Estimate, Meter, Work
from taximeter.meters.registry import IDS, find, get, ids, resident_bytes

__all__ = [
    "IDS",
    "BadProfile",
    "BadReport",
    "Estimate",
    "Meter",
    "MeterUnavailable",
    "PromptTooLong",
    "UnsupportedSize",
    "Work",
    "find",
    "get",
    "ids",
    "resident_bytes",
]

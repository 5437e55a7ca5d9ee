"""``pages.translated/1``: a translation service, counted in standard pages.

A request is ``{"text": "...", "languages": ["de", "zh"]}``.  Every begun page of 1,800 characters is translated once for
each language.  A second model then reads each page, and corrects those that it does not like: likely a few, at most all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, Estimate, Work, fields


class PagesProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A translator's entry in the catalog."""

    languages: tuple[str, ...]
    page_chars: int = 1800
    chars_max: int = 1_000_000
    corrected_percent: int = 10


@dataclass(frozen=True, slots=True)
class PagesTranslated:
    """Translations, by page."""

    id: str = "pages.translated/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "characters": "characters of the text",
            "pages": "pages translated, over all languages",
            "corrected_pages": "pages that were corrected afterwards",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile naming the entry that cannot be used."""
        entry = fields.read_profile(PagesProfile, profile)
        if not entry.languages:
            raise BadProfile(key="languages", message="must name at least one language")
        if entry.page_chars < 1 or entry.chars_max < 1:
            raise BadProfile(key="page_chars" if entry.page_chars < 1 else "chars_max", message="must be at least 1")
        if not 0 <= entry.corrected_percent <= 100:
            raise BadProfile(key="corrected_percent", message="must be from 0 to 100")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Pages are known before; how many of them are corrected is not.  Raises InvalidRequest, PromptTooLong."""
        entry = fields.read_profile(PagesProfile, profile)
        text = fields.text(request.get("text"), "text", entry.chars_max)
        languages = _languages(request.get("languages"), entry)
        pages = -(-len(text) // entry.page_chars) * len(languages)
        likely = -(-pages * entry.corrected_percent // 100)
        return Estimate(
            expected={"characters": len(text), "pages": pages, "corrected_pages": likely},
            maximum={"characters": len(text), "pages": pages, "corrected_pages": pages},
            bound={"corrected_pages": pages},
            request={"text": text, "languages": list(languages)},
        )

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """The engine's own counts; never an estimate in place of one.  Raises BadReport."""
        del profile
        pages = fields.reported_quantity(reported, "pages")
        corrected = fields.reported_quantity(reported, "corrected_pages")
        if corrected > pages:
            message = f"the engine reported {corrected} corrected of {pages} pages; the request was not charged"
            raise BadReport(message)
        return {"characters": estimate.expected["characters"], "pages": pages, "corrected_pages": corrected}


def _languages(value: object, entry: PagesProfile) -> tuple[str, ...]:
    asked = tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
    if not asked or not isinstance(value, list) or len(set(asked)) < len(value) or not set(asked) <= set(entry.languages):
        message = f"languages must be a list of some of {', '.join(entry.languages)}, each once"
        raise InvalidRequest(message, param="languages")
    return asked
